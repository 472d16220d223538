"""Weights that change slowly along the depth."""

import keras
from keras import ops

from keras_pdenets.graphs.names import parse
from keras_pdenets.hub.variable_names import own_paths
from keras_pdenets.utils.checks import check_number


class _Neighbour(keras.regularizers.Regularizer):
    """Squared distance to the same variable of the block before, added to an older penalty."""

    def __init__(self, strength, before, other=None):
        self.strength = strength
        self.before = before
        self.other = other

    def __call__(self, x):
        penalty = self.strength * ops.sum(ops.square(x - ops.convert_to_tensor(self.before)))
        return penalty if self.other is None else penalty + self.other(x)


def penalize_differences(model, strength=1e-4):
    r"""Add a penalty on the difference of neighbouring blocks' weights to the loss.

    $$\lambda \sum_{s} \sum_{l} \|W_{s,l+1} - W_{s,l}\|^2$$

    over the blocks l of each stage s and all their kernels and PDE coefficients of equal shape:
    the coefficients of a differential equation that change slowly with time (section 3, Liu et al.
    2023, arXiv 2308.01621). It acts in place, on any family of this package; call it before
    `compile`. A saved model does not remember it.

    Args:
        model: A model of this package.
        strength: Factor $\lambda$.

    Returns:
        Number of pairs of neighbours.

    Raises:
        ValueError: If `strength` is not positive, or the model has no neighbouring blocks, or
            holds two nets.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PreActResNet20(weights=None, classes=10)
    >>> keras_pdenets.training.penalize_differences(model, 1e-3)
    12
    """
    strength = check_number("strength", strength, "positive", lambda number: number > 0)
    places = {}
    for name, variable in own_paths(model, model.trainable_variables):
        key = parse(name)
        if key and key.block is not None and len(variable.shape) > 1:
            if key in places:
                raise ValueError(
                    "`model` must hold one net of this package: call this on each net by itself. "
                    f"Received: model {model.name!r} with two variables {name}"
                )
            places[key] = variable
    pairs = 0
    for (stage, block, part), variable in places.items():
        before = places.get((stage, block - 1, part))
        if before is not None and before.shape == variable.shape:
            other = variable.regularizer
            if isinstance(other, _Neighbour):  # called before: the new strength takes its place
                other = other.other
            variable.regularizer = _Neighbour(strength, before, other)
            pairs += 1
    if not pairs:
        raise ValueError(
            "`model` must have neighbouring blocks named stage0_block0, stage0_block1 and so on. "
            f"Received: model {model.name!r}"
        )
    return pairs
