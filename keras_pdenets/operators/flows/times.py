r"""Progress of a flow at time $\tau$: $h(\tau)$ from $h(0) = 0$ to $h(1) = 1$."""

from collections.abc import Callable

import numpy as np

from keras_pdenets.utils.checks import check_choice, check_integer

_MOST_STEPS = 100_000


def _bump(t: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        left = np.where(t > 0, np.exp(-1.0 / np.where(t > 0, t, 1.0)), 0.0)
        right = np.where(t < 1, np.exp(-1.0 / np.where(t < 1, 1.0 - t, 1.0)), 0.0)
    return left / (left + right)


def _bump_slope(t: np.ndarray) -> np.ndarray:
    inside = (t > 0) & (t < 1)
    s = np.where(inside, t, 0.5)
    h = _bump(s)
    return np.where(inside, h * (1 - h) * (1 / s**2 + 1 / (1 - s) ** 2), 0.0)


TIMES: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "linear": (lambda t: t, np.ones_like),
    "smoothstep": (lambda t: t * t * (3 - 2 * t), lambda t: 6 * t * (1 - t)),
    "bump": (_bump, _bump_slope),
}


def increments(time: str, steps: int, paper: bool = False) -> tuple[np.ndarray, np.ndarray]:
    r"""Left end points $h(\tau_r)$ and increments of equal steps in $\tau$.

    $$\Delta h_r = h(\tau_{r+1}) - h(\tau_r), \qquad \tau_r = r / l$$

    Deviation from equation 58, Li and Shi 2017, arXiv 1708.05115, which has
    $\alpha h'(\tau_r)$, $\alpha = 1/l$ (`paper=True`): along a trajectory the flow of an activation
    is linear in h, so that steps with the exact increments have no error at all.

    Args:
        time: A key of `TIMES`.
        steps: Number of steps, l.
        paper: Use the paper's increments.

    Returns:
        Two arrays of shape (steps,).

    Raises:
        ValueError: If the name is unknown or `steps` is below 1.

    Example:
    >>> from keras_pdenets.operators.flows import increments
    >>> left, step = increments("smoothstep", 4)
    >>> round(float(step.sum()), 12)
    1.0
    """
    check_choice("time", time, TIMES)
    steps = check_integer("steps", steps, 1, _MOST_STEPS)
    h, slope = TIMES[time]
    tau = np.linspace(0.0, 1.0, steps + 1)
    values = h(tau)
    return values[:-1], slope(tau[:-1]) / steps if paper else np.diff(values)
