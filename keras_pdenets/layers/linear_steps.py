"""Steps of a linear flow: residual layers that compose to a dense layer or 1x1 convolution."""

import keras
from keras import ops

from keras_pdenets.layers.linear_maps import LinearMap
from keras_pdenets.layers.on_channels import OnChannels
from keras_pdenets.utils.checks import check_flag, check_integer


@keras.saving.register_keras_serializable(package="keras_pdenets")
class LinearFlowStep(OnChannels):
    r"""One step of a linear flow, x + K x, on the channels.

    $$x_{r+1} = x_r + \alpha\,h'(\tau_r)\,A\,x_r$$

    Section 2, Li and Shi 2017, arXiv 1708.05115, with K = R(\Delta h A) - I for the scheme's
    stability function R (`operators.flows.Scheme`). K starts at zero; `transforms.refine` sets it
    from `operators.flows.linear_flow`.

    Args:
        data_format: `"channels_last"`, `"channels_first"` or None (Keras' own).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        Any with a known number of channels c; the kernel has shape (c, c).

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.layers import LinearFlowStep
    >>> step = LinearFlowStep()
    >>> step.build((None, 2))
    >>> step.set_weights([np.array([[0.0, 1.0], [-1.0, 0.0]])])
    >>> y = keras.ops.convert_to_numpy(step(np.array([[1.0, 2.0]], "float32")))
    >>> [round(float(v), 4) for v in y[0]]
    [-1.0, 3.0]
    """

    def add_own_weights(self, rank, channels):
        """Create K, with inputs as rows."""
        self.kernel = self.add_weight(
            shape=(channels, channels), initializer="zeros", name="kernel"
        )

    def call(self, x):
        x = ops.cast(x, self.compute_dtype)  # integers too
        last = self._axis == len(x.shape) - 1
        # matmul and tensordot would round float64 to float32 on torch.
        turned = ops.einsum(
            "...i,io->...o", x if last else ops.moveaxis(x, self._axis, -1), self.kernel
        )
        return x + (turned if last else ops.moveaxis(turned, -1, self._axis))

    def linear_map(self):
        """1 + K."""
        return LinearMap(lambda: ((ops.eye(self.kernel.shape[0]) + self.kernel,),))


@keras.saving.register_keras_serializable(package="keras_pdenets")
class FitChannels(OnChannels):
    """Pads the channels with zeros, or truncates them, to a given number.

    A linear flow has one dimension more than its matrix (section 2.1, Li and Shi 2017,
    arXiv 1708.05115): this layer embeds the features before it and projects them after it.

    Args:
        channels: Number of channels of the output.
        use_bias: Whether to add a bias.
        data_format: `"channels_last"`, `"channels_first"` or None (Keras' own).
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        Any; the output has `channels` channels.

    Raises:
        ValueError: If `channels` is not a positive integer.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.layers import FitChannels
    >>> [float(v) for v in FitChannels(3)(np.array([[1.0, 2.0]], "float32"))[0]]
    [1.0, 2.0, 0.0]
    """

    def __init__(self, channels, use_bias=False, data_format=None, **kwargs):
        super().__init__(data_format, **kwargs)
        self.channels = check_integer("channels", channels, 1)
        self.use_bias = check_flag("use_bias", use_bias)

    def add_own_weights(self, rank, channels):
        """Create the bias."""
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.channels,), initializer="zeros", name="bias")

    def call(self, x):
        x = ops.cast(x, self.compute_dtype)  # integers too
        rank, missing = len(x.shape), self.channels - x.shape[self._axis]
        if missing > 0:
            x = ops.pad(x, [(0, missing * (axis == self._axis)) for axis in range(rank)])
        elif missing < 0:
            kept = [slice(None)] * rank
            kept[self._axis] = slice(0, self.channels)
            x = x[tuple(kept)]
        return x + self.along_channels(self.bias, x) if self.use_bias else x

    def compute_output_shape(self, input_shape):
        axis = self.axis_of(len(input_shape))
        return (*input_shape[:axis], self.channels, *input_shape[axis + 1 :])
