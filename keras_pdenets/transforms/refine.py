"""A plain net as the residual net that it is: every activation cut into the steps of its flow."""

from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers

from keras_pdenets.layers import CarryFlowStep, ClipFlowStep
from keras_pdenets.layers.images import check_positive_integer
from keras_pdenets.transforms.flow_chain import FLOWING, METHODS, flow_steps

# Layers that end in their activation, elementwise.
_ENDING = (
    layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D, layers.Conv3D,
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose,
    layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip


@dataclass(frozen=True)
class RefineReport:
    """What `refine` did.

    Args:
        steps: Number of steps of every layer that was refined, by its name.
        left: Why other layers with an activation were left whole, by their names.
        invertible: Whether every step of a layer can be inverted, by its name. Carried flows
            cannot.
        lipschitz: Largest Lipschitz constant of a step's residual, for layers where it is known.
        parameters: Number of weights before and after.
        difference: Largest difference of the outputs on `data`, or None.
        relative_difference: The same, divided by the largest output.
    """

    steps: dict[str, int]
    left: dict[str, str]
    invertible: dict[str, bool]
    lipschitz: dict[str, float]
    parameters: tuple[int, int]
    difference: float | None = None
    relative_difference: float | None = None

    def __str__(self) -> str:
        """The report in a few lines."""
        lines = [
            f"{len(self.steps)} activations in {sum(self.steps.values())} steps; "
            f"{self.parameters[0]:,} weights before, {self.parameters[1]:,} after"
        ]
        if self.difference is not None:
            lines.append(
                f"largest difference, measured: {self.difference:.3g} "
                f"({self.relative_difference:.3g} of the largest output)"
            )
        lines += [f"left whole: {name} ({reason})" for name, reason in self.left.items()]
        return "\n".join(lines)


@dataclass
class _Plan:
    """What becomes of the activations of a model, those of models inside it included."""

    steps: int | dict
    options: dict
    chains: dict = field(default_factory=dict)
    left: dict = field(default_factory=dict)
    owners: dict = field(default_factory=dict)

    def steps_of(self, name):
        return self.steps.get(name, 0) if isinstance(self.steps, dict) else self.steps


def refine(
    model, steps=4, activation="inverse", max_step=None, promote=None, data=None, time="linear"
):
    r"""Cut every activation of a plain net into residual steps, with the same outputs.

    $$a(z) = y_l, \quad y_0 = z, \quad y_{r+1} = y_r + \Delta h_r\,(a(Z_r) - Z_r)$$

    Section 3, Li and Shi 2017, arXiv 1708.05115. Deviation: exact increments
    $\Delta h_r = h(\tau_{r+1}) - h(\tau_r)$ in place of $\alpha h'(\tau_r)$, so that the refined
    net equals the plain one up to rounding for any number of steps. Convolutions, dense layers and
    norms stay whole.

    Args:
        model: Any functional or sequential Keras model, models inside it and shared layers
            included. It is not changed.
        steps: Number of steps of every activation, or a dictionary by layer name; layers that it
            does not name stay whole.
        activation: `"inverse"` (each step reads the step before alone) or `"carry"` (each step
            also reads the pre-activation; takes any activation).
        max_step: Largest Lipschitz constant of a step's residual, in (0, 1). The steps are then
            invertible, and ReLUs leak $(1 - max\_step)^{steps}$.
        promote: None, `"channel"`, `"depthwise"` or `"conv"`: weights that every step gets, which
            change nothing at first (`ClipFlowStep`).
        data: Inputs to measure the difference on, or None.
        time: How h runs: `"linear"`, `"smoothstep"` or `"bump"`.

    Returns:
        The refined `keras.Model`, not compiled, and a `RefineReport`.

    Raises:
        ValueError: If an argument is out of range, the model is not functional, its weights are
            not finite, `steps` names a layer that has no activation, or one whose activation has
            no flow.

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
    if not isinstance(steps, dict):
        check_positive_integer("steps", steps)
    for name, count in steps.items() if isinstance(steps, dict) else ():
        check_positive_integer(f"steps[{name!r}]", count)
    if activation not in METHODS:
        raise ValueError(
            f"`activation` must be one of {', '.join(METHODS)}. Received: {activation!r}"
        )
    bad = [v.path for v in model.weights if not np.isfinite(_numpy(v)).all()]
    if bad:
        raise ValueError(f"`model` must have finite weights. Received: NaN or infinity in {bad[0]}")
    options = {"method": activation, "promote": promote, "max_step": max_step, "time": time}
    plan = _Plan(steps, options)
    refined = _refine(model, plan)
    unknown = sorted(set(steps) - set(plan.chains)) if isinstance(steps, dict) else []
    if unknown:
        reason = plan.left.get(unknown[0], "no layer with an activation has that name")
        raise ValueError(f"`steps` cannot refine {unknown[0]!r}: {reason}")
    report = _report(model, refined, plan, data)
    return refined, report


def _refine(model, plan):
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not getattr(model, "inputs", None) or not hasattr(model, "operations"):
        raise ValueError(
            "`model` must be a functional or sequential Keras model that is built. "
            f"Received: {model.name!r} of type {type(model).__name__}"
        )

    def clone(layer):
        if isinstance(layer, keras.Model):
            return _refine(layer, plan)
        found = _activation_of(layer)
        config = layer.get_config()
        if found is None or not _plan_chain(layer, *found, plan):
            return type(layer).from_config(config)
        if not isinstance(layer, _ENDING):
            return layers.Identity(name=layer.name, dtype=layer.dtype_policy.name)
        return type(layer).from_config(config | {"activation": "linear"})

    def call(layer, *args, **kwargs):
        y = layer(*args, **kwargs)
        # Only layers of this call: one in a nested model may have the same name.
        if plan.owners.get(layer.name) is not model:
            return y
        carried = y
        for step in plan.chains[layer.name]:
            y = step([carried, y]) if isinstance(step, CarryFlowStep) else step(y)
        return y

    def clone_and_own(layer):
        before = set(plan.chains)
        new = clone(layer)
        if not isinstance(layer, keras.Model):
            plan.owners |= dict.fromkeys(set(plan.chains) - before, model)
        return new

    refined = keras.models.clone_model(model, clone_function=clone_and_own, call_function=call)
    for layer in model.layers:
        if layer.weights and not isinstance(layer, keras.Model):
            refined.get_layer(layer.name).set_weights(layer.get_weights())
    return refined


def _activation_of(layer):
    """Name or function of a layer's activation and the slope of a leaky ReLU, or None."""
    if isinstance(layer, layers.ReLU):
        if layer.threshold or layer.max_value not in (None, 6):
            return "relu with a threshold or a ceiling", None
        if layer.max_value == 6:
            return ("relu6", None) if not layer.negative_slope else ("leaky relu6", None)
        slope = float(layer.negative_slope or 0.0)
        return ("leaky_relu", slope) if slope else ("relu", None)
    if isinstance(layer, layers.LeakyReLU):
        return "leaky_relu", float(layer.negative_slope)
    if isinstance(layer, layers.ELU):
        return ("elu", None) if layer.alpha == 1 else ("elu with another alpha", None)
    function = getattr(layer, "activation", None)
    if function is None or function is keras.activations.linear:
        return None
    return getattr(function, "__name__", type(function).__name__), None


def _plan_chain(layer, name, slope, plan):
    """Make the steps of a layer, or note why it stays whole; whether there are steps."""
    count = plan.steps_of(layer.name)
    if layer.name in plan.chains:
        plan.left[layer.name] = "another layer of this name is refined"
        return False
    elementwise = isinstance(
        layer, (*_ENDING, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU)
    )
    if not elementwise:
        plan.left[layer.name] = f"{type(layer).__name__} does not end in its activation"
        return False
    carry = plan.options["method"] == "carry"
    known = name in FLOWING or (carry and hasattr(layer, "activation") and name != "softmax")
    if not known:
        hint = "" if name == "softmax" else "; activation='carry' takes any elementwise one"
        plan.left[layer.name] = f"{name} has no flow that can be inverted{hint}"
        return False
    if plan.options["max_step"] is not None and not carry and slope is None and name not in (
        "relu", "relu6", "hard_tanh", "leaky_relu"
    ):  # fmt: skip
        plan.left[layer.name] = f"max_step knows no bound for {name}"
        return False
    if not count:
        plan.left[layer.name] = "not named in steps"
        return False
    activation = getattr(layer, "activation", name) if carry and name not in FLOWING else name
    plan.chains[layer.name] = flow_steps(
        activation, count, layer.name, slope=slope, dtype=layer.dtype_policy.name, **plan.options
    )
    return True


def _report(model, refined, plan, data):
    lipschitz = {
        name: max(step.rate for step in chain)
        for name, chain in plan.chains.items()
        if plan.options["promote"] is None and all(isinstance(s, ClipFlowStep) for s in chain)
    }
    invertible = {name: lipschitz[name] < 1 if name in lipschitz else False for name in plan.chains}
    difference = relative = None
    if data is not None:
        before, after = (np.asarray(_predict(m, data), "float64") for m in (model, refined))
        difference = float(np.abs(before - after).max())
        relative = difference / max(float(np.abs(before).max()), 1e-30)
    return RefineReport(
        {name: len(chain) for name, chain in plan.chains.items()}, plan.left, invertible,
        lipschitz, (model.count_params(), refined.count_params()), difference, relative,
    )  # fmt: skip


def _predict(model, data):
    return model.predict(data, verbose=0)


def _numpy(variable):
    return keras.ops.convert_to_numpy(variable)
