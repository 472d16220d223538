"""Which convolutions of a net can become another operator, and where its outputs lie."""

import fnmatch
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras

from keras_pdenets.layers.images import channel_axis, spatial_axes
from keras_pdenets.layers.linear_maps import linear_map

OPERATORS = ("pde", "decomposed")


@dataclass(frozen=True)
class Alignment:
    """How an operator that sees one pixel beyond the border gives what a convolution gives.

    Args:
        front: Pixels of zeros to put before the image, along (height, width).
        crop: Outputs to cut off, ((before, behind), (before, behind)).
    """

    front: tuple[int, int] = (0, 0)
    crop: tuple[tuple[int, int], ...] = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Target:
    """A convolution to be converted.

    Args:
        call: Its `graphs.graph.Call`.
        padding: Call of the layer that pads for it and is not needed any more, or None.
        alignment: An `Alignment`; None: the border has no form of this package, and two
            convolutions of Keras take its place.
    """

    call: Any
    padding: Any
    alignment: Alignment | None

    @property
    def layer(self):
        """The convolution."""
        return self.call.layer

    @property
    def name(self):
        """Name of the convolution."""
        return self.call.layer.name

    @property
    def shape(self):
        """Sides of the kernel, channels and filters."""
        return tuple(self.layer.kernel.shape)

    @property
    def places(self):
        """Number of places of its outputs, rows and columns; None where a side is open."""
        return sides_of(self.layer, self.call.outputs[0])


def find_targets(graph, operator, chosen):
    """The convolutions that can become an operator, and why the others cannot.

    Args:
        graph: `Graph` of a model without models inside it.
        operator: One of `OPERATORS`.
        chosen: Function of a layer that says whether it is wanted.

    Returns:
        List of `Target` in the order of the graph, and a dictionary of reasons by layer name.

    Raises:
        ValueError: If there is none.
    """
    times = Counter(id(call.layer) for call in graph.calls)
    targets, left = [], {}
    for call in graph.calls:
        found = linear_map(call.layer, subclasses=True)
        if found is None or found.dims != 2:
            continue
        reason = _reason(call, times[id(call.layer)], operator)
        if reason is None and not chosen(call.layer):
            reason = "not among `layers`"
        alignment = padding = None
        if reason is None:
            padding = _padding_before(graph, call)
            alignment = Alignment() if padding else _alignment(call)
            if alignment is None and operator == "pde":
                reason = "a strided border of images whose sides are open"
        if reason is not None:
            left[call.layer.name] = reason
        else:
            targets.append(Target(call, padding, alignment))
    if not targets:
        seen = "; ".join(f"{name}: {reason}" for name, reason in list(left.items())[:3])
        raise ValueError(
            f"`model` must have a convolution that can become {operator!r}: a `keras.layers.Conv2D`"
            f" of 3x3 points in one group (decomposed: of odd sides), called once. Received: "
            f"{graph.name!r} with {len(left)} convolutions, none of them such"
            + (f" ({seen})" if seen else "")
        )
    return targets, left


def choice_of(layers):
    """`layers` as a function of a layer: None, a pattern, names, or a function already.

    Raises:
        ValueError: If it is none of these.
    """
    if layers is None:
        return lambda layer: True
    if isinstance(layers, str):
        return lambda layer: fnmatch.fnmatchcase(layer.name, layers)
    if callable(layers):
        return layers
    names = list(layers) if isinstance(layers, Iterable) else [None]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(
            "`layers` must be None, names of layers, a pattern such as 'stage2*', or a function of "
            f"a layer. Received: layers={layers!r}"
        )
    return lambda layer: layer.name in names


def sides_of(layer, tensor):
    """(height, width) of images, a symbolic tensor or an array."""
    return tuple(tensor.shape[axis] for axis in spatial_axes(layer.data_format))


