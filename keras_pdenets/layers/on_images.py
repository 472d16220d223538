"""Base of the layers with 3-point stencils and a boundary condition."""

import keras

from keras_pdenets.layers import images
from keras_pdenets.layers.boundary import check_boundary
from keras_pdenets.layers.config import SignatureConfig
from keras_pdenets.utils.checks import check_flag, check_integer


class OnImages(SignatureConfig, keras.layers.Layer):
    """A layer of 3-point stencils on images: arguments, check of the input, output shape."""

    def __init__(self, filters, strides, boundary, use_bias, data_format, seed, **kwargs):
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters, 1)
        self.strides = check_integer("strides", strides, 1)
        self.boundary = check_boundary(boundary)
        self.use_bias = check_flag("use_bias", use_bias)
        self.data_format = images.check_data_format(data_format)
        self.seed = seed

    def build(self, input_shape):
        """Create the weights for the channels of `input_shape`."""
        channels = self._check_input(input_shape)
        self.add_own_weights(input_shape, channels)
        self.input_spec = keras.layers.InputSpec(
            ndim=4, axes={images.channel_axis(self.data_format): channels}
        )

    def add_own_weights(self, input_shape, channels):
        """Create the weights."""
        raise NotImplementedError

    def _check_input(self, input_shape):
        """The number of input channels, or a ValueError for an invalid input shape."""
        received = f"Received: input_shape={tuple(input_shape)}"
        if len(input_shape) != 4:
            raise ValueError(
                f"Layer {self.name!r} needs images of rank 4 (batch, two spatial axes, channels in "
                f"{self.data_format} order). {received}"
            )
        channels = input_shape[images.channel_axis(self.data_format)]
        if channels is None:
            raise ValueError(
                f"Layer {self.name!r} needs a known number of channels ({self.data_format}). "
                f"{received}"
            )
        sides = [input_shape[axis] for axis in images.spatial_axes(self.data_format)]
        if self.boundary == "reflect" and 1 in sides:
            raise ValueError(
                f"Layer {self.name!r}: `boundary='reflect'` needs sides of at least two pixels. "
                f"{received}"
            )
        return channels

    def seed_of(self, index):
        """A seed for each weight: with a common one the initial values would be correlated."""
        return None if self.seed is None else self.seed + 7919 * index

    def compute_output_shape(self, input_shape):
        """Shape of the output for a given shape of the input."""
        return images.strided_shape(input_shape, self.filters, self.strides, self.data_format)
