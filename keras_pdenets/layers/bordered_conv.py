"""What the 3x3 convolutions of this package share: borders, strides, bias, and their kernels."""

from keras import ops

from keras_pdenets.layers.boundary import pad_border
from keras_pdenets.layers.depthwise import shifted_conv, shifts_are_faster
from keras_pdenets.layers.images import spatial_axes
from keras_pdenets.layers.linear_maps import LinearMap
from keras_pdenets.layers.on_images import OnImages
from keras_pdenets.layers.precision import widen


class BorderedConv2D(OnImages):
    """Convolutions in a row whose 3-point axes see one row or column beyond the border.

    A layer of this kind says what its kernels are; the rest is here.
    """

    depthwise = False

    def add_own_weights(self, input_shape, channels):
        """The weights of the kernels, and the bias."""
        self.add_kernels(channels)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def add_kernels(self, channels):
        """The weights that the kernels are made of."""
        raise NotImplementedError

    def kernels(self):
        """Kernels of shape (1 or 3, 1 or 3, inputs, outputs) that follow one after the other.

        No two of them are long on the same axis.
        """
        raise NotImplementedError

    def linear_map(self):
        """The layer without its bias."""
        strides = (self.strides, self.strides)
        return LinearMap(self.terms(), strides, depthwise=self.depthwise, boundary=self.boundary)

    def terms(self):
        """The kernels of each term of the map; those after the first count coordinates."""
        return (self.kernels(),)

    def call(self, inputs):
        """Convolve a batch of images."""
        for kernel in self.kernels():
            inputs = self.convolve(inputs, kernel)
        return self.add_bias(inputs)

    def convolve(self, inputs, kernel):
        """One of the convolutions, with a stride along the axes on which it is long."""
        kernel = ops.cast(kernel, self.compute_dtype)
        strides = tuple(self.strides if side > 1 else 1 for side in kernel.shape[:2])
        return bordered_conv(
            inputs, kernel, strides, self.boundary, self.data_format, self.depthwise
        )

    def add_bias(self, outputs):
        """Add the bias, where there is one."""
        if self.bias is None:
            return outputs
        shape = (1, 1, 1, -1) if self.data_format == "channels_last" else (1, -1, 1, 1)
        return outputs + ops.reshape(self.bias, shape)


def bordered_conv(images, kernel, strides, boundary, data_format, depthwise=False):
    """Convolution whose 3-point axes see one row or column beyond the border.

    Args:
        images: Batch of images.
        kernel: Tensor of shape (1 or 3, 1 or 3, input channels, filters), or with the filters of
            one channel as its last axis where `depthwise`.
        strides: Step (along height, along width).
        boundary: A key of `boundary.BOUNDARIES`.
        data_format: Order of the axes of `images`.
        depthwise: Whether every channel is convolved with its own filters.

    Returns:
        Batch of images with sides `ceil(side / stride)`.
    """
    # Keras casts floats to the precision of the layer, which the kernel has, but no integers.
    images = ops.cast(images, kernel.dtype)
    padding, shifts = "same", depthwise and shifts_are_faster()
    # "same" pads a strided convolution on one side only, and differently on each backend.
    if boundary != "zero" or max(strides) > 1 or shifts:
        sizes = zip(spatial_axes(data_format), kernel.shape[:2], strict=True)
        images = pad_border(images, [axis for axis, size in sizes if size == 3], boundary)
        padding = "valid"
    if shifts:
        return shifted_conv(images, widen(kernel), strides, data_format)
    conv = ops.depthwise_conv if depthwise else ops.conv
    return conv(images, kernel, strides, padding=padding, data_format=data_format)
