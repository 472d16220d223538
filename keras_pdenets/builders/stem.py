"""The first layers of a net, depending on the size of the images."""

import keras

STEMS = (None, "cifar", "imagenet")
_LARGEST_CIFAR_SIDE = 64


def make_stem(config, options, parts, x):
    """Convolution, batch norm, ReLU, and for large images 3x3 max-pooling."""
    small = all(side is not None and side <= _LARGEST_CIFAR_SIDE for side in options.sides)
    stem = config.stem or ("cifar" if small else "imagenet")
    kernel_size, strides = (3, 1) if stem == "cifar" else (7, 2)
    x = parts.conv(x, config.filters[0], kernel_size, strides, "stem_conv")
    x = parts.norm_relu(x, "stem", 0)
    if stem == "cifar":
        return x
    # The output of ReLU is non-negative, so zero padding does not change the maximum.
    x = parts.pad(x, 1, "stem_pool_pad")
    return keras.layers.MaxPooling2D(
        3, 2, data_format=options.data_format, dtype=options.dtype, name="stem_pool"
    )(x)
