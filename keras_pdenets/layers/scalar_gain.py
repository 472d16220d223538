"""A gain that preserves the symmetry of the channels."""

import keras
from keras import ops

from keras_pdenets.layers.config import SameShape
from keras_pdenets.layers.precision import widen
from keras_pdenets.utils.checks import check_flag, check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_pdenets")
class ScalarGain(SameShape):
    r"""Trainable scalar times the features, which may be normalised first.

    $$y = g \, x \quad\text{or}\quad y = g \, x \Big/ \sqrt{\tfrac1n \sum_i x_i^2 + \epsilon}$$

    A batch norm, or a gain per channel, depends on the basis of the channels. A scalar gain
    commutes with every matrix that mixes them; with normalisation by the root mean square over the
    channels of a pixel, with every rotation.

    Args:
        normalize: Whether to divide by the root mean square first.
        initial: Initial gain; 0 starts a residual block as the identity.
        epsilon: Added to the mean square.
        axis: Axis of the channels.

    Input shape:
        Any.

    Output shape:
        The same.

    Raises:
        ValueError: If `epsilon` is not positive.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> import keras_pdenets
    >>> layer = keras_pdenets.layers.ScalarGain(normalize=True, initial=2.0)
    >>> y = keras.ops.convert_to_numpy(layer(np.array([[3.0, 4.0]], "float32")))
    >>> [round(float(v), 2) for v in y[0]]
    [1.7, 2.26]
    """

    def __init__(self, normalize=False, initial=1.0, epsilon=1e-5, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.normalize = check_flag("normalize", normalize)
        self.initial = check_number("initial", initial, "a number")
        self.epsilon = check_number("epsilon", epsilon, "positive", lambda e: e > 0)
        self.axis = check_integer("axis", axis)
        self.supports_masking = True

    def build(self, input_shape):
        """Create the gain."""
        self.gain = self.add_weight(
            name="gain",
            shape=(),
            initializer=keras.initializers.Constant(self.initial),
            autocast=False,
        )

    def call(self, inputs):
        """Normalise, if set, and scale."""
        # Squares need more than half precision.
        x = widen(ops.cast(inputs, self.compute_dtype))
        factor = ops.cast(self.gain, x.dtype)
        if self.normalize:
            # `ops.mean` rounds float64 on some backends.
            total = ops.sum(ops.square(x), axis=self.axis, keepdims=True)
            mean = total / ops.cast(ops.shape(x)[self.axis], x.dtype)
            factor = factor * ops.rsqrt(mean + self.epsilon)
        return ops.cast(x * factor, self.compute_dtype)
