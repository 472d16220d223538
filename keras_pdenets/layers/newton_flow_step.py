"""One step of the flow of a smooth activation, which it inverts by Newton's method."""

import math

import keras
from keras import ops

from keras_pdenets.layers.flow_step import FlowStep
from keras_pdenets.layers.precision import widen
from keras_pdenets.operators.flows.activations import ACTIVATIONS, largest_invertible
from keras_pdenets.utils.checks import check_choice, check_number

_ROUNDS = 24
# Newton's method converges quadratically: after such a step one more is exact.
_NEAR = 1e-4
# Its multiples modulo 1 are evenly distributed.
_GOLDEN = (5**0.5 - 1) / 2
_TINY = 1e-30
# Spacing of the numbers from 1 to 2.
_UNITS = {"float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def _mish_slope(z):
    t = ops.tanh(ops.softplus(z))
    return t + z * ops.sigmoid(z) * (1 - t**2)


def _gelu_slope(z):
    density = ops.exp(-0.5 * z**2) / 2.5066282746310002
    return 0.5 * (1 + ops.erf(z / 1.4142135623730951)) + z * density


# Derivative, and the bounds of a(z) that bracket the inverse: the smallest value, the largest
# (None: it grows like z), the largest for z <= 0.
_SMOOTH = {
    "tanh": (lambda z: 1 - ops.tanh(z) ** 2, -1.0, 1.0, 0.0),
    "sigmoid": (lambda z: ops.sigmoid(z) * (1 - ops.sigmoid(z)), 0.0, 1.0, 0.5),
    "softplus": (ops.sigmoid, 0.0, None, 0.6931471805599453),
    "softsign": (lambda z: 1 / (1 + ops.abs(z)) ** 2, -1.0, 1.0, 0.0),
    "elu": (lambda z: ops.where(z > 0, 1.0, ops.exp(ops.minimum(z, 0.0))), -1.0, None, 0.0),
    "celu": (lambda z: ops.where(z > 0, 1.0, ops.exp(ops.minimum(z, 0.0))), -1.0, None, 0.0),
    "selu": (
        lambda z: 1.0507009873554805
        * ops.where(z > 0, 1.0, 1.6732632423543772 * ops.exp(ops.minimum(z, 0.0))),
        -1.7580993408473766, None, 0.0,
    ),
    "hard_sigmoid": (
        lambda z: ops.cast(ops.abs(z) < 3, z.dtype) / 6, 0.0, 1.0, 0.5
    ),
    "gelu": (_gelu_slope, -0.17, None, 0.0),
    "silu": (
        lambda z: ops.sigmoid(z) * (1 + z * (1 - ops.sigmoid(z))), -0.2785, None, 0.0
    ),
    "mish": (_mish_slope, -0.309, None, 0.0),
}  # fmt: skip
SMOOTH_ACTIVATIONS = tuple(_SMOOTH)


@keras.saving.register_keras_serializable(package="keras_pdenets")
class NewtonFlowStep(FlowStep):
    r"""One step of the flow of a smooth activation.

    $$y_{r+1} = y_r + \Delta h\,(a(Z) - Z), \qquad (1 - h)\,Z + h\,a(Z) = y_r$$

    Section 3, Li and Shi 2017, arXiv 1708.05115, with the exact increment. Z is computed by a
    bracketed Newton method in float32, without gradients; one more Newton step, with the slope held
    constant, has the exact first derivative (not higher ones). Rounding is dithered: 64 equal
    steps, all rounded the same way, would be off by 32 units in the last place.

    Args:
        activation: One of `tanh`, `sigmoid`, `softplus`, `softsign`, `elu`, `celu`, `selu`,
            `hard_sigmoid`, `gelu`, `silu`, `mish`.
        left: h at the start of the step, in [0, 1); below the cap of a non-monotone activation
            (`operators.flows.largest_invertible`).
        step: Increment of h, at most 2 (1 - left); above 1 - left it overshoots.
        promote: As in `ClipFlowStep`.
        data_format: As in `ClipFlowStep`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input and output shape:
        Any, as in `ClipFlowStep`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.layers import NewtonFlowStep
    >>> y = np.array([[-1.0, 0.5]], "float32")
    >>> for left in (0.0, 0.25, 0.5, 0.75):
    ...     y = NewtonFlowStep("tanh", left, 0.25)(y)
    >>> bool(np.abs(np.tanh([-1.0, 0.5]) - np.asarray(y)).max() < 1e-6)
    True
    """

    def __init__(self, activation, left, step, promote=None, data_format=None, **kwargs):
        super().__init__(promote, data_format, **kwargs)
        check_choice("activation", activation, _SMOOTH)
        self.left = check_number("left", left, "in [0, 1)", lambda h: 0 <= h < 1)
        cap = largest_invertible(ACTIVATIONS[activation])
        if left >= cap:
            raise ValueError(
                f"`left` must be below {cap:.4f} for {activation!r}: above it the flow is not "
                f"invertible. Received: left={left}"
            )
        most = 2 * (1 - left) + 1e-6
        self.step = check_number("step", step, "in [0, 2 (1 - left)]", lambda h: 0 <= h <= most)
        self.activation = activation

    @property
    def operations(self):
        """Operations per element: about 12 per Newton iteration, and usually 6 iterations."""
        return 4 + 12 * 6 * (self.left > 0)

    def increment(self, y):
        """The exact increment."""
        dtype = keras.backend.standardize_dtype(y.dtype)
        y = widen(y)
        z = y if self.left == 0 else self._inverse(y)
        change = self.step * (keras.activations.get(self.activation)(z) - z)
        return ops.cast(change + self._dither(y, dtype), dtype)

    def _dither(self, y, dtype):
        """A fraction of half a unit in the last place, different for every step of a chain.

        Equal steps are rounded the same way; changes below half a unit would always be lost.
        """
        if self.left == 0:
            return 0.0
        place = math.modf(self.left / self.step * _GOLDEN)[0] - 0.5 if self.step else 0.0
        size = ops.log2(ops.maximum(ops.abs(ops.stop_gradient(y)), _TINY))
        unit = ops.power(2.0, ops.floor(size)) * _UNITS.get(dtype, 2.0**-23)
        return place * unit

    def _inverse(self, y):
        """Z as a differentiable function of y."""
        activation = keras.activations.get(self.activation)
        slope, lowest, highest, highest_left = _SMOOTH[self.activation]
        h, fixed = self.left, ops.stop_gradient(y)

        def excess(z):
            return (1 - h) * z + h * activation(z) - fixed

        def steepness(z):
            # Not `ops.maximum`, which rounds float64 on some backends.
            steep, least = (1 - h) + h * slope(z), 1e-3 * (1 - h)
            return ops.where(steep > least, steep, least)

        bend = highest if highest is not None else highest_left
        low = (fixed - h * bend) / (1 - h)
        low = low if highest is not None else ops.minimum(low, 0.0)
        high = (fixed - h * lowest) / (1 - h)

        def newton(z, low, high, _):
            error = excess(z)
            low = ops.where(error < 0, z, low)
            high = ops.where(error > 0, z, high)
            new = z - error / steepness(z)
            outside = ops.logical_or(new < low, new > high)
            new = ops.where(outside, 0.5 * (low + high), new)
            return new, low, high, ops.any(ops.abs(new - z) > _NEAR * (1 + ops.abs(z)))

        start = ops.clip(fixed, low, high)
        z, _, _, _ = ops.while_loop(
            lambda *state: state[-1],
            newton,
            (start, low, high, ops.any(start == start)),
            maximum_iterations=_ROUNDS,
        )
        z = ops.stop_gradient(z)
        slope_at = ops.stop_gradient(steepness(z))
        return z - ((1 - h) * z + h * ops.stop_gradient(activation(z)) - y) / slope_at
