"""What the convolution layers share: argument checks, borders, strides and shapes."""

import keras
from keras import ops

from keras_pdenets.layers.boundary import pad_border
from keras_pdenets.layers.depthwise import shifted_conv, shifts_are_faster
from keras_pdenets.layers.precision import widen


def check_data_format(data_format):
    """Return the data format, Keras' default for None, or raise ValueError."""
    if data_format is None:
        return keras.config.image_data_format()
    if not isinstance(data_format, str) or data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            "`data_format` must be 'channels_last', 'channels_first' or None. "
            f"Received: data_format={data_format!r}"
        )
    return data_format


def channel_axis(data_format):
    """Axis of the channels in a batch of images."""
    return -1 if data_format == "channels_last" else 1


def spatial_axes(data_format):
    """Axes (height, width) of a batch of images."""
    return (1, 2) if data_format == "channels_last" else (2, 3)


def check_image_input(layer, input_shape):
    """Return the number of input channels, or raise ValueError that says what is wrong."""
    if len(input_shape) != 4:
        raise ValueError(
            f"Layer {layer.name!r} needs images of rank 4 (batch, two spatial axes, channels in "
            f"{layer.data_format} order). Received: input_shape={tuple(input_shape)}"
        )
    channels = input_shape[channel_axis(layer.data_format)]
    if channels is None:
        raise ValueError(
            f"Layer {layer.name!r} needs a known number of channels ({layer.data_format}). "
            f"Received: input_shape={tuple(input_shape)}"
        )
    sides = [input_shape[axis] for axis in spatial_axes(layer.data_format)]
    if layer.boundary == "reflect" and 1 in sides:
        raise ValueError(
            f"Layer {layer.name!r}: `boundary='reflect'` needs sides of two pixels and more. "
            f"Received: input_shape={tuple(input_shape)}"
        )
    return channels


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


def add_bias(images, bias, data_format):
    """Add one number to each channel, or nothing where `bias` is None."""
    if bias is None:
        return images
    shape = (1, 1, 1, -1) if data_format == "channels_last" else (1, -1, 1, 1)
    return images + ops.reshape(bias, shape)


def strided_shape(input_shape, filters, strides, data_format):
    """Shape of a batch of images with `filters` channels and sides `ceil(side / strides)`."""
    shape = list(input_shape)
    for axis in spatial_axes(data_format):
        shape[axis] = None if shape[axis] is None else -(-shape[axis] // strides)
    shape[channel_axis(data_format)] = filters
    return tuple(shape)
