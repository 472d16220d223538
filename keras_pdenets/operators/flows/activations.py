"""Activations as flows from the identity."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy  # imports its submodules lazily

from keras_pdenets.operators.flows.times import increments

# Upper bounds of the last left end point: a share of the largest invertible h, and below 1.
_SAFETY = 0.9
_NEAREST = 1 - 2.0**-20


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return scipy.special.expit(z)


def _softplus(z: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, z)


def _elu(z: np.ndarray) -> np.ndarray:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0.0)))


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

# Activations with a known flow, in NumPy, as Keras defines them.
ACTIVATIONS: dict[str, Callable[..., np.ndarray]] = {
    "relu": lambda z: np.maximum(z, 0.0),
    "relu6": lambda z: np.clip(z, 0.0, 6.0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.2 * z),
    "elu": _elu,
    "celu": _elu,
    "selu": lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0.0))),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "softsign": lambda z: z / (1 + np.abs(z)),
    "hard_sigmoid": lambda z: np.clip(z / 6 + 0.5, 0.0, 1.0),
    "hard_tanh": lambda z: np.clip(z, -1.0, 1.0),
    "gelu": lambda z: 0.5 * z * (1 + scipy.special.erf(z / math.sqrt(2))),
    "silu": lambda z: z * _sigmoid(z),
    "mish": lambda z: z * np.tanh(_softplus(z)),
}


def smallest_slope(activation: Callable[..., np.ndarray], reach: float = 30.0) -> float:
    """Smallest derivative of an activation, in [-reach, reach].

    Args:
        activation: Function of an array.
        reach: Half the length of the interval.
    """

    def slope(z: np.ndarray) -> np.ndarray:
        step = 1e-5
        return (activation(z + step) - activation(z - step)) / (2 * step)

    grid = np.linspace(-reach, reach, 24_001)
    values = slope(grid)
    lowest = int(values.argmin())
    spacing = grid[1] - grid[0]
    found = scipy.optimize.minimize_scalar(
        lambda z: float(slope(np.asarray(z))),
        bounds=(grid[lowest] - spacing, grid[lowest] + spacing),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(min(values[lowest], found.fun))


@functools.cache
def largest_invertible(activation: Callable[..., np.ndarray]) -> float:
    r"""Largest h up to which the flow of an activation is invertible.

    $$\phi_h(z) = (1 - h)\,z + h\,a(z)$$

    is increasing while $1 - h + h \min a' > 0$; for a non-monotone activation that ends below 1.
    Section 3, Li and Shi 2017, arXiv 1708.05115, assumes that all activations are monotone.

    Args:
        activation: Function of an array.

    Returns:
        $1 / (1 - \min a')$, or 1 where the activation is monotone.

    Example:
    >>> from keras_pdenets.operators.flows import largest_invertible
    >>> from keras_pdenets.operators.flows.activations import ACTIVATIONS
    >>> [round(largest_invertible(ACTIVATIONS[name]), 3) for name in ("gelu", "silu", "mish")]
    [0.886, 0.909, 0.899]
    """
    slope = smallest_slope(activation)
    # Differences of numbers around 30 have a rounding error of 1e-9.
    return 1.0 / (1.0 - slope) if slope < -1e-6 else 1.0


@dataclass(frozen=True)
class ActivationFlow:
    r"""Steps from the identity to an activation.

    $$y_{r+1} = y_r + \Delta h_r\,(a(Z_r) - Z_r), \qquad Z_r = \phi_{h_r}^{-1}(y_r)$$

    Args:
        left: h at the beginning of each step.
        step: Increments of h.
    """

    left: tuple[float, ...]
    step: tuple[float, ...]


def activation_flow(
    activation: Callable[..., np.ndarray], steps: int, time: str = "linear", paper: bool = False
) -> ActivationFlow:
    """The steps of an activation's flow.

    The flow has to be inverted at the left end points. For a non-monotone activation they are
    scaled so that all lie below the cap, and the last step covers the rest.

    Args:
        activation: Function of an array.
        steps: Number of steps.
        time: Key of `TIMES`.
        paper: Use the increments of equation 58 as printed, without a cap.

    Returns:
        An `ActivationFlow`.

    Example:
    >>> from keras_pdenets.operators.flows import activation_flow
    >>> from keras_pdenets.operators.flows.activations import ACTIVATIONS
    >>> activation_flow(ACTIVATIONS["relu"], 4).left
    (0.0, 0.25, 0.5, 0.75)
    """
    left, step = increments(time, steps, paper)
    if not paper:
        cap = largest_invertible(activation)
        if left[-1] > _SAFETY * cap and cap < 1.0:
            left = left * (_SAFETY * cap / left[-1])
        left = np.minimum(left, _NEAREST)
        step = np.diff(np.append(left, 1.0))
    return ActivationFlow(tuple(map(float, left)), tuple(map(float, step)))


@functools.cache
def largest_slope(activation: Callable[..., np.ndarray]) -> float:
    """Largest absolute derivative of an activation: its Lipschitz constant.

    Args:
        activation: Function of an array.

    Example:
    >>> from keras_pdenets.operators.flows.activations import ACTIVATIONS, largest_slope
    >>> round(largest_slope(ACTIVATIONS["gelu"]), 3)
    1.129
    """
    steepest = max(-smallest_slope(lambda z: -activation(z)), -smallest_slope(activation))
    # Central differences underestimate it at a kink.
    return steepest * (1 + 2e-5)
