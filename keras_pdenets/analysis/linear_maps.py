"""The linear map inside a layer: its kernel, and a copy of the layer that is nothing else."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from keras_pdenets.analysis.fourier import kernel_of
from keras_pdenets.layers import (
    DecomposedConv2D,
    DepthwiseStencil2D,
    LinearFlowStep,
    PDEConv2D,
    PolynomialConv2D,
)
from keras_pdenets.operators.norms import convolution_norm


@dataclass(frozen=True)
class LinearMap:
    """A sum of convolutions, each times a function between -1 and 1, or the adjoint of that.

    Args:
        kernels: Arrays of shape (k_1, ..., k_D, inputs of a group, outputs); D is 0 for a matrix.
        strides: Strides on the D axes.
        dilation: Distances of a kernel's points on these.
        groups: Groups of outputs, each with inputs of its own.
        boundary: Values beyond the border, a key of `layers.boundary.BOUNDARIES`.
        adjoint: Whether it is the adjoint.
    """

    kernels: tuple[np.ndarray, ...]
    strides: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    boundary: str = "zero"
    adjoint: bool = False

    def bound(self, sides):
        """Upper bound of the 2-norm on images of these sides, None where one is open."""
        factor, strides = 1.0, self.strides
        if self.boundary in ("replicate", "reflect"):
            factor = np.prod([_border_norm(side, self.boundary) for side in sides])
        elif self.boundary == "periodic":
            # On a circle of any size; a stride that does not divide it is not alike everywhere.
            if any(n is None or n % s for n, s in zip(sides, strides, strict=True)):
                strides = None
            sides = (None,) * len(sides)
        elif self.adjoint:
            sides = (None,) * len(sides)  # those given are of the other end
        kernels = [_spread(kernel, self.dilation) for kernel in self.kernels]
        return factor * sum(convolution_norm(k, None, sides, strides, self.groups) for k in kernels)


def linear_map(layer):
    """The `LinearMap` of a layer without its bias and activation, or None for other layers."""
    rule = _RULES.get(type(layer))
    return None if rule is None else rule(layer)


def linear_twin(layer, input_shape):
    """A layer with the same kernel and neither bias nor activation, in the variables' precision."""
    config = layer.get_config() | {"dtype": layer.variable_dtype}
    config |= {k: v for k, v in (("activation", None), ("use_bias", False)) if k in config}
    twin = type(layer).from_config(config)
    twin.build(input_shape)
    values = {variable.name: variable for variable in layer.variables}
    for variable in twin.variables:
        variable.assign(_numbers(values[variable.name]))
    return twin


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


def _numbers(value):
    return np.asarray(keras.ops.convert_to_numpy(value))


def _dense(layer):
    return LinearMap((_numbers(layer.kernel),))


def _flow_step(layer):
    kernel = _numbers(layer.kernel)
    return LinearMap((np.eye(len(kernel)) + kernel,))


def _convolution(layer):
    return LinearMap((_numbers(layer.kernel),), layer.strides, layer.dilation_rate, layer.groups)


def _transposed(layer):
    kernel = _numbers(layer.kernel)  # (k.., outputs, inputs), as of the convolution itself
    return LinearMap((kernel,), layer.strides, layer.dilation_rate, adjoint=True)


def _depthwise(layer):
    kernel = _numbers(layer.kernel)
    channels = kernel.shape[-2]
    # (k.., c, m) -> (k.., 1, c*m)
    kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
    return LinearMap((kernel,), layer.strides, layer.dilation_rate, channels)


def _separable(layer):
    deep, flat = _numbers(layer.depthwise_kernel), _numbers(layer.pointwise_kernel)
    # (1.., c*m, o) -> (c, m, o)
    flat = flat.reshape(*deep.shape[-2:], -1)
    kernel = np.einsum("...cm,cmo->...co", deep, flat)
    return LinearMap((kernel,), layer.strides, layer.dilation_rate)


def _own(kernels, layer, groups=1):
    """The map of a 3x3 layer of this package."""
    strides = (layer.strides, layer.strides)
    return LinearMap(tuple(kernels), strides, groups=groups, boundary=layer.boundary)


def _stencils(layer):
    kernel = np.broadcast_to(_numbers(layer.kernel), (3, 3, layer.channels, layer.depth_multiplier))
    return _own([kernel.reshape(3, 3, 1, -1)], layer, layer.channels)


def _polynomial(layer):
    return _own([_numbers(k) for k in (layer.kernel, *layer.slope_kernels)], layer)


_RULES = {
    layers.Dense: _dense,
    layers.Conv1D: _convolution,
    layers.Conv2D: _convolution,
    layers.Conv3D: _convolution,
    layers.Conv1DTranspose: _transposed,
    layers.Conv2DTranspose: _transposed,
    layers.Conv3DTranspose: _transposed,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
    LinearFlowStep: _flow_step,
    PDEConv2D: lambda layer: _own([kernel_of(layer)], layer),
    # The border is copied along each axis alone: both convolutions are one.
    DecomposedConv2D: lambda layer: _own([kernel_of(layer)], layer),
    DepthwiseStencil2D: _stencils,
    PolynomialConv2D: _polynomial,
}
