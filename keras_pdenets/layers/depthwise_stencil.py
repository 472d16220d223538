"""Trainable 3x3 stencils, separate for each channel or shared by all."""

import keras
from keras import ops

from keras_pdenets.layers import images
from keras_pdenets.layers.bordered_conv import BorderedConv2D
from keras_pdenets.utils.checks import check_flag, check_integer


@keras.saving.register_keras_serializable(package="keras_pdenets")
class DepthwiseStencil2D(BorderedConv2D):
    r"""Trainable 3x3 stencils $D_1 \dots D_m$ applied to every channel.

    $$y_{jm+d} = D_{(j)d} * u_j$$

    Section 5.1, Liu et al. 2023, arXiv 2308.01621: the derivatives of a quasi-linear system, with
    trainable weights. Stencils shared by all channels ("minimalist") commute with every matrix that
    mixes the channels; `keras.layers.DepthwiseConv2D` has separate ones only.

    Args:
        depth_multiplier: Number m of stencils per channel.
        shared: Whether all channels share the stencils: 9 m parameters instead of 9 m n.
        strides: Step of the output grid, in pixels.
        boundary: Values beyond the border: `"zero"`, `"replicate"` (Neumann), `"reflect"` or
            `"periodic"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras' default.
        seed: Seed of the initial values (variance 1/9), or None.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)`.

    Output shape:
        The same with `channels * depth_multiplier` channels, grouped by input channel, and sides
        `ceil(side / strides)`.

    Raises:
        ValueError: If an argument is outside its range, or the input is not a batch of images.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> layer = keras_pdenets.layers.DepthwiseStencil2D(4, shared=True)
    >>> tuple(layer(np.ones((2, 5, 5, 3), "float32")).shape)
    (2, 5, 5, 12)
    """

    depthwise = True

    def __init__(
        self,
        depth_multiplier=1,
        shared=False,
        strides=1,
        boundary="zero",
        data_format=None,
        seed=None,
        **kwargs,
    ):
        # The number of filters follows from the input.
        super().__init__(1, strides, boundary, False, data_format, seed, **kwargs)
        self.depth_multiplier = check_integer("depth_multiplier", depth_multiplier, 1)
        self.shared = check_flag("shared", shared)

    def add_kernels(self, channels):
        """Create the stencils."""
        self.filters = channels * self.depth_multiplier
        self.kernel = self.add_weight(
            name="kernel",
            shape=(3, 3, 1 if self.shared else channels, self.depth_multiplier),
            initializer=keras.initializers.RandomNormal(stddev=1 / 3, seed=self.seed),
        )

    def kernels(self):
        """The stencils, broadcast to all channels."""
        channels = self.filters // self.depth_multiplier
        return (ops.broadcast_to(self.kernel, (3, 3, channels, self.depth_multiplier)),)

    def kernels_by_term(self):
        """The stencils as stored: only once if they are shared."""
        return ((self.kernel,),)

    def compute_output_shape(self, input_shape):
        """Shape of the output for a given shape of the input."""
        filters = input_shape[images.channel_axis(self.data_format)] * self.depth_multiplier
        return images.strided_shape(input_shape, filters, self.strides, self.data_format)
