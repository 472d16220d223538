"""An activation as a chain of flow steps."""

import numpy as np

from keras_pdenets.layers import CarryFlowStep, ClipFlowStep, NewtonFlowStep
from keras_pdenets.layers.newton_flow_step import SMOOTH_ACTIVATIONS
from keras_pdenets.operators.flows import activation_flow, increments
from keras_pdenets.operators.flows.activations import ACTIVATIONS
from keras_pdenets.utils.checks import check_choice, check_number

METHODS = ("inverse", "carry")
# Slope beyond the ends, lower end and upper end.
CLIPPED = {
    "relu": (0.0, 0.0, None),
    "leaky_relu": (0.2, 0.0, None),
    "relu6": (0.0, 0.0, 6.0),
    "hard_tanh": (0.0, -1.0, 1.0),
}
FLOWING = (*CLIPPED, *SMOOTH_ACTIVATIONS)
# End of the search for a stable number of steps.
_LONGEST = 1000


def flow_steps(
    activation, steps, name, time="linear", method="inverse", promote=None, max_step=None,
    slope=None, data_format=None, dtype=None, paper=False,
):  # fmt: skip
    """The layers that compose to an activation.

    Args:
        activation: Name of an activation, or with `method="carry"` any function.
        steps: Number of layers.
        name: Prefix of their names.
        time: Key of `operators.flows.TIMES`.
        method: `"inverse"` or `"carry"`.
        promote: As in `ClipFlowStep`; not with `"carry"`.
        max_step: Largest Lipschitz constant of a step's residual, in (0, 1): the steps are
            invertible, and a ReLU becomes leaky with slope (1 - max_step) ** steps. Only for
            piecewise linear activations.
        slope: Negative slope of a leaky ReLU, or None: Keras' 0.2.
        data_format: Order of the axes, for `promote`.
        dtype: Dtype policy of the layers.
        paper: Use the increments of equation 58 as printed (`operators.flows.increments`).

    Returns:
        List of layers; those of `"carry"` take the list [pre-activation, y].

    Raises:
        ValueError: If an argument is out of range, the activation has no known flow, or the paper's
            increments are unstable with so many steps.
    """
    names = [f"{name}_flow{index}" for index in range(steps)]
    left, step = increments(time, steps, paper)
    check_choice("method", method, METHODS)
    if method == "carry":
        if promote is not None or max_step is not None:
            raise ValueError(
                "`promote` and `max_step` require method='inverse'. Received: method='carry'"
            )
        if paper:
            raise ValueError("`paper` requires method='inverse'. Received: method='carry'")
        rights = np.minimum(left + step, 1.0)
        return [
            CarryFlowStep(activation, float(h), slope, name=n, dtype=dtype)
            for h, n in zip(rights, names, strict=True)
        ]
    common = {"promote": promote, "data_format": data_format, "dtype": dtype}
    if activation in CLIPPED:
        low_slope, low, high = CLIPPED[activation]
        slope = low_slope if slope is None else slope
        rates = _paper_rates(time, steps, slope) if paper else _rates(left, slope, max_step)
        return [
            ClipFlowStep(rate, low, high, name=n, **common)
            for rate, n in zip(rates, names, strict=True)
        ]
    if max_step is not None:
        raise ValueError(
            f"`max_step` is for {', '.join(CLIPPED)}. Received: activation={activation!r}"
        )
    if activation not in SMOOTH_ACTIVATIONS:
        raise ValueError(
            f"`activation` must be one of {', '.join(FLOWING)}, whose flows are invertible; "
            f"method='carry' takes any. Received: activation={activation!r}"
        )
    if paper:
        _paper_rates(time, steps, 0.0)
    flow = activation_flow(ACTIVATIONS[activation], steps, time, paper)
    return [
        NewtonFlowStep(activation, h, increment, name=n, **common)
        for h, increment, n in zip(flow.left, flow.step, names, strict=True)
    ]


def _paper_rates(time, steps, slope):
    r"""Rates $\Delta h (1 - s) / (1 - h (1 - s))$ of equation 58; None if a rate exceeds 2."""

    def rates(count):
        left, step = increments(time, count, paper=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = step * (1 - slope) / (1 - left * (1 - slope))
        return found if (found <= 2 + 1e-9).all() else None

    if (found := rates(steps)) is not None:
        return np.minimum(found, 2.0).tolist()
    stable = next((n for n in range(steps, _LONGEST) if rates(n) is not None), None)
    wanted = f"at least {stable}" if stable else f"no number up to {_LONGEST}"
    raise ValueError(
        f"`steps` must be {wanted} for the paper's increments with time={time!r}: fewer steps are "
        f"unstable. Received: steps={steps}"
    )


def _rates(left, slope, max_step):
    """Rates in closed form; the last step ends exactly at the slope."""
    if max_step is not None:
        check_number("max_step", max_step, "in (0, 1)", lambda bound: 0 < bound < 1)
        # Equal rates, up to the slope if there are enough steps.
        return [min(max_step, 1 - slope ** (1 / len(left)))] * len(left)
    remaining = 1 - left * (1 - slope)
    after = np.append(remaining[1:], slope)
    return [float(1 - b / a) if a > 0 else 0.0 for a, b in zip(remaining, after, strict=True)]
