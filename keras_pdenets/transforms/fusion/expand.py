"""Layers of this package as layers and operations of Keras."""

import keras
import numpy as np
from keras import layers, ops

from keras_pdenets.layers import images
from keras_pdenets.layers.boundary import pad_border
from keras_pdenets.transforms.fusion.pending import Pending


def numbers(variable):
    """The values of a variable in double precision."""
    return np.asarray(keras.ops.convert_to_numpy(variable), "float64")


def bordered(x, kernel, bias, layer, name, form, strides=None, depthwise=False):
    """A convolution with the borders of this package, as a `Pending`.

    Args:
        x: Symbolic images.
        kernel: Its kernel.
        bias: Its bias, or None.
        layer: Layer that gives boundary, data format and dtype.
        name: Name of the new layer.
        form: One of `forms.FORMS`, or None.
        strides: Step along height and width; None: the layer's.
        depthwise: Whether every channel has its own kernels.
    """
    strides = (layer.strides,) * 2 if strides is None else strides
    padding = "same"
    if layer.boundary != "zero" or max(strides) > 1:
        sides = [size == 3 for size in kernel.shape[:2]]
        axes = images.spatial_axes(layer.data_format)
        if layer.boundary == "zero":
            x = layers.ZeroPadding2D(
                [(int(s), int(s)) for s in sides], data_format=layer.data_format,
                dtype=layer.dtype_policy, name=f"{name}_pad",
            )(x)  # fmt: skip
        else:
            x = pad_border(x, [a for a, s in zip(axes, sides, strict=True) if s], layer.boundary)
        padding = "valid"
    config = {
        "strides": strides, "padding": padding, "data_format": layer.data_format,
        "dilation_rate": (1, 1), "name": name, "dtype": layer.dtype_policy,
        "trainable": layer.trainable,
    }  # fmt: skip
    if not depthwise:
        config["groups"] = 1
    kind = layers.DepthwiseConv2D if depthwise else layers.Conv2D
    return Pending(kind, x, kernel, bias, config, form=form)


def bias_of(layer):
    """The bias of a layer, or None."""
    return None if getattr(layer, "bias", None) is None else numbers(layer.bias)


def pde(layer, x, form=None):
    """One plain convolution."""
    return bordered(x, numbers(layer.assemble_kernel()), bias_of(layer), layer, layer.name, form)


def decomposed(layer, x, merge, form=None):
    """Two thin convolutions, or one of 3x3."""
    row, column, s = numbers(layer.row_kernel), numbers(layer.column_kernel), layer.strides
    if merge:
        kernel = np.einsum("aim,bmo->baio", row[0], column[:, 0])
        return bordered(x, kernel, bias_of(layer), layer, layer.name, form)
    first = bordered(x, row, None, layer, f"{layer.name}_row", form, (1, s))
    return bordered(
        first.tensor(), column, bias_of(layer), layer, f"{layer.name}_column", form, (s, 1)
    )


def polynomial(layer, x, form=None):
    """A convolution, or with coordinates three times its width and products with them."""
    kernels = [numbers(k) for k in (layer.kernel, *layer.slope_kernels)]
    if not layer.degree:
        return bordered(x, kernels[0], bias_of(layer), layer, layer.name, form)
    axis = images.channel_axis(layer.data_format) % 4
    parts = ops.split(
        bordered(x, np.concatenate(kernels, -1), None, layer, layer.name, form).tensor(), 3, axis
    )
    probe = np.zeros([n or 1 for n in x.shape], "float32")
    scaled = [
        layers.Rescaling(numbers(c).tolist(), name=f"{layer.name}_{n}", dtype=layer.dtype_policy)(p)
        for n, c, p in zip("xy", layer._coordinates(probe), parts[1:], strict=True)
    ]
    y = parts[0] + scaled[0] + scaled[1]
    bias = bias_of(layer)
    if bias is None:
        return y
    shape = [-1 if a == axis else 1 for a in range(4)]
    return layers.Rescaling(
        1.0, bias.reshape(shape).tolist(), name=f"{layer.name}_bias", dtype=layer.dtype_policy
    )(y)


def stencil(layer, x, form=None, name=None):
    """A depthwise convolution."""
    kernel = numbers(layer.kernel)
    full = np.broadcast_to(kernel, (3, 3, layer.channels, layer.depth_multiplier)).copy()
    return bordered(x, full, None, layer, name or layer.name, form, depthwise=True)


def by_operations(layer, x):
    """The layer's own operations; it has no weights."""
    return layer.call(x)


def gain(layer, x):
    """A root mean square over the channels, times one number."""
    mean = ops.mean(ops.square(x), axis=layer.axis, keepdims=True)
    return x * ops.rsqrt(mean + layer.epsilon) * float(numbers(layer.gain))


def promoted_step(layer, x, form=None):
    """Y + K2 * c relu(low - K1 * y), or with gains, and the same at the upper end."""
    ends = [(-1.0, layer.low, 1.0)] + ([] if layer.high is None else [(1.0, -layer.high, -1.0)])
    bends = [_bend(layer, x, form, index, *end) for index, end in enumerate(ends)]
    return layers.Add(name=f"{layer.name}_add", dtype=layer.dtype_policy)([x, *bends])


def _bend(layer, x, form, index, sign, end, back):
    names = [f"{layer.name}_{part}{index}" for part in ("inner", "relu", "outer")]
    relu = layers.ReLU(name=names[1], dtype=layer.dtype_policy)
    if hasattr(layer, "gain"):
        z = layers.Rescaling(sign, end, name=names[0], dtype=layer.dtype_policy)(x)
        scale = layer.along_channels(back * layer.rate * numbers(layer.gain), x)
        scale = numbers(scale).tolist()
        return layers.Rescaling(scale, name=names[2], dtype=layer.dtype_policy)(relu(z))
    layout, depthwise = _ZeroBorder(layer), layer.promote == "depthwise"
    inner, outer = sign * numbers(layer.inner_kernel), back * numbers(layer.outer_kernel)
    bias = np.full(inner.shape[-2], end) if end else None
    z = bordered(x, inner, bias, layout, names[0], form, (1, 1), depthwise).tensor()
    z = bordered(relu(z), layer.rate * outer, None, layout, names[2], form, (1, 1), depthwise)
    return z.tensor()


class _ZeroBorder:
    """A layer's layout, with zeros beyond the border."""

    boundary = "zero"

    def __init__(self, layer):
        self.data_format, self.dtype_policy = layer.data_format, layer.dtype_policy
        self.trainable = layer.trainable
