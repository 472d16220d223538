"""A plain net as the residual net that it is: every activation cut into the steps of its flow."""

import math
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers

from keras_pdenets.blocks.flow_chain import CLIPPED, FLOWING, METHODS, flow_steps
from keras_pdenets.layers import CarryFlowStep, ClipFlowStep
from keras_pdenets.layers.images import check_positive_integer

# Layers that end in their activation; a subclass may do more.
_ENDING = (
    layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D, layers.Conv3D,
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose,
    layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip
_ALONE = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU)
_NOT_ELEMENTWISE = ("softmax", "log_softmax", "glu", "sparsemax")
_STRICTLY_INCREASING = ("tanh", "sigmoid", "softplus", "softsign", "elu", "celu", "selu")


@dataclass(frozen=True)
class RefineReport:
    """What `refine` did.

    Args:
        steps: Number of steps of every layer that was refined, by its name; a layer inside
            another model is `"model/layer"`.
        left: Why other layers with an activation were left whole.
        invertible: Whether every step of a layer can be inverted; None where weights decide it.
            Carried flows cannot.
        lipschitz: Largest Lipschitz constant of a step's residual, for layers where it is known.
        leak: With `max_step`, what is left of a value that the activation would cut off.
        parameters: Number of weights before and after.
        difference: Largest difference of the outputs on `data`, or None.
        relative_difference: The same, divided by the largest output.
    """

    steps: dict[str, int]
    left: dict[str, str]
    invertible: dict[str, bool | None]
    lipschitz: dict[str, float]
    leak: dict[str, float]
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
        if self.leak:
            lines.append(f"largest leak: {max(self.leak.values()):.3g}")
        lines += [f"left whole: {name} ({reason})" for name, reason in self.left.items()]
        return "\n".join(lines)


@dataclass
class _Plan:
    """What becomes of the activations of a model, those of models inside it included."""

    steps: int | dict
    options: dict
    chains: dict = field(default_factory=dict)  # by path
    left: dict = field(default_factory=dict)  # by path
    behind: dict = field(default_factory=dict)  # chains by the identity of the new layer
    clones: dict = field(default_factory=dict)  # new layers by the identity of the old

    def steps_of(self, path):
        return self.steps.get(path, 0) if isinstance(self.steps, dict) else self.steps


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
        activation: `"inverse"` (each step reads the step before) or `"carry"` (each step
            reads the pre-activation; takes any elementwise activation).
        max_step: Largest Lipschitz constant of a step's residual, in (0, 1). The steps are then
            invertible, and ReLUs leak $(1 - max\_step)^{steps}$.
        promote: None, `"channel"`, `"depthwise"` or `"conv"`: weights that every step gets, which
            change nothing at first (`ClipFlowStep`).
        data: Inputs to measure the difference on, or None.
        time: How h runs: `"linear"`, `"smoothstep"` or `"bump"`.

    Returns:
        The refined `keras.Model`, to be compiled anew, and a `RefineReport`.

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
    if max_step is not None and not 0 < max_step < 1:
        raise ValueError(f"`max_step` must be in (0, 1). Received: max_step={max_step}")
    bad = [v.path for v in model.weights if not np.isfinite(_numpy(v)).all()]
    if bad:
        raise ValueError(f"`model` must have finite weights. Received: NaN or infinity in {bad[0]}")
    options = {"method": activation, "promote": promote, "max_step": max_step, "time": time}
    plan = _Plan(steps, options)
    refined = _refine(model, plan)
    unknown = sorted(set(steps) - set(plan.chains)) if isinstance(steps, dict) else []
    if unknown:
        reason = plan.left.get(unknown[0], "no layer of that name has an activation")
        raise ValueError(f"`steps` cannot refine {unknown[0]!r}: {reason}")
    report = _report(model, refined, plan, data)
    return refined, report


def _refine(model, plan, prefix=""):
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not _has_graph(model):
        raise ValueError(
            "`model` must be a functional or sequential Keras model that is built. "
            f"Received: {model.name!r} of type {type(model).__name__}"
        )

    def clone(layer):
        # A layer that several models share stays one layer.
        if id(layer) not in plan.clones:
            plan.clones[id(layer)] = _clone(layer, plan, f"{prefix}{layer.name}")
        return plan.clones[id(layer)]

    def call(layer, *args, **kwargs):
        y = layer(*args, **kwargs)
        carried = y
        for step in plan.behind.get(id(layer), ()):
            y = step([carried, y]) if isinstance(step, CarryFlowStep) else step(y)
        return y

    refined = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.weights and not _has_graph(layer):
            new = refined.get_layer(layer.name)
            new.set_weights(layer.get_weights())
            if hasattr(new, "finalize_state"):  # what Normalization computes from its weights
                new.finalize_state()
    return refined


def _has_graph(layer):
    return bool(getattr(layer, "inputs", None)) and hasattr(layer, "operations")


