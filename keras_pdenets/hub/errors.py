"""Errors of weight files."""


class WeightsError(RuntimeError):
    """Weights cannot be obtained, read or used; the model is unchanged.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PreActResNet20(weights=None, input_shape=(28, 28, 1), classes=10)
    >>> file = keras_pdenets.prefetch("pde_resnet20_fashion_mnist")["pde_resnet20_fashion_mnist"]
    >>> try:
    ...     report = keras_pdenets.load_weights(model, file)
    ... except keras_pdenets.WeightsError as error:
    ...     print("another net's weights")
    another net's weights
    """


class IntegrityError(WeightsError):
    """The bytes do not have the pinned or announced hash; they were not used.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> try:
    ...     report = keras_pdenets.load_weights(model, model.load_report.path, sha256=64 * "0")
    ... except keras_pdenets.IntegrityError:
    ...     print("not the file that was asked for")
    not the file that was asked for
    """


class UnreachableError(WeightsError):
    """The Hub does not respond at the moment: the same call may succeed later.

    Example:
    >>> import time
    >>> import keras_pdenets
    >>> for wait in (1, 10, 60):
    ...     try:
    ...         files = keras_pdenets.prefetch("resnet20_fashion_mnist")
    ...         break
    ...     except keras_pdenets.UnreachableError:
    ...         time.sleep(wait)
    """
