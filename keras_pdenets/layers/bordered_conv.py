"""Base of the 3x3 convolutions of this package: boundary, strides, bias and kernels."""

import itertools

from keras import ops

from keras_pdenets.layers.boundary import pad_border
from keras_pdenets.layers.depthwise import shifted_conv, shifts_are_faster
from keras_pdenets.layers.images import spatial_axes
from keras_pdenets.layers.linear_maps import LinearMap
from keras_pdenets.layers.on_images import OnImages
from keras_pdenets.layers.precision import widen


class BorderedConv2D(OnImages):
    """One convolution, or several in sequence, with a boundary condition.

    A subclass defines the kernels.
    """

    depthwise = False
    varies = False  # whether coefficients depend on position

    def add_own_weights(self, input_shape, channels):
        """Create the weights of the kernels and the bias."""
        self.add_kernels(channels)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def add_kernels(self, channels):
        """Create the weights that determine the kernels."""
        raise NotImplementedError

    def kernels(self):
        """Kernels of shape (1 or 3, 1 or 3, inputs, outputs), applied in sequence.

        At most one of them has length 3 along each axis.
        """
        raise NotImplementedError

    def linear_map(self):
        """The layer without its bias."""
        return LinearMap(
            self.kernels_by_term, (3, 3), (self.strides,) * 2, depthwise=self.depthwise,
            boundary=self.boundary, varies=self.varies,
        )  # fmt: skip

    def kernels_by_term(self):
        """The kernels of each term; all but the first term are multiplied by coordinates."""
        return (self.kernels(),)

    def call(self, inputs):
        """Convolve a batch of images."""
        for kernel in self.kernels():
            inputs = self.convolve(inputs, kernel)
        return self.add_bias(inputs)

    def convolve(self, inputs, kernel):
        """One of the convolutions, strided along the axes where its kernel has length 3."""
        kernel = ops.cast(kernel, self.compute_dtype)
        # Keras casts only floats to the compute dtype, not integers.
        inputs = ops.cast(inputs, kernel.dtype)
        long = [side == 3 for side in kernel.shape[:2]]
        strides = tuple(self.strides if is_long else 1 for is_long in long)
        layout = {"data_format": self.data_format, "padding": "same"}
        shifts = self.depthwise and shifts_are_faster()
        # "same" pads strided convolutions asymmetrically, and differently on each backend.
        if self.boundary != "zero" or max(strides) > 1 or shifts:
            axes = itertools.compress(spatial_axes(self.data_format), long)
            inputs = pad_border(inputs, list(axes), self.boundary)
            layout["padding"] = "valid"
        if shifts:
            return shifted_conv(inputs, widen(kernel), strides, self.data_format)
        conv = ops.depthwise_conv if self.depthwise else ops.conv
        return conv(inputs, kernel, strides, **layout)

    def add_bias(self, outputs):
        """Add the bias, if there is one."""
        if self.bias is None:
            return outputs
        shape = (1, 1, 1, -1) if self.data_format == "channels_last" else (1, -1, 1, 1)
        return outputs + ops.reshape(self.bias, shape)