def _clone(layer, plan, path):
    """The new layer, and what stands behind it."""
    if isinstance(layer, keras.Model) and (
        _has_graph(layer) or isinstance(layer, keras.Sequential)
    ):
        return _refine(layer, plan, f"{path}/")
    config = layer.get_config()
    chain = _chain(layer, plan, path)
    if chain is None:
        new = type(layer).from_config(config)
        if hasattr(layer, "activation"):  # a function comes back from a config by its name alone
            new.activation = layer.activation
        return new
    if type(layer) in _ENDING:
        new = type(layer).from_config(config | {"activation": "linear"})
    else:
        new = layers.Identity(name=layer.name, dtype=_dtype(layer))
    plan.chains[path], plan.behind[id(new)] = chain, chain
    return new


def _dtype(layer):
    policy = layer.dtype_policy
    # Quantised layers compute in a plain dtype between their integers.
    return policy.compute_dtype if getattr(policy, "quantization_mode", None) else policy.name


def _activation_of(layer):
    """Name or function of a layer's activation and the slope of a leaky ReLU, or None."""
    if isinstance(layer, layers.ReLU):
        slope = float(layer.negative_slope or 0.0)
        if layer.threshold or layer.max_value not in (None, 6) or (layer.max_value and slope):
            return "a ReLU with threshold, ceiling or both", None
        if layer.max_value == 6:
            return "relu6", None
        return ("leaky_relu", slope) if slope else ("relu", None)
    if isinstance(layer, layers.LeakyReLU):
        return "leaky_relu", float(layer.negative_slope)
    if isinstance(layer, layers.ELU):
        return ("elu" if layer.alpha == 1 else "an ELU with another alpha"), None
    if isinstance(layer, layers.PReLU | layers.Softmax | layers.Wrapper | layers.RNN):
        return type(layer).__name__, None
    function = getattr(layer, "activation", None)
    if function is None or function is keras.activations.linear:
        return None
    name = getattr(function, "__name__", type(function).__name__)
    # A function of the user's may have a known name.
    return (name if function is getattr(keras.activations, name, None) else function), None


def _chain(layer, plan, path):
    """The steps of a layer, or None; why not is noted."""
    found = _activation_of(layer)
    if found is None:
        return None
    activation, slope = found
    reason = _obstacle(layer, activation, slope, plan.options)
    if reason is None and not plan.steps_of(path):
        reason = "not named in steps"
    if reason is not None:
        plan.left[path] = reason
        return None
    chain = flow_steps(
        activation, plan.steps_of(path), layer.name, slope=slope, dtype=_dtype(layer),
        data_format=getattr(layer, "data_format", None), **plan.options,
    )  # fmt: skip
    for step in chain:  # the steps of a frozen layer are frozen
        step.trainable = layer.trainable
    return chain


def _obstacle(layer, activation, slope, options):
    """Why a layer's activation has to stay whole, or None."""
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", "it")
    if type(layer) not in (*_ENDING, *_ALONE):
        return f"{type(layer).__name__} is not known to end in its activation"
    if layer.activity_regularizer is not None:
        return "it has an activity regularizer"
    if slope is not None and not 0 <= slope <= 1:
        return f"a leaky ReLU of slope {slope} has no closed form"
    if activation in _NOT_ELEMENTWISE:
        return f"{name} is not elementwise"
    if options["method"] == "carry":
        return None if activation in FLOWING or hasattr(layer, "activation") else f"it is {name}"
    if activation not in FLOWING:
        hint = "; activation='carry' takes it" if hasattr(layer, "activation") else ""
        return f"{name} has no flow that can be inverted{hint}"
    if options["max_step"] is not None and activation not in CLIPPED:
        return f"max_step knows no bound for {name}"
    return None


def _report(model, refined, plan, data):
    clipped = {
        path: chain
        for path, chain in plan.chains.items()
        if plan.options["promote"] is None and all(isinstance(s, ClipFlowStep) for s in chain)
    }
    lipschitz = {path: max(step.rate for step in chain) for path, chain in clipped.items()}
    leak = {}
    if plan.options["max_step"] is not None:
        leak = {path: math.prod(1 - s.rate for s in chain) for path, chain in clipped.items()}
    difference = relative = None
    if data is not None:
        difference, relative = _difference(model, refined, data)
    return RefineReport(
        {path: len(chain) for path, chain in plan.chains.items()}, plan.left,
        {path: _invertible(chain, lipschitz.get(path)) for path, chain in plan.chains.items()},
        lipschitz, leak, (model.count_params(), refined.count_params()), difference, relative,
    )  # fmt: skip


def _invertible(chain, rate):
    """Whether every step is, or None where weights decide it."""
    if isinstance(chain[0], CarryFlowStep):
        return False
    if chain[0].promote is not None:
        return None
    return rate < 1 if rate is not None else chain[0].activation in _STRICTLY_INCREASING


def _difference(model, refined, data):
    """Largest absolute and relative difference over all outputs."""
    outputs = [keras.tree.flatten(m.predict(data, verbose=0)) for m in (model, refined)]
    largest, relative = 0.0, 0.0
    for before, after in zip(*outputs, strict=True):
        difference = float(np.abs(np.asarray(before, "float64") - after).max())
        largest = max(largest, difference)
        relative = max(relative, difference / max(float(np.abs(before).max()), 1e-30))
    return largest, relative


def _numpy(variable):
    return keras.ops.convert_to_numpy(variable)
