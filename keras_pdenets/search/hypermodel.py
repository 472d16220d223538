"""The models of a search space, for KerasTuner."""

import keras_tuner

from keras_pdenets.search.oracles import declare_combination


class DepthHyperModel(keras_tuner.HyperModel):
    """The models of a `SearchSpace`.

    Args:
        space: The space.
        input_shape: Shape of an image.
        classes: Number of classes.

    Example:
    >>> import keras_tuner
    >>> from keras_pdenets.search import DepthHyperModel, SearchSpace
    >>> space = SearchSpace(depths=(1, 2), operators=("conv", "pde"), filters=(4, 4, 4))
    >>> nets = DepthHyperModel(space, input_shape=(28, 28, 1), classes=10)
    >>> choices = keras_tuner.HyperParameters()
    >>> nets.declare_hyperparameters(choices)
    >>> choices.values
    {'depth': 1, 'operator': 'conv', 'width': 1.0, 'learning_rate': 0.003}
    >>> nets.build(choices).output_shape
    (None, 10)
    """

    def __init__(self, space, input_shape, classes):
        super().__init__()
        self.space = space
        self.input_shape = tuple(input_shape)
        self.classes = classes

    def declare_hyperparameters(self, hp):
        """Register the choices for an oracle without a space of its own."""
        if "depth_0" not in hp:
            hp.Choice("depth", list(self.space.depths), ordered=True)
        declare_combination(hp, self.space)

    def build(self, hp):
        """The untrained model of a trial, which returns logits."""
        return self.space.build(hp.values, self.input_shape, self.classes)
