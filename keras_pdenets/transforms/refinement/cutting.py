"""The refined model: the plain one rebuilt with chains of steps after its layers."""

from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers

from keras_pdenets.builders.remat import model_class
from keras_pdenets.graphs.graph import has_graph, read_graph
from keras_pdenets.layers import CarryFlowStep
from keras_pdenets.transforms.copying import copy_layer, give_weights
from keras_pdenets.transforms.refinement import chains


@dataclass
class Plan:
    """What becomes of the layers of a model, nested models included."""

    steps: int | dict
    linear: str
    scheme: str
    time: str
    options: dict  # of `flow_steps`
    activations: dict = field(default_factory=dict)  # chains by path
    linears: dict = field(default_factory=dict)  # chains by path
    left: dict = field(default_factory=dict)  # reasons by path
    # By the identity of a layer of the plain model: the new one, its path, and the channels of
    # promoted steps.
    clones: dict = field(default_factory=dict)
    paths: dict = field(default_factory=dict)
    widths: dict = field(default_factory=dict)

    def steps_of(self, path):
        """Number of steps of a layer; 0 leaves it whole."""
        return self.steps.get(path, 0) if isinstance(self.steps, dict) else self.steps

    def chains_of(self, layer):
        """The linear and the activation chain that replace a layer, each or None."""
        path = self.paths.get(id(layer))
        return self.linears.get(path), self.activations.get(path)

    def first_of(self, layer):
        """The layer before the chains of a layer; operations that are not layers stay."""
        return self.clones.get(id(layer), layer)


def refine_graph(model, plan, prefix=""):
    """The refined model of a model; fills in the plan."""
    data_format = _data_format(model, plan)

    def make(call, args, kwargs):
        layer = call.layer
        # A layer that several models share stays one layer.
        if isinstance(layer, layers.Layer) and id(layer) not in plan.clones:
            path = f"{prefix}{layer.name}"
            plan.clones[id(layer)] = _clone(layer, plan, path, data_format)
        y = plan.first_of(layer)(*args, **kwargs)
        _check_width(plan, layer, y)
        return apply_chains(plan, layer, y)

    refined = read_graph(model).rebuild(make, kind=model_class(model))
    for layer in model.layers:
        new = plan.first_of(layer)
        if layer.weights and new is not layer and not has_graph(new):
            _give_weights(layer, new, plan)
    return refined


def _data_format(model, plan):
    """The data format of layers without one: that of the rest of the model."""
    # Flatten has one too, which says nothing about its input.
    telling = [layer for layer in model.layers if not isinstance(layer, layers.Flatten)]
    found = {layer.data_format for layer in telling if hasattr(layer, "data_format")}
    if len(found) == 2 and plan.options["promote"]:
        raise ValueError(
            "`promote` needs a model with one data format, since activations do not say where "
            f"their channels are. Received: both formats in {model.name!r}"
        )
    return found.pop() if len(found) == 1 else None


def _check_width(plan, layer, y):
    """Refuse to promote a layer that is called with several numbers of channels."""
    _, activation = plan.chains_of(layer)
    if activation is None or not activation.promoted:
        return
    axis = 1 if activation.steps[0].data_format == "channels_first" and len(y.shape) > 2 else -1
    width = plan.widths.setdefault(id(layer), y.shape[axis])
    if y.shape[axis] != width:
        raise ValueError(
            f"`promote` needs one number of channels for each layer. Received: {layer.name!r}, "
            f"called with {width} and {y.shape[axis]}"
        )


def apply_chains(plan, layer, y, activate=True):
    """The output of a layer's chains for the first layer's output y; or of the linear one alone."""
    linear, activation = plan.chains_of(layer)
    if linear is not None:
        for step in (*linear.steps, linear.last):
            y = step(y)
        if activation is None and activate:
            y = layer.activation(y)
    if activation is None or not activate:
        return y
    carried = y
    for step in activation.steps:
        y = step([carried, y]) if isinstance(step, CarryFlowStep) else step(y)
    return y


def _clone(layer, plan, path, data_format):
    """The new layer; the chains after it go into the plan."""
    if has_graph(layer):
        return refine_graph(layer, plan, f"{path}/")
    steps = plan.steps_of(path)
    activation = chains.activation_chain(layer, steps, plan.options, data_format)
    linear = None
    if plan.linear == "flow" and hasattr(layer, "kernel"):
        linear = chains.linear_chain(layer, steps, plan.scheme, plan.time)
    for kind, found, place in (
        (chains.ActivationChain, activation, plan.activations),
        (chains.LinearChain, linear, plan.linears),
    ):
        if isinstance(found, kind):
            place[path] = found
        elif found is not None:
            plan.left[path] = "; ".join(filter(None, (plan.left.get(path), found)))
    new = _new_layer(layer, plan.linears.get(path), path in plan.activations)
    if new is layer:
        plan.left[path] = "it cannot be copied and is shared with the plain net"
    plan.paths[id(layer)] = path
    return new


def _new_layer(layer, linear, has_steps):
    """The layer before the chains of a layer, or the copy of one without chains."""
    if linear is not None:
        return linear.first
    if has_steps and type(layer) not in chains.ENDING:
        return layers.Identity(name=layer.name, dtype=chains.policy_of(layer))
    return copy_layer(layer, {"activation": "linear"} if has_steps else {})


def _give_weights(old, new, plan):
    """The weights of the plain net, or those of their flow."""
    linear, _ = plan.chains_of(old)
    if linear is None:
        give_weights(old, new)
        return
    for step, matrix in zip(linear.steps, linear.matrices, strict=True):
        step.set_weights([matrix])
    if old.use_bias:
        # As an array: on JAX, a variable would share its buffer.
        linear.last.set_weights([np.array(keras.ops.convert_to_numpy(old.bias))])
