"""Detection of residual blocks in any functional Keras model."""

from dataclasses import dataclass
from typing import Any

import keras

from keras_pdenets.graphs.graph import Graph, read_graph
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
        kind: `"identity"`, `"projection"` (the shortcut has weights) or `"subsample"` (it has no
            weights, but is not the block's input).
        section: Number of its section: consecutive blocks whose outputs have the same shape, and
            the block that subsamples them. With unknown sizes, a layer with weights between two
            blocks also separates sections.
        shortcut: Tensor of the shortcut, with which the block's output is compared.
        residual: Tensor of the residual: the other summand.
        total: Tensor of shortcut + residual, before an activation.
        output: Tensor of the sum, or after the activation that follows it.

    Example:
    >>> import keras
    >>> from keras_pdenets.analysis import find_blocks
    >>> x = keras.Input((4, 4, 1))
    >>> total = keras.layers.Add(name="block")([x, keras.layers.Conv2D(1, 3, padding="same")(x)])
    >>> (block,) = find_blocks(keras.Model(x, keras.layers.ReLU()(total)))
    >>> block.name, block.kind, block.shortcut is x, block.post_activation
    ('block', 'identity', True, True)
    """

    name: str
    kind: str
    section: int
    shortcut: Any
    residual: Any
    total: Any
    output: Any

    @property
    def post_activation(self) -> bool:
        """Whether an activation follows the sum."""
        return self.output is not self.total


def find_blocks(model: Any) -> list[ResidualBlock]:
    """The residual blocks of a model without nested models, in order.

    A block is a sum of two tensors of the same shape, one of which depends on the other, or both of
    which derive from a common earlier tensor.

    Args:
        model: A functional `keras.Model`.

    Returns:
        List of `ResidualBlock`.

    Raises:
        ValueError: If there is none.

    Example:
    >>> import keras_pdenets
    >>> blocks = keras_pdenets.analysis.find_blocks(keras_pdenets.PreActResNet20(weights=None))
    >>> len(blocks)
    9
    """
    check_keras_model(model)
    return residual_blocks(read_graph(model))


def block_graphs(graph: Graph) -> list[tuple[ResidualBlock, Graph]]:
    """The residual blocks of a graph, each with its subgraph.

    It begins where shortcut and residual branch off, and ends after the sum or the activation that
    follows it.

    Raises:
        ValueError: If there is none.
    """
    return [(block, _covered(graph, block)) for block in residual_blocks(graph)]


def residual_blocks(graph: Graph) -> list[ResidualBlock]:
    """As `find_blocks`, in the graph of a model."""
    found, section, last = [], -1, None
    for call in filter(adds_two_of_a_kind, graph.calls):
        pair = _shortcut(graph, *call.inputs)
        if pair is None:
            continue
        shortcut, kind = pair
        first, second = call.inputs
        residual, total = second if first is shortcut else first, call.outputs[0]
        output = _behind_activation(graph, total)
        section += last is None or _starts_section(graph, kind, shortcut, total, last)
        last = ResidualBlock(call.layer.name, kind, section, shortcut, residual, total, output)
        found.append(last)
    if not found:
        raise ValueError(
            f"`model` has no residual block: none of the {len(graph.calls)} calls of "
            f"{graph.name!r} is a sum (Add, +) of two tensors of the same shape, one of which "
            "depends on the other, or both of which derive from a common earlier tensor."
        )
    return found


def _covered(graph, block):
    """The part of a graph from the input of a block to its output."""
    before, start = graph.ancestors(block.residual), block.shortcut
    while id(start) not in before:
        (start,) = graph.makers[id(start)].inputs
    return graph.between(start, block.output, block.name)


def _starts_section(graph, kind, shortcut, total, last):
    """Whether a block is in another section than the last one."""
    before, shape = tuple(last.total.shape), tuple(total.shape)
    if None in shape[1:]:
        # With unknown sizes, layers with weights also separate sections.
        walked = _walk_back(graph, shortcut, {id(last.total), id(last.output)})
        if walked is not None and walked[1]:
            return True
    # Some nets (ResNet V2) downsample at the end of a section.
    same_width = before[1] == shape[1] or before[-1] == shape[-1]
    return before != shape and not (kind == "subsample" and same_width)


def adds_two_of_a_kind(call):
    """Whether a call is the sum of two tensors of the same shape."""
    shapes = [tuple(tensor.shape) for tensor in call.inputs]
    # keras.layers.Add and the operation behind `+` share the name.
    return len(shapes) == 2 and shapes[0] == shapes[1] and type(call.layer).__name__ == "Add"


def _shortcut(graph, first, second):
    """The shortcut among two summands and its kind, or None."""
    ancestors = [graph.ancestors(first), graph.ancestors(second)]
    if id(first) in ancestors[1]:
        return first, "identity"
    if id(second) in ancestors[0]:
        return second, "identity"
    candidates = []
    for tensor, others in ((first, ancestors[1]), (second, ancestors[0])):
        walked = _walk_back(graph, tensor, others)
        if walked is not None:
            length, weighted = walked
            candidates.append((weighted, length, tensor))
    if not candidates:
        return None
    # The shortcut is the branch without weights, or else the shorter one.
    weighted, _, tensor = min(candidates, key=lambda candidate: candidate[:2])
    return tensor, "projection" if weighted else "subsample"


def _walk_back(graph, tensor, targets):
    """Length of the chain back to one of `targets` and whether it has weights, or None."""
    length, weighted = 0, False
    while id(tensor) not in targets:
        call = graph.makers.get(id(tensor))
        if call is None or len(call.inputs) != 1:
            return None
        weighted = weighted or bool(getattr(call.layer, "weights", ()))
        tensor, length = call.inputs[0], length + 1
    return length, weighted


def _behind_activation(graph, tensor):
    """Output of the activation that is the only reader of a tensor, or the tensor itself."""
    readers = graph.readers.get(id(tensor), ())
    if len(readers) == 1 and isinstance(readers[0].layer, ACTIVATIONS):
        return readers[0].outputs[0]
    return tensor
