"""Which layers have a flow, and the steps that replace them."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from keras_pdenets.blocks.flow_chain import CLIPPED, FLOWING, flow_steps
from keras_pdenets.layers import ClipFlowStep, FitChannels, LinearFlowStep
from keras_pdenets.layers.linear_maps import KERAS_LAYERS
from keras_pdenets.layers.newton_flow_step import SMOOTH_ACTIVATIONS
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.operators.flows import largest_invertible, linear_flow
from keras_pdenets.operators.flows.activations import ACTIVATIONS
from keras_pdenets.operators.flows.linear import PAPER

# Layers that end in an activation that their config can omit; a subclass may do more.
ENDING = (layers.EinsumDense, *KERAS_LAYERS)
_ALONE = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU)
_NOT_ELEMENTWISE = ("softmax", "log_softmax", "glu", "sparsemax")
# The steps of wider matrices take gigabytes.
_WIDEST = 2048


@dataclass(frozen=True)
class ActivationChain:
    """Steps that replace an activation.

    Args:
        steps: The layers.
        slope: Slope of the activation beyond the kink of a `ClipFlowStep` chain.
    """

    steps: list
    slope: float = 0.0

    @property
    def clipped(self):
        """Whether all steps have the closed form."""
        return all(isinstance(step, ClipFlowStep) for step in self.steps)

    @property
    def promoted(self):
        """Whether the steps have weights, which initially change nothing."""
        return getattr(self.steps[0], "promote", None) is not None

    @property
    def leak(self):
        """Share, beyond the slope, that remains of a clipped value; None without closed form."""
        if not self.clipped:
            return None
        factor = 1.0
        for step in self.steps:
            factor *= 1 - step.rate
            # The value jumped over the kink; later steps at most reflect it, no farther away.
            if factor < 0:
                break
        return abs(factor - self.slope)


@dataclass(frozen=True)
class LinearChain:
    """Steps that replace the matrix of a layer.

    Args:
        first: Layer that pads with zeros; it has the name of the old one.
        steps: The steps.
        last: Layer that drops the surplus channels and adds the bias.
        matrices: Values of the steps' kernels.
        error: 2-norm of the difference between the steps' product and the matrix.
    """

    first: FitChannels
    steps: list
    last: FitChannels
    matrices: list
    error: float


def policy_of(layer):
    """Name of a layer's dtype policy, without quantisation."""
    policy = layer.dtype_policy
    # Quantised layers compute in a plain dtype between their integers.
    return policy.compute_dtype if getattr(policy, "quantization_mode", None) else policy.name


def data_format_of(layer, default):
    """Data format at a layer's activation."""
    if isinstance(layer, layers.Dense | layers.EinsumDense):
        return "channels_last"
    return getattr(layer, "data_format", default)


def activation_of(layer):
    """Name or function of a layer's activation and slope of a leaky ReLU; None without any."""
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
    # A user's function may have a known name.
    return (name if function is getattr(keras.activations, name, None) else function), None


def activation_chain(layer, steps, options, data_format):
    """The `ActivationChain` of a layer, or why it has none (a string; None: no activation).

    Args:
        layer: The layer.
        steps: Number of steps.
        options: Other arguments of `flow_steps`.
        data_format: Data format if the layer has none.
    """
    found = activation_of(layer)
    if found is None:
        return None
    activation, slope = found
    reason = _obstacle(layer, activation, slope, options)
    if reason is not None or not steps:
        return reason or "not named in steps"
    chain = flow_steps(
        activation, steps, layer.name, slope=slope, dtype=policy_of(layer),
        data_format=data_format_of(layer, data_format), **options,
    )  # fmt: skip
    for step in chain:  # a frozen layer has frozen steps
        step.trainable = layer.trainable
    bent = CLIPPED.get(activation, (0.0,))[0] if isinstance(activation, str) else 0.0
    return ActivationChain(chain, bent if slope is None else slope)


def _obstacle(layer, activation, slope, options):
    """Why a layer's activation must stay whole, or None."""
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", "it")
    if type(layer) not in (*ENDING, *_ALONE):
        return f"{type(layer).__name__} is not known to end in its activation"
    if layer.activity_regularizer is not None:
        return "it has an activity regularizer"
    if isinstance(getattr(layer, "activation", None), layers.Layer):
        return f"its activation is a layer, {type(layer.activation).__name__}"
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
        return f"no bound is known for {name} with max_step"
    cap = largest_invertible(ACTIVATIONS[activation]) if activation in SMOOTH_ACTIVATIONS else 1.0
    if options["paper"] and cap < 1:
        return f"the paper's increments go beyond h = {cap:.3f}, where {name} has no inverse"
    return None


def linear_chain(layer, steps, scheme, time):
    """The `LinearChain` of a layer, or why it has none (a string)."""
    reason = _linear_obstacle(layer)
    if reason is not None or not steps:
        return reason or "not named in steps"
    kernel = as_float64(layer.kernel)
    matrix = kernel.reshape(kernel.shape[-2:]).T
    if max(matrix.shape) > _WIDEST:
        return f"its matrix is wider than {_WIDEST}"
    try:
        flow = linear_flow(matrix, steps, scheme, time)
    except ValueError as error:
        raise ValueError(f"Layer {layer.name!r}: {error}") from error
    layout = {"data_format": data_format_of(layer, None), "dtype": policy_of(layer)}
    width = len(flow.steps[0])
    names = [f"{layer.name}_linear{index}" for index in range(len(flow.steps))]
    made = [LinearFlowStep(name=name, **layout) for name in names]
    last = FitChannels(matrix.shape[0], layer.use_bias, name=f"{layer.name}_cut", **layout)
    for new in (*made, last):
        new.trainable = layer.trainable
    return LinearChain(
        FitChannels(width, name=layer.name, **layout), made, last,
        [(step - np.eye(width)).T for step in flow.steps],
        float(np.linalg.norm(flow.product() - matrix, 2)),
    )  # fmt: skip


def _linear_obstacle(layer):
    """Why a layer's matrix must stay whole, or None."""
    if type(layer) is layers.Dense:
        fits = getattr(layer, "lora_rank", None) is None
    elif type(layer) in (layers.Conv1D, layers.Conv2D):
        ones = (1,) * layer.rank
        fits = layer.kernel_size == layer.strides == ones and layer.groups == 1
    else:
        fits = False
    if not fits or getattr(layer.dtype_policy, "quantization_mode", None):
        return "linear flows are for dense layers and 1x1 convolutions of stride 1"
    bound = ("activity_regularizer", "kernel_regularizer", "bias_regularizer")
    bound += ("kernel_constraint", "bias_constraint")
    if any(getattr(layer, name) is not None for name in bound):
        return "it has a regularizer or a constraint"
    return None


def is_exact(chain, scheme, max_step):
    """Whether a chain is exact up to rounding."""
    if isinstance(chain, LinearChain):
        return scheme == "exact"
    if scheme != PAPER and max_step is None:
        return True
    return chain.leak is not None and chain.leak < 1e-12
