"""One step of any activation's flow, with the pre-activation carried along."""

import keras
from keras import ops

from keras_pdenets.layers.config import SignatureConfig
from keras_pdenets.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_pdenets")
class CarryFlowStep(SignatureConfig, keras.layers.Layer):
    r"""One step of any activation's flow, with the pre-activation carried along.

    $$y_{r+1} = y_r + \Delta h\,(a(u) - u)$$

    computed as $(1 - h) u + h\,a(u)$, with h at the end of the step, so that rounding errors do not
    accumulate. It therefore reads only u: a chain of such steps shows the flow, but gradients reach
    only the last step.

    Args:
        activation: Name or function of an activation.
        right: h at the end of the step, in (0, 1].
        negative_slope: Slope of a `"leaky_relu"`, or None.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        A list of two tensors of the same shape, u and y; the output has that shape.

    Raises:
        ValueError: If `right` is out of range.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.layers import CarryFlowStep
    >>> u = np.array([[-2.0, 1.0]], "float32")
    >>> tuple(CarryFlowStep("relu", right=1.0)([u, u]).shape)
    (1, 2)
    """

    def __init__(self, activation, right, negative_slope=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.negative_slope = negative_slope
        self.activation = keras.activations.get(activation)
        self.right = check_number("right", right, "in (0, 1]", lambda number: 0 < number <= 1)

    def call(self, inputs):
        u = ops.cast(inputs[0], self.compute_dtype)
        slope = {} if self.negative_slope is None else {"negative_slope": self.negative_slope}
        return (1 - self.right) * u + self.right * self.activation(u, **slope)

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[0]

    def compute_output_shape(self, input_shape):
        return input_shape[1]

    def get_config(self):
        config = super().get_config()
        return config | {"activation": keras.activations.serialize(self.activation)}
