"""Residual blocks, found in the graph of any functional Keras model."""

from dataclasses import dataclass
from typing import Any

import keras

from keras_pdenets.layers import Hardball, HardTanh, Softball
from keras_pdenets.utils.checks import check_keras_model

ACTIVATIONS = (
    keras.layers.ReLU, keras.layers.Activation, keras.layers.LeakyReLU, keras.layers.PReLU,
    keras.layers.ELU, Softball, Hardball, HardTanh,
)  # fmt: skip


@dataclass(frozen=True)
class ResidualBlock:
    """One residual block: output = activation(shortcut + residual).

    Args:
        name: Name of the layer that adds.
        kind: `"identity"`, `"projection"` (the shortcut has weights) or `"subsample"` (it has
            none, but is not the block's input).
        section: Number of its section: blocks in a row whose outputs have one shape, and the
            block that subsamples them. Where sizes are open, a layer with weights between two
            blocks divides sections too.
        shortcut: Tensor of the shortcut, where the block's input is compared with its output.
        output: Tensor behind the sum, or behind the activation that follows it.
        post_activation: Whether an activation follows the sum.
    """

    name: str
    kind: str
    section: int
    shortcut: Any
    output: Any
    post_activation: bool

    @property
    def total(self):
        """Tensor of shortcut + residual, before an activation."""
        return _parents(self.output)[0] if self.post_activation else self.output

    @property
    def residual(self):
        """Tensor of the residual: the summand that is not the shortcut."""
        first, second = _parents(self.total)
        return second if first is self.shortcut else first


def find_blocks(model):
    """The residual blocks of a model without nested models, in order.

    A block is a sum of two tensors of one shape, of which one leads to the other or both come
    from one earlier tensor.

    Args:
        model: A functional `keras.Model`.

    Returns:
        List of `ResidualBlock`.

    Raises:
        ValueError: If there is none.
    """
    # The nodes of this model: its layers may have others, in models that share them.
    check_keras_model(model)
    depths = sorted(model._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in model._nodes_by_depth[depth]]
    ancestors, consumers = _Ancestors(), {}
    for node in nodes:
        for tensor in node.input_tensors:
            consumers.setdefault(id(tensor), []).append(node)
    blocks, section, last_shape = [], -1, None
    last_outputs = set()
    for node in filter(_adds_two_of_a_kind, nodes):
        found = _shortcut(*node.input_tensors, ancestors)
        if found is None:
            continue
        shortcut, kind = found
        output = node.output_tensors[0]
        behind = _activation_behind(consumers.get(id(output), []))
        shape = tuple(output.shape)
        if _crosses_weights(shape, shortcut, last_outputs) or _starts_section(
            kind, last_shape, shape
        ):
            section += 1
        last_shape = shape
        last_outputs = {id(output), id(behind)}
        name, post = node.operation.name, behind is not None
        blocks.append(
            ResidualBlock(name, kind, section, shortcut, behind if post else output, post)
        )
    if not blocks:
        raise ValueError(
            f"`model` has no residual block. Looked in the {len(model.operations)} operations of "
            f"{model.name!r} for a sum (Add, +) of two tensors of one shape, of which one leads to "
            "the other or both come from one earlier tensor."
        )
    return blocks


def _starts_section(kind, before, shape):
    if before is None:
        return True
    # Some nets (ResNet V2) take the step to the coarser grid at the end of a section.
    same_width = before[1] == shape[1] or before[-1] == shape[-1]
    return before != shape and not (kind == "subsample" and same_width)


def _crosses_weights(shape, shortcut, last_outputs):
    """Whether sizes are open and layers with weights lead from the last block to the shortcut."""
    if None not in shape[1:] or not last_outputs:
        return False
    walked = _walk_back(shortcut, last_outputs)
    return walked is not None and walked[1]


def _adds_two_of_a_kind(node):
    """Whether a node is the sum of two tensors of one shape."""
    tensors = node.input_tensors
    # keras.layers.Add and the operation behind `+` share the name.
    same = len(tensors) == 2 and tuple(tensors[0].shape) == tuple(tensors[1].shape)
    return same and type(node.operation).__name__ == "Add"


class _Ancestors:
    """Identities of all tensors that a tensor depends on, itself included."""

    def __init__(self):
        self._known = {}

    def __call__(self, tensor):
        stack = [tensor]
        while stack:
            top = stack[-1]
            missing = [p for p in _parents(top) if id(p) not in self._known]
            if id(top) not in self._known and missing:
                stack += missing
                continue
            stack.pop()
            parents = (self._known[id(p)] for p in _parents(top))
            self._known.setdefault(id(top), frozenset({id(top)}.union(*parents)))
        return self._known[id(tensor)]


def _producer(tensor):
    history = tensor._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index]


def _parents(tensor):
    return list(_producer(tensor)[1].input_tensors)


def _shortcut(first, second, ancestors):
    """The shortcut among two summands and its kind, or None."""
    if id(first) in ancestors(second):
        return first, "identity"
    if id(second) in ancestors(first):
        return second, "identity"
    candidates = []
    for tensor, other in ((first, second), (second, first)):
        walked = _walk_back(tensor, ancestors(other))
        if walked is not None:
            length, weighted = walked
            candidates.append((weighted, length, tensor))
    if not candidates:
        return None
    # The branch without weights, or else the shorter one, is the shortcut.
    weighted, _, tensor = min(candidates, key=lambda candidate: candidate[:2])
    return tensor, "projection" if weighted else "subsample"


def _walk_back(tensor, targets):
    """Length of the chain back to one of `targets` and whether it has weights, or None."""
    length, weighted = 0, False
    while id(tensor) not in targets:
        operation, node = _producer(tensor)
        if len(node.input_tensors) != 1:
            return None
        weighted = weighted or bool(getattr(operation, "weights", ()))
        tensor, length = node.input_tensors[0], length + 1
    return length, weighted


def _activation_behind(consumers):
    """Output of the activation that alone reads a tensor, or None."""
    if len(consumers) == 1 and isinstance(consumers[0].operation, ACTIVATIONS):
        return consumers[0].output_tensors[0]
    return None


def flatten(model):
    """The same model with the models inside it unfolded, sharing all layers.

    Raises:
        ValueError: If the model, or one inside it, has no graph (a subclass of `keras.Model`).
    """
    check_keras_model(model)
    nested = any(isinstance(layer, keras.Model) for layer in model.layers)
    if not nested and not isinstance(model, keras.Sequential) and hasattr(model, "operations"):
        return model
    if not getattr(model, "inputs", None):
        raise _no_graph(model)
    if isinstance(model, keras.Sequential):
        inputs = _placeholder(model.inputs[0])
        return keras.Model(inputs, _call_inline(model, inputs), name=model.name)
    if not hasattr(model, "operations"):
        raise _no_graph(model)
    inputs = keras.tree.map_structure(_placeholder, model.input)
    return keras.models.clone_model(
        model,
        input_tensors=inputs,
        clone_function=lambda layer: layer,
        call_function=_call_inline,
    )


def _placeholder(tensor):
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype)


def _call_inline(layer, *args, **kwargs):
    """Call a layer on symbolic tensors, a model inside layer by layer."""
    if isinstance(layer, keras.Sequential):
        (x,) = args
        for inner in layer.layers:
            x = _call_inline(inner, x)
        return x
    if isinstance(layer, keras.Model):
        return flatten(layer).call(*args)
    return layer(*args, **kwargs)


def _no_graph(model):
    return ValueError(
        "`model` must be a functional or sequential Keras model that is built: a subclass shows no "
        f"graph. Received: {model.name!r} of type {type(model).__name__}"
    )
