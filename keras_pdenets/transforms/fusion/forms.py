"""Forms of a convolution that are faster on one backend, chosen by measurement."""

import dataclasses

import keras
import numpy as np
from keras import layers, ops

from keras_pdenets.layers.depthwise import shifted_conv, shifts_are_faster
from keras_pdenets.layers.images import spatial_axes

# "xla" (JAX on a CPU): depthwise convolutions as sums of shifted images (see `layers.depthwise`),
# 1x1 convolutions as dense layers on the pixels: at the sizes of a ResNet50, XLA's matrix product
# takes 0.4 to 0.8 of the time of its convolution (two CPU cores). 1x3 and 3x1 convolutions too, on
# three concatenated shifted images: a decomposed ResNet50 at 224 px takes 0.8 of the time. With 3x3
# kernels, the nine copies cost more than the product saves.
# "torch": convolutions and pooling in channels_first order between two transpositions, which are
# views; the memory keeps the channels_last order, in which torch is fastest. Keras' own
# channels_last layers copy every image twice there (two fifths of the time of a folded ResNet50 at
# 224 px on two CPU cores).
FORMS = ("xla", "torch")
_THIN = ((1, 1), (1, 3), (3, 1))
_POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
_VIEWED = (layers.Conv2D, layers.DepthwiseConv2D, *_POOLS)


def form_here():
    """The form that is faster on this backend and device, or None."""
    if shifts_are_faster():
        return "xla"
    return "torch" if keras.backend.backend() == "torch" else None


def formed(pending, form):
    """The output of a `Pending` in a form, or None if that does not apply to it."""
    if form == "torch" and can_view(pending.kind, pending.config):
        return viewed(pending.source, pending.layer)
    if form == "xla" and _can_shift(pending):
        return _shifted(pending)
    return _dense(pending) if form == "xla" and _can_be_dense(pending) else None


def store_for_torch(kernel):
    """Store a kernel in the memory order that torch reads, or it is copied at every call."""
    value = kernel.value
    # (h, w, i, o) -> (o, h, w, i) in memory -> (h, w, i, o) as a view
    value.data = value.data.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)


def _can_be_dense(pending):
    """Whether a `Pending` is a 1x1 convolution, or a thin one on images of known size."""
    if pending.kind is not layers.Conv2D or pending.kernel.shape[:2] not in _THIN:
        return False
    config, strides = pending.config, max(np.ravel(pending.config["strides"]))
    if config["groups"] > 1 or config["data_format"] != "channels_last":
        return False
    if pending.kernel.shape[:2] == (1, 1):
        return True
    simple = max(np.ravel(config["dilation_rate"])) == 1
    # A strided "same" convolution pads by the image size; the package pads before.
    simple = simple and (config["padding"] == "valid" or strides == 1)
    return simple and None not in pending.source.shape[1:3]


def _dense(pending):
    """The output of a thin convolution as a dense layer on the pixels that it reads."""
    kernel = pending.kernel.reshape(-1, pending.channels)
    config = {key: pending.config[key] for key in ("name", "dtype", "trainable")}
    dense = dataclasses.replace(pending, kind=layers.Dense, kernel=kernel, config=config)
    return dense.layer(_gathered(pending))


def _gathered(pending):
    """The inputs of each output pixel, concatenated along the channels."""
    x, config, (height, width) = pending.source, pending.config, pending.kernel.shape[:2]
    rows, columns = (int(s) for s in np.broadcast_to(config["strides"], (2,)))
    if height == width == 1:
        return x if rows == columns == 1 else x[:, ::rows, ::columns]
    if config["padding"] == "same":
        x = layers.ZeroPadding2D(
            (height // 2, width // 2), dtype=config["dtype"], name=f"{config['name']}_pad"
        )(x)
    bottom, right = x.shape[1] - height + 1, x.shape[2] - width + 1
    return ops.concatenate(
        [
            x[:, i : bottom + i : rows, j : right + j : columns]
            for i in range(height)
            for j in range(width)
        ],
        axis=-1,
    )


def _can_shift(pending):
    """Whether a `Pending` may become a sum of shifted images."""
    if not pending.depthwise or None in pending.source.shape[1:]:
        return False
    # In half precision, sums of products would round differently from a convolution.
    single = pending.config["dtype"].compute_dtype == pending.source.dtype == "float32"
    return single and max(np.ravel(pending.config["dilation_rate"])) == 1


def _shifted(pending):
    """The output of a depthwise `Pending` as a sum of shifted images."""
    x, kernel, config = pending.source, pending.kernel, pending.config
    strides = tuple(int(s) for s in np.broadcast_to(config["strides"], (2,)))
    if config["padding"] == "same":
        sides = zip(spatial_axes(config["data_format"]), kernel.shape[:2], strides, strict=True)
        wholes = [max(size - (x.shape[a] - 1) % step - 1, 0) for a, size, step in sides]
        x = layers.ZeroPadding2D(
            [(whole // 2, whole - whole // 2) for whole in wholes],
            data_format=config["data_format"], name=f"{config['name']}_pad",
        )(x)  # fmt: skip
    y = shifted_conv(x, kernel.astype("float32"), strides, config["data_format"])
    if pending.bias is None:
        return y
    shape = [-1 if axis == pending.axis else 1 for axis in range(4)]
    return y + pending.bias.astype("float32").reshape(shape)


def can_view(kind, config):
    """Whether a layer of this class and config can run in the other axis order."""
    return kind in _VIEWED and config["data_format"] == "channels_last"


def viewed(x, layer):
    """The output of a layer function in channels_first order, between two views."""
    y = layer(ops.transpose(x, (0, 3, 1, 2)), data_format="channels_first")
    return ops.transpose(y, (0, 2, 3, 1))


def viewed_pool(layer, x):
    """A pooling layer in the other axis order, or None if that is not possible."""
    config = layer.get_config()
    if not can_view(type(layer), config):
        return None
    return viewed(x, lambda y, **changes: type(layer).from_config(config | changes)(y))
