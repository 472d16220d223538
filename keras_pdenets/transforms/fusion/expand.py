"""Layers of this package expressed in layers and operations of Keras."""

import functools
from types import SimpleNamespace

import numpy as np
from keras import layers, ops

from keras_pdenets.layers import images
from keras_pdenets.layers.boundary import pad_border
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.fusion.pending import Pending


def bordered(x, kernel, bias, layer, name, form, depthwise=False):
    """A convolution with a boundary condition of this package, as a `Pending`.

    Args:
        x: Symbolic images.
        kernel: Its kernel.
        bias: Its bias, or None.
        layer: Layer that provides strides (for the axes along which the kernel extends), boundary,
            data format and dtype.
        name: Name of the new layer.
        form: One of `forms.FORMS`, or None.
        depthwise: Whether each channel has kernels of its own.
    """
    strides = tuple(layer.strides if side > 1 else 1 for side in kernel.shape[:2])
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
    return None if getattr(layer, "bias", None) is None else as_float64(layer.bias)


def convolution(layer, x, merge=True, form=None, name=None):
    """The plain convolution of a layer with one term; unless merged, as many as it has itself."""
    kernels, names = [as_float64(kernel) for kernel in layer.kernels()], [name or layer.name]
    if merge:
        kernels = [functools.reduce(np.matmul, kernels)]
    elif len(kernels) > 1:
        names = [f"{layer.name}_{'row' if k.shape[0] == 1 else 'column'}" for k in kernels]
    for kernel, name in zip(kernels[:-1], names, strict=False):
        x = bordered(x, kernel, None, layer, name, form, layer.depthwise).tensor()
    return bordered(x, kernels[-1], bias_of(layer), layer, names[-1], form, layer.depthwise)


def polynomial(layer, x, form=None):
    """A convolution with three times the filters, and products with the coordinates."""
    axis, (kernel,) = images.channel_axis(layer.data_format) % 4, map(as_float64, layer.kernels())
    parts = ops.split(bordered(x, kernel, None, layer, layer.name, form).tensor(), 3, axis)
    probe = np.zeros([n or 1 for n in x.shape], "float32")
    y, bias = parts[0], bias_of(layer)
    for part, coordinate, along in zip("xy", layer._coordinates(probe), parts[1:], strict=True):
        scale, name = as_float64(coordinate).tolist(), f"{layer.name}_{part}"
        y = y + layers.Rescaling(scale, name=name, dtype=layer.dtype_policy)(along)
    if bias is None:
        return y
    shape = [-1 if a == axis else 1 for a in range(4)]
    return layers.Rescaling(
        1.0, bias.reshape(shape).tolist(), name=f"{layer.name}_bias", dtype=layer.dtype_policy
    )(y)


def gain(layer, x):
    """Normalisation by the root mean square over the channels, times a scalar."""
    mean = ops.mean(ops.square(x), axis=layer.axis, keepdims=True)
    return x * ops.rsqrt(mean + layer.epsilon) * float(as_float64(layer.gain))


def promoted_step(layer, x, form=None):
    """Y + K2 * c relu(low - K1 * y), or with gains, and the same at the upper end."""
    sides = [(-1.0, layer.low, 1.0)] + ([] if layer.high is None else [(1.0, -layer.high, -1.0)])
    ends = [_one_end(layer, x, form, index, *end) for index, end in enumerate(sides)]
    return layers.Add(name=f"{layer.name}_add", dtype=layer.dtype_policy)([x, *ends])


def _one_end(layer, x, form, index, sign, end, back):
    names = [f"{layer.name}_{part}{index}" for part in ("inner", "relu", "outer")]
    relu = layers.ReLU(name=names[1], dtype=layer.dtype_policy)
    if hasattr(layer, "gain"):
        z = layers.Rescaling(sign, end, name=names[0], dtype=layer.dtype_policy)(x)
        scale = layer.along_channels(back * layer.rate * as_float64(layer.gain), x)
        scale = as_float64(scale).tolist()
        return layers.Rescaling(scale, name=names[2], dtype=layer.dtype_policy)(relu(z))
    layout = SimpleNamespace(
        boundary="zero", strides=1, data_format=layer.data_format,
        dtype_policy=layer.dtype_policy, trainable=layer.trainable,
    )  # fmt: skip
    depthwise = layer.promote == "depthwise"
    inner, outer = sign * as_float64(layer.inner_kernel), back * as_float64(layer.outer_kernel)
    bias = np.full(inner.shape[-2], end) if end else None
    z = bordered(x, inner, bias, layout, names[0], form, depthwise).tensor()
    z = bordered(relu(z), layer.rate * outer, None, layout, names[2], form, depthwise)
    return z.tensor()
