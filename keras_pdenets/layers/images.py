"""Axes and shapes of batches of images."""

import keras

from keras_pdenets.utils.checks import check_choice


def check_data_format(data_format):
    """Return the data format (Keras' default for None), or raise a ValueError."""
    if data_format is None:
        return keras.config.image_data_format()
    return check_choice("data_format", data_format, ("channels_last", "channels_first", None))


def channel_axis(data_format):
    """Channel axis of a batch of images."""
    return -1 if data_format == "channels_last" else 1


def spatial_axes(data_format):
    """Axes (height, width) of a batch of images."""
    return (1, 2) if data_format == "channels_last" else (2, 3)


def strided_shape(input_shape, filters, strides, data_format):
    """Shape of a batch of images with `filters` channels and sides `ceil(side / strides)`."""
    shape = list(input_shape)
    for axis in spatial_axes(data_format):
        shape[axis] = None if shape[axis] is None else -(-shape[axis] // strides)
    shape[channel_axis(data_format)] = filters
    return tuple(shape)
