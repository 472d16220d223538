"""A functional model run node by node: from any tensor to any other, with changes on the way.

The layers are called on values; no new model is made of them, so that nothing in the model, its
graph or its weights is touched.
"""

from dataclasses import dataclass
from typing import Any

import keras

from keras_pdenets.analysis.graph import find_blocks


@dataclass(frozen=True)
class Span:
    """What lies between two tensors.

    Args:
        name: What it is called.
        section: Number of the section, as in `ResidualBlock`.
        start: Symbolic tensor where it begins.
        end: Symbolic tensor where it ends.
        nodes: The calls that lead from one to the other, in order.
        sides: Symbolic tensors from elsewhere that these read besides.
    """

    name: str
    section: int
    start: Any
    end: Any
    nodes: tuple[Any, ...]
    sides: tuple[Any, ...]

    def __call__(self, start, *sides):
        """The value of the end for those of the start and the sides."""
        values = {id(self.start): start}
        values |= {id(t): v for t, v in zip(self.sides, sides, strict=True)}
        return execute(self.nodes, values, [self.end])[0]


def nodes_of(flat):
    """The calls of a functional model without nested models, in an order to make them in."""
    depths = sorted(flat._nodes_by_depth, reverse=True)
    return [n for depth in depths for n in flat._nodes_by_depth[depth] if not n.is_input]


def execute(nodes, values, wanted, changes=None):
    """Make calls on values.

    Args:
        nodes: Calls in order.
        values: Values that are known, by identity of their symbolic tensors.
        wanted: Symbolic tensors.
        changes: Functions by identity of a symbolic tensor: what is put in place of its value,
            from that and the dictionary of what is known then.

    Returns:
        List of the values of `wanted`.
    """
    changes = changes or {}
    last = {id(t): index for index, node in enumerate(nodes) for t in node.input_tensors}
    kept = {id(t) for t in wanted}
    known = {key: changes[key](v, values) if key in changes else v for key, v in values.items()}
    for index, node in enumerate(nodes):
        args, kwargs = node.arguments.fill_in(known)
        outputs = keras.tree.flatten(node.operation(*args, **kwargs))
        for symbol, value in zip(node.output_tensors, outputs, strict=True):
            change = changes.get(id(symbol))
            known[id(symbol)] = value if change is None else change(value, known)
        for symbol in node.input_tensors:
            # Feature maps that nobody reads any more would fill the memory.
            if last[id(symbol)] == index and id(symbol) not in kept:
                known.pop(id(symbol), None)
    return [known[id(symbol)] for symbol in wanted]


def span_of(nodes, start, end, name="", section=0):
    """The `Span` from one symbolic tensor of a model to another."""
    reached, behind = {id(start)}, []
    for node in nodes:
        if any(id(t) in reached for t in node.input_tensors):
            behind.append(node)
            reached.update(id(t) for t in node.output_tensors)
    needed, between = {id(end)}, []
    for node in reversed(behind):
        if any(id(t) in needed for t in node.output_tensors):
            between.insert(0, node)
            needed.update(id(t) for t in node.input_tensors)
    made = {id(start), *(id(t) for node in between for t in node.output_tensors)}
    read = {id(t): t for node in between for t in node.input_tensors if id(t) not in made}
    return Span(name, section, start, end, tuple(between), tuple(read.values()))


def block_spans(flat):
    """The residual blocks of a model without nested models, each with the `Span` that it covers.

    A span begins where shortcut and residual part, and ends behind the activation that follows
    the sum, where there is one.

    Returns:
        List of pairs (`ResidualBlock`, `Span`).

    Raises:
        ValueError: If there is none.
    """
    nodes = nodes_of(flat)
    makers = {id(t): node for node in nodes for t in node.output_tensors}
    found = []
    for block in find_blocks(flat):
        before, start = _ancestors(block.residual, makers), block.shortcut
        while id(start) not in before:
            (start,) = makers[id(start)].input_tensors
        found.append((block, span_of(nodes, start, block.output, block.name, block.section)))
    return found


def _ancestors(tensor, makers):
    """Identities of the tensors that a tensor depends on, itself included."""
    seen, stack = set(), [tensor]
    while stack:
        top = stack.pop()
        if id(top) not in seen:
            seen.add(id(top))
            stack += makers[id(top)].input_tensors if id(top) in makers else []
    return seen
