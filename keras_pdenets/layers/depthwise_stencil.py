"""Trainable 3x3 stencils, several for each channel or the same few for all."""

import keras
from keras import ops

from keras_pdenets.layers import images
from keras_pdenets.layers.boundary import check_boundary
from keras_pdenets.layers.config import SignatureConfig
from keras_pdenets.utils.checks import check_flag, check_integer


@keras.saving.register_keras_serializable(package="keras_pdenets")
class DepthwiseStencil2D(SignatureConfig, keras.layers.Layer):
    r"""Trainable 3x3 stencils $D_1 \dots D_m$ applied to every channel.

    $$y_{jm+d} = D_{(j)d} * u_j$$

    Section 5.1, Liu et al. 2023, arXiv 2308.01621: the derivatives of a quasi-linear system, with
    trainable weights. Shared by all channels ("minimalist") they commute with every matrix that
    mixes the channels; `keras.layers.DepthwiseConv2D` has its own for each.

    Args:
        depth_multiplier: Number m of stencils for a channel.
        shared: Whether all channels have the same stencils: 9 m parameters in place of 9 m n.
        strides: Step of the output grid, in pixels.
        boundary: Values beyond the border: `"zero"`, `"replicate"` (Neumann), `"reflect"` or
            `"periodic"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras' default.
        seed: Seed of the initial values (variance 1/9), or None.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)`.

    Output shape:
        The same with `channels * depth_multiplier` channels, those of one input channel side by
        side, and sides `ceil(side / strides)`.

    Raises:
        ValueError: If an argument is outside its range, or the input is not a batch of images.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> layer = keras_pdenets.layers.DepthwiseStencil2D(4, shared=True)
    >>> tuple(layer(np.ones((2, 5, 5, 3), "float32")).shape)
    (2, 5, 5, 12)
    """

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
        super().__init__(**kwargs)
        self.depth_multiplier = check_integer("depth_multiplier", depth_multiplier, 1)
        self.shared = check_flag("shared", shared)
        self.strides = check_integer("strides", strides, 1)
        self.boundary = check_boundary(boundary)
        self.data_format = images.check_data_format(data_format)
        self.seed = seed

    def build(self, input_shape):
        """Create the stencils for the channels of `input_shape`."""
        self.channels = images.check_image_input(self, input_shape)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(3, 3, 1 if self.shared else self.channels, self.depth_multiplier),
            initializer=keras.initializers.RandomNormal(stddev=1 / 3, seed=self.seed),
        )
        self.input_spec = keras.layers.InputSpec(
            ndim=4, axes={images.channel_axis(self.data_format): self.channels}
        )

    def call(self, inputs):
        """Apply the stencils to a batch of images."""
        kernel = ops.broadcast_to(self.kernel, (3, 3, self.channels, self.depth_multiplier))
        return images.bordered_conv(
            inputs,
            kernel,
            (self.strides, self.strides),
            self.boundary,
            self.data_format,
            depthwise=True,
        )

    def compute_output_shape(self, input_shape):
        """Shape of the output for a given shape of the input."""
        channels = input_shape[images.channel_axis(self.data_format)]
        return images.strided_shape(
            input_shape, channels * self.depth_multiplier, self.strides, self.data_format
        )
