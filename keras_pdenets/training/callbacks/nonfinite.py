"""Steps whose gradients are not finite, left out and counted."""

import keras

from keras_pdenets.compat.keras import NonFiniteHook


@keras.saving.register_keras_serializable(package="keras_pdenets")
class SkipNonFinite(NonFiniteHook):
    """Keras' `LossScaleOptimizer` with the scale held at 1, and a counter of skipped steps."""

    def build(self, var_list):
        """Create the counter too."""
        super().build(var_list)
        self.skipped = self.add_variable(
            shape=(), dtype="int32", initializer="zeros", aggregation="none", name="skipped_steps"
        )

    def on_nonfinite(self):
        """Count the step."""
        self.skipped.assign_add(1)


def skip_nonfinite(optimizer):
    """An optimizer that leaves out every step whose gradients are not finite.

    The averages of batch norm take in such a batch all the same: where the data hold NaN, use
    `RecoverFromDivergence` as well. With mixed_float16 Keras skips such steps by itself.

    Args:
        optimizer: A Keras optimizer.

    Returns:
        The optimizer to compile with; `skipped_steps` reads its counter.

    Example:
    >>> import keras
    >>> import keras_pdenets
    >>> optimizer = keras_pdenets.training.skip_nonfinite(keras.optimizers.SGD(0.1))
    """
    never = 2**31 - 1  # steps until the scale would double
    return SkipNonFinite(optimizer, initial_scale=1.0, dynamic_growth_steps=never)


def skipped_steps(optimizer):
    """Number of steps that an optimizer left out.

    Args:
        optimizer: The optimizer, out of `skip_nonfinite`.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.training import skip_nonfinite, skipped_steps
    >>> net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> net.compile(skip_nonfinite(keras.optimizers.SGD(0.1)), "mse")
    >>> history = net.fit(np.array([[1.0], [np.nan]]), np.ones(2), batch_size=1, verbose=0)
    >>> skipped_steps(net.optimizer)
    1
    """
    return int(keras.ops.convert_to_numpy(optimizer.skipped)) if optimizer.built else 0
