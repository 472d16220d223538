"""A plain net as a residual net: every layer divided into the steps of its flow."""

import sys

import keras
import numpy as np

from keras_pdenets.blocks.flow_chain import METHODS
from keras_pdenets.layers.flow_step import PROMOTIONS
from keras_pdenets.operators.flows import increments
from keras_pdenets.operators.flows.linear import LINEAR_SCHEMES, PAPER
from keras_pdenets.transforms.refinement.cutting import Plan, refine_graph
from keras_pdenets.transforms.refinement.report import RefineReport as RefineReport
from keras_pdenets.transforms.refinement.report import make_report
from keras_pdenets.utils.checks import check_choice, check_integer, check_keras_model, check_number

LINEAR = ("whole", "flow")


def refine(
    model, steps=4, linear="whole", scheme="exact", activation="inverse", max_step=None,
    promote=None, data=None, time="linear",
):  # fmt: skip
    r"""Divide every activation of a plain net into residual steps, with the same outputs.

    $$a(z) = y_l, \quad y_0 = z, \quad y_{r+1} = y_r + \Delta h_r\,(a(Z_r) - Z_r)$$

    Section 3, Li and Shi 2017, arXiv 1708.05115. Deviation: exact increments
    $\Delta h_r = h(\tau_{r+1}) - h(\tau_r)$ in place of $\alpha h'(\tau_r)$, so that for any number
    of steps the refined net equals the plain one up to the rounding of the pre-activations.
    Norms, pooling and convolutions of more than one pixel stay whole.

    Args:
        model: Any functional or sequential Keras model, nested models and shared layers included.
            It is not changed.
        steps: Number of steps of every activation, or a dictionary by layer name; layers that it
            does not name stay whole.
        linear: `"whole"`, or `"flow"`: the matrices of dense layers and 1x1 convolutions of stride
            1 are divided as well, into a stretch and a rotation of `steps` steps each, whose
            matrices are trainable (`operators.flows.linear_flow`).
        scheme: `"exact"`; or for the matrices `"euler"`, `"midpoint"`, `"rk4"` or `"cayley"`; or
            `"paper"`: the increments of the paper for both, and three flows for a matrix.
        activation: `"inverse"` (each step reads the step before) or `"carry"` (each step
            reads the pre-activation; takes any elementwise activation).
        max_step: Largest Lipschitz constant of a step's residual, in (0, 1). The steps are then
            invertible, and ReLUs leak $(1 - max\_step)^{steps}$.
        promote: None, `"channel"`, `"depthwise"` or `"conv"`: weights added to every step, which
            initially change nothing (`ClipFlowStep`).
        data: Inputs to measure the difference on, and to bound it if a flow is not exact; or
            None.
        time: Course of h: `"linear"`, `"smoothstep"` or `"bump"`; `max_step` has its own.

    Returns:
        The refined `keras.Model`, not compiled, and a `RefineReport`.

    Raises:
        ValueError: If an argument is out of range, the model is not functional, its weights or its
            outputs for `data` are not finite, `steps` names a layer that has no flow, or a scheme
            is unstable with so few steps; the message says how many it needs.

    Example:
    >>> import keras
    >>> from keras_pdenets.transforms import refine
    >>> plain = keras.Sequential(
    ...     [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu", name="conv")]
    ... )
    >>> deep, report = refine(plain, steps=4)
    >>> report.steps, len(deep.layers)
    ({'conv': 4}, 6)
    """
    check_keras_model(model)
    _check(model, steps, linear, scheme, activation, max_step, promote, time)
    options = {
        "method": activation, "promote": promote, "max_step": max_step, "time": time,
        "paper": scheme == PAPER,
    }  # fmt: skip
    plan = Plan(steps, linear, scheme, time, options)
    try:
        refined = refine_graph(model, plan)
    except RecursionError as error:
        raise ValueError(
            f"`steps` must not make more layers in sequence than Python's recursion limit allows "
            f"({sys.getrecursionlimit()}): use fewer, or call sys.setrecursionlimit before this "
            f"and before loading the model. Received: steps={steps}"
        ) from error
    done = {*plan.activations, *plan.linears}
    unknown = sorted(set(steps) - done) if isinstance(steps, dict) else []
    if unknown:
        reason = plan.left.get(unknown[0], "no layer of that name has an activation")
        raise ValueError(f"`steps` cannot refine {unknown[0]!r}: {reason}")
    return refined, make_report(model, refined, plan, data, max_step)


def _check(model, steps, linear, scheme, activation, max_step, promote, time):
    if not isinstance(steps, dict):
        check_integer("steps", steps, 1)
    for name, count in steps.items() if isinstance(steps, dict) else ():
        check_integer(f"steps[{name!r}]", count, 1)
    check_choice("linear", linear, LINEAR)
    check_choice("scheme", scheme, LINEAR_SCHEMES)
    check_choice("activation", activation, METHODS)
    check_choice("promote", promote, PROMOTIONS)
    increments(time, 1)  # raises for an unknown one
    if max_step is not None:
        check_number("max_step", max_step, "in (0, 1)", lambda number: 0 < number < 1)
        if scheme == PAPER:
            raise ValueError(
                f"`max_step` must be None for scheme 'paper'. Received: max_step={max_step}"
            )
    for variable in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise ValueError(
                f"`model` must have finite weights. Received: NaN or infinity in {variable.path}"
            )
