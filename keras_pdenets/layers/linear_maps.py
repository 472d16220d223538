"""The linear map of a layer: our layers have a method for it, Keras' layers an adapter here."""

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
    """A sum of convolutions, each times a function with values in [-1, 1], or the adjoint of it.

    Args:
        terms: Returns for each term its kernels, applied in sequence: variables or tensors of shape
            (k_1, ..., k_D, inputs of a group, outputs), at most one of which is longer than 1 along
            each axis; D is 0 for a matrix. A function, so that they are computed only when needed.
        sides: (k_1, ..., k_D) of the product of a term's kernels.
        strides: Strides on the D axes.
        dilation: Dilation on the D axes; (): 1.
        groups: Number of groups of channels.
        depthwise: Whether the convolution is depthwise: the last two axes of a kernel are the
            channels and the outputs of each.
        boundary: Boundary condition, a key of `layers.boundary.BOUNDARIES`.
        adjoint: Whether it is the adjoint.
        varies: Whether there may be several terms: the coefficients depend on the position.
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
        """Number D of spatial axes."""
        return len(self.sides)

    def kernels(self):
        """One kernel in float64 for each term, with the zeros of the dilation."""
        return [_spread(kernel, self.dilation) for kernel in self._dense_kernels()]

    def _dense_kernels(self):
        return [functools.reduce(np.matmul, map(as_float64, term)) for term in self.terms()]

    def bound(self, sides=None):
        """Upper bound of the 2-norm on images of these sides, None for an unknown side.

        Without sides: a cheaper bound for all sides and strides.
        """
        groups, strides = self.groups, self.strides
        # Dilation only rescales the frequencies of the symbol.
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
            # A bound for all sizes; a stride that does not divide the side is not periodic.
            if any(n is None or n % s for n, s in zip(sides, strides, strict=True)):
                strides = None
            sides = (None,) * len(sides)
        elif sides is not None and self.adjoint:
            sides = (None,) * len(sides)  # the given sides are those of the adjoint's input
        strides = None if sides is None else strides
        return factor * sum(convolution_norm(k, None, sides, strides, groups) for k in kernels)


def linear_map(layer, subclasses=False):
    """The `LinearMap` of a layer without its bias and activation, or None for other layers.

    Args:
        layer: A built layer, or any operation.
        subclasses: Whether to accept subclasses of Keras' layers, which may compute more than that.
    """
    if hasattr(layer, "linear_map"):
        return layer.linear_map()
    rule = _KERAS.get(type(layer))
    if rule is None and subclasses:
        rule = next((rule for kind, rule in _KERAS.items() if isinstance(layer, kind)), None)
    return None if rule is None else rule(layer)


def is_convolution(layer):
    """Whether a layer is a convolution: all its weights except the bias form its kernel."""
    found = linear_map(layer, subclasses=True)
    return found is not None and found.dims > 0


def _border_norm(side, boundary):
    """2-norm of padding a line by one pixel on both ends, from how often a pixel occurs."""
    if side is None:
        return 3**0.5
    mode = {"replicate": "edge", "reflect": "reflect"}[boundary]
    return float(np.bincount(np.pad(np.arange(side), 1, mode=mode)).max()) ** 0.5


def _spread(kernel, dilation):
    """A kernel with the zeros of a dilation."""
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
    # The kernel is (k.., outputs, inputs): that of the adjoint convolution.
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
# Keras' layers with a linear map.
KERAS_LAYERS = tuple(_KERAS)