def pads_of(layer, sides):
    """Zeros ((before, behind), (before, behind)) that a convolution puts around images of sides.

    None for an axis where that depends on a side that is open.
    """
    return tuple(
        _pads(layer.padding, *numbers)
        for numbers in zip(
            layer.kernel_size, layer.strides, layer.dilation_rate, sides, strict=True
        )
    )


def _pads(padding, points, stride, dilation, side):
    if padding == "valid":
        return 0, 0
    reach = (points - 1) * dilation
    if stride == 1:
        return reach // 2, reach - reach // 2
    if side is None:
        return None
    # TensorFlow's rule, which Keras keeps on every backend.
    total = max((-(-side // stride) - 1) * stride + reach + 1 - side, 0)
    return total // 2, total - total // 2


def _reason(call, times, operator):
    """Why a convolution stays, or None."""
    layer = call.layer
    if type(layer) is not keras.layers.Conv2D:
        return f"a {type(layer).__name__}"
    height, width = layer.kernel_size
    square = 3 in (height, width) and height == width
    shape = call.inputs[0].shape if call.inputs else ()
    rules = (
        (getattr(layer.dtype_policy, "quantization_mode", None), "quantized"),
        (height == 1 or width == 1, f"of {height}x{width} points"),
        (height % 2 == 0 or width % 2 == 0, f"of {height}x{width} points, an even side"),
        (operator == "pde" and not square, f"of {height}x{width} points, operators have 3x3"),
        (operator == "pde" and layer.groups > 1, f"in {layer.groups} groups"),
        (operator == "pde" and max(layer.dilation_rate) > 1, f"dilated by {layer.dilation_rate}"),
        (operator == "pde" and len(set(layer.strides)) > 1, f"strides {layer.strides}"),
        (times > 1, f"called {times} times"),
        (len(shape) != 4 or shape[channel_axis(layer.data_format)] is None, "open channels"),
    )
    return next((reason for holds, reason in rules if holds), None)


def _padding_before(graph, call):
    """The call of a layer that puts one pixel of zeros around the images for this call alone."""
    (source,) = call.inputs
    before = graph.makers.get(id(source))
    if before is None or type(before.layer) is not keras.layers.ZeroPadding2D:
        return None
    fits = (
        before.layer.padding == ((1, 1), (1, 1))
        and before.layer.data_format == call.layer.data_format
        and _is_plain(call.layer)
        and call.layer.padding == "valid"
    )
    alone = len(graph.readers[id(source)]) == 1
    outputs = keras.tree.flatten(graph.outputs)
    return before if fits and alone and not any(t is source for t in outputs) else None


def _is_plain(layer):
    """Whether a convolution has the 3x3 points, the equal strides and the one group of ours."""
    return (
        layer.kernel_size == (3, 3)
        and layer.groups == 1
        and max(layer.dilation_rate) == 1
        and len(set(layer.strides)) == 1
    )


def _alignment(call):
    """The `Alignment` of a convolution, or None."""
    layer = call.layer
    if not _is_plain(layer):
        return None
    given, made = sides_of(layer, call.inputs[0]), sides_of(layer, call.outputs[0])
    axes = [
        _align(pads, layer.strides[0], side, wanted)
        for pads, side, wanted in zip(pads_of(layer, given), given, made, strict=True)
    ]
    if None in axes:
        return None
    return Alignment(tuple(a[0] for a in axes), tuple(a[1] for a in axes))


def _align(pads, stride, side, wanted):
    """Zeros before an axis, and outputs to cut off, or None where the side is open."""
    if pads is None:
        return None
    if pads[0] == 1:
        return 0, (0, 0)
    if stride == 1:
        return 0, (1, 1)
    if side is None:
        return None
    # Centres lie at 1, 1 + s, ... : with s - 1 zeros before at 0, s, ..., the first in the zeros.
    made = -(-(side + stride - 1) // stride)
    return stride - 1, (1, made - 1 - wanted)
