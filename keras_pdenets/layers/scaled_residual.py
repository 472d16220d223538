"""Nonexpansive residual blocks: a leak, and a branch scaled by its Lipschitz bound."""

import functools
import math

import keras
from keras import layers, ops

from keras_pdenets.compat.keras import nodes_of, variables_as_they_are
from keras_pdenets.layers.branch import OnBranch
from keras_pdenets.layers.convolution_bound import convolution_bound
from keras_pdenets.layers.linear_maps import linear_map
from keras_pdenets.layers.precision import wide_dtype
from keras_pdenets.layers.scalar_gain import ScalarGain
from keras_pdenets.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_pdenets")
class ScaledResidual(OnBranch):
    r"""Increment of a nonexpansive residual block with a leak.

    $$y = (1 - \beta)\,x + \alpha F(x), \qquad \alpha = \min\Bigl(h, \frac{\beta}{L}\Bigr),
      \qquad \text{output } y - x$$

    where L, the product of the bounds of F's layers (`convolution_bound`), is an upper bound of the
    Lipschitz constant of F. So, in the 2-norm of an example,
    $$|y_1 - y_2| \le (1 - \beta + \alpha L)\,|x_1 - x_2| \le |x_1 - x_2|$$
    up to rounding, after every training step: alpha is computed from the weights in each call, in
    float32 or better and before mixed precision rounds them, and gradients propagate through it. A
    loose bound reduces the weight of F, and every block damps its input by 1 - beta: use
    beta = O(1 / depth) (50 blocks of 0.1 leave 0.005 of a signal).

    Args:
        branch: F, a functional model: a chain of convolutions of stride 1 with zero or periodic
            borders (`Conv2D`, `PDEConv2D`, `DecomposedConv2D`, `PolynomialConv2D` of degree 0),
            `Dense`, `ReLU` and `ScalarGain`. A batch norm has no bound: it divides by the standard
            deviation of the batch.
        leak: beta, in (0, 1).
        step_size: h, the largest alpha.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        Those of the branch.

    Raises:
        ValueError: If an argument is out of range, or a layer has no known bound.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.layers import ScaledResidual
    >>> x = keras.Input((1,))
    >>> triple = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(-3.0))
    >>> step = ScaledResidual(keras.Model(x, triple(x)), leak=0.4)
    >>> d = keras.ops.convert_to_numpy(step(np.ones((1, 1), "float32")))
    >>> round(1 + float(d[0, 0]), 3)  # 0.6 - (0.4 / 3) * 3
    0.2
    """

    def __init__(self, branch, leak, step_size=1.0, **kwargs):
        super().__init__(branch, step_size, **kwargs)
        self.leak = check_number("leak", leak, "in (0, 1)", lambda beta: 0 < beta < 1)
        unknown = [f"{x.name} ({reason})" for x in branch.layers if (reason := _why_not(x))]
        if unknown or len(nodes_of(branch)) > len(branch.operations) - len(branch.inputs):
            raise ValueError(
                "`branch` must be a chain of layers with Lipschitz bounds that hold in training. "
                f"Received: {', '.join(unknown) or 'a layer called twice'}"
            )

    def call(self, x):
        """The increment."""
        x = ops.cast(x, self.compute_dtype)
        change = ops.cast(self.factor(), x.dtype) * ops.cast(self.branch(x), x.dtype)
        return change - self.leak * x

    def lipschitz(self):
        """L, an upper bound of the Lipschitz constant of F: a tensor of shape ()."""
        wide = wide_dtype(self.compute_dtype)
        with variables_as_they_are():
            bounds = [ops.cast(_bound(layer), wide) for layer in self.branch.layers]
        return functools.reduce(ops.multiply, bounds)

    def factor(self):
        """alpha, a tensor of shape ()."""
        # The minimum, without dividing by the bound 0 of a branch that starts at zero.
        bound, least = self.lipschitz(), self.leak / self.step_size
        # Not `ops.maximum`, which rounds float64 on some backends.
        return self.leak / ops.where(bound > least, bound, least)


_FLAT = (keras.activations.linear, keras.activations.relu, keras.activations.tanh)


def _bound(layer):
    """Upper bound of the Lipschitz constant of a layer that `_why_not` accepts."""
    if isinstance(layer, ScalarGain):
        return ops.abs(ops.convert_to_tensor(layer.gain))
    found = linear_map(layer)
    kernels = () if found is None else found.terms()[0]
    return math.prod(convolution_bound(ops.convert_to_tensor(kernel)) for kernel in kernels)


def _why_not(layer):
    """Why a layer has no bound, or None if it has one."""
    kind = type(layer)
    if kind is ScalarGain:
        return "divides by a root mean square" if layer.normalize else None
    if kind is layers.ReLU:
        return None if layer.threshold == 0 and layer.negative_slope <= 1 else "too steep"
    if kind is layers.InputLayer:
        return None
    # Does not compute the kernels, whose size comes from an untrusted weight file.
    found = linear_map(layer)
    if found is None or found.dims % 2 or found.adjoint or found.depthwise:
        return f"{kind.__name__} has no bound"
    if found.boundary not in ("zero", "periodic"):
        return f"boundary={found.boundary!r} increases the norm"
    if found.varies:
        return "its coefficients depend on the position"
    if getattr(layer, "activation", _FLAT[0]) not in _FLAT:
        return "unknown slope of its activation"
    if found.groups > 1 or not set(found.sides) <= {1, 3}:
        return "only kernels of 1 or 3 points without groups are supported"
    return None
