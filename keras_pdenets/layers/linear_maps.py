"""The linear map inside a layer: our layers say it themselves, Keras' own through an adapter."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers, ops

from keras_pdenets.layers.precision import as_float64
from keras_pdenets.operators.norms import convolution_norm


@dataclass(frozen=True)
class LinearMap:
    """A sum of convolutions, each times a function between -1 and 1, or the adjoint of that.

    Args:
        terms: Gives for each term its kernels, which follow one after the other: variables or
            tensors of shape (k_1, ..., k_D, inputs of a group, outputs), of which no two are long
            on the same axis; D is 0 for a matrix. A function, so that nothing is computed before.
        sides: (k_1, ..., k_D) of all kernels of a term together.
        strides: Strides on the D axes.
        dilation: Distances of a kernel's points on these; (): 1.
        groups: Groups of outputs, each with inputs of its own.
        depthwise: Whether every input has outputs of its own: the two last axes of a kernel are
            inputs and outputs of each.
        boundary: Values beyond the border, a key of `layers.boundary.BOUNDARIES`.
        adjoint: Whether it is the adjoint.
        varies: Whether there may be more than one term: the map changes from place to place.
    """

    terms: Callable[[], tuple[tuple[Any, ...], ...]]
    sides: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    depthwise: bool = False
    boundary: str = "zero"
    adjoint: bool = False
    varies: bool = False

    @property
    def dims(self):
        """Number D of axes with neighbours."""
        return len(self.sides)

    def kernels(self):
        """One kernel in float64 for each term, with the zeros of a dilation."""
        return [_spread(kernel, self.dilation) for kernel in self._dense_kernels()]

    def _dense_kernels(self):
        return [functools.reduce(np.matmul, map(as_float64, term)) for term in self.terms()]

    def bound(self, sides=None):
        """Upper bound of the 2-norm on images of these sides, None where one is open.

        Without sides a quicker one, for all sides and strides.
        """
        groups, strides = self.groups, self.strides
        # Dilated kernels have the same symbol at other frequencies.
        kernels = self._dense_kernels() if sides is None else self.kernels()
        if self.depthwise:
            groups = kernels[0].shape[-2]
            # (k.., c, m) -> (k.., 1, c*m)
            kernels = [k.reshape(*k.shape[:-2], 1, -1) for k in kernels]
        factor = 1.0
        if self.boundary in ("replicate", "reflect"):
            open_sides = (None,) * self.dims if sides is None else sides
            factor = np.prod([_border_norm(side, self.boundary) for side in open_sides])
        elif sides is not None and self.boundary == "periodic":
            # On a circle of any size; a stride that does not divide it is not alike everywhere.
            if any(n is None or n % s for n, s in zip(sides, strides, strict=True)):
                strides = None
            sides = (None,) * len(sides)
        elif sides is not None and self.adjoint:
            sides = (None,) * len(sides)  # those given are of the other end
        strides = None if sides is None else strides
        return factor * sum(convolution_norm(k, None, sides, strides, groups) for k in kernels)


def linear_map(layer, subclasses=False):
    """The `LinearMap` of a layer without its bias and activation, or None for other layers.

    Args:
        layer: A built layer, or any operation.
        subclasses: Whether a subclass of a layer of Keras counts: it may do more than that.
    """
    if hasattr(layer, "linear_map"):
        return layer.linear_map()
    rule = _KERAS.get(type(layer))
    if rule is None and subclasses:
        rule = next((rule for kind, rule in _KERAS.items() if isinstance(layer, kind)), None)
    return None if rule is None else rule(layer)


def is_convolution(layer):
    """Whether a layer is a convolution: all its weights but the bias make its kernel."""
    found = linear_map(layer, subclasses=True)
    return found is not None and found.dims > 0


def _border_norm(side, boundary):
    """2-norm of putting one pixel on both ends of a line: how often a pixel occurs at most."""
    if side is None:
        return 3**0.5
    mode = {"replicate": "edge", "reflect": "reflect"}[boundary]
    return float(np.bincount(np.pad(np.arange(side), 1, mode=mode)).max()) ** 0.5


def _spread(kernel, dilation):
    """A kernel with zeros between its points."""
    for axis, step in enumerate(dilation):
        shape = list(kernel.shape)
        shape[axis] = (shape[axis] - 1) * step + 1
        wide = np.zeros(shape)
        wide[(*(slice(None),) * axis, slice(None, None, step))] = kernel
        kernel = wide
    return kernel


def _convolution(layer, **options):
    sides, strides = layer.kernel_size, layer.strides
    return LinearMap(lambda: ((layer.kernel,),), sides, strides, layer.dilation_rate, **options)


def _separable(layer):
    def terms():
        deep = layer.depthwise_kernel
        # (1.., c*m, o) -> (c, m, o)
        flat = ops.reshape(layer.pointwise_kernel, (*deep.shape[-2:], -1))
        return ((ops.einsum("...cm,cmo->...co", deep, flat),),)

    return LinearMap(terms, layer.kernel_size, layer.strides, layer.dilation_rate)


_KERAS = {
    layers.Dense: lambda layer: LinearMap(lambda: ((layer.kernel,),)),
    **dict.fromkeys(
        (layers.Conv1D, layers.Conv2D, layers.Conv3D),
        lambda layer: _convolution(layer, groups=layer.groups),
    ),
    # The kernel is (k.., outputs, inputs), as of the convolution itself.
    **dict.fromkeys(
        (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose),
        functools.partial(_convolution, adjoint=True),
    ),
    **dict.fromkeys(
        (layers.DepthwiseConv1D, layers.DepthwiseConv2D),
        functools.partial(_convolution, depthwise=True),
    ),
    **dict.fromkeys((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
}
# The layers of Keras that have a linear map.
KERAS_LAYERS = tuple(_KERAS)
