"""A functional model as a graph of calls, which can be run, changed on the way, or rebuilt.

Running it only calls the layers: the model, its graph and its weights are not changed.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras

from keras_pdenets.compat.keras import nodes_of


@dataclass(frozen=True)
class Call:
    """One call of a layer or an operation.

    Args:
        layer: The layer or operation.
        args: Its positional arguments, with symbolic tensors.
        kwargs: Its keyword arguments.
        inputs: The symbolic tensors among these.
        outputs: Its symbolic outputs.
    """

    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Any]
    outputs: list[Any]


class Graph:
    """Calls in topological order: a functional model, or a part of one.

    Args:
        calls: List of `Call`.
        inputs: Symbolic input tensors, in any structure.
        outputs: Symbolic output tensors, in the structure to return.
        name: Its name.
    """

    def __init__(self, calls, inputs, outputs, name=None):
        self.calls, self.inputs, self.outputs, self.name = calls, inputs, outputs, name

    @cached_property
    def makers(self):
        """The call that computes a symbolic tensor, by `id` of the tensor."""
        return {id(t): call for call in self.calls for t in call.outputs}

    @cached_property
    def readers(self):
        """The calls that read a symbolic tensor, once per use, by `id` of the tensor."""
        found = {}
        for call in self.calls:
            for tensor in call.inputs:
                found.setdefault(id(tensor), []).append(call)
        return found

    def __call__(self, *inputs, make=None):
        """The outputs for given inputs; `make` is as in `run`."""
        symbols = keras.tree.flatten(self.inputs)
        values = {id(s): v for s, v in zip(symbols, keras.tree.flatten(inputs), strict=True)}
        outputs = self.run(values, keras.tree.flatten(self.outputs), make=make)
        return keras.tree.pack_sequence_as(self.outputs, outputs)

    def run(self, values, wanted, replace=None, make=None):
        """Run the calls on values.

        Args:
            values: Known values, by `id` of their symbolic tensors.
            wanted: Symbolic tensors.
            replace: Functions, by `id` of a symbolic tensor, of its value and the dictionary of
                values known so far; they return its replacement.
            make: Function of a `Call` and its arguments, with values instead of symbolic tensors,
                that returns its outputs; None: the layer is called.

        Returns:
            List of the values of `wanted`.
        """
        replace = replace or {}
        last = {id(t): index for index, call in enumerate(self.calls) for t in call.inputs}
        kept = {id(t) for t in wanted}
        known = {key: replace[key](v, values) if key in replace else v for key, v in values.items()}

        def value_of(x):
            return known[id(x)] if isinstance(x, keras.KerasTensor) else x

        for index, call in enumerate(self.calls):
            args, kwargs = keras.tree.map_structure(value_of, (call.args, call.kwargs))
            found = call.layer(*args, **kwargs) if make is None else make(call, args, kwargs)
            for symbol, value in zip(call.outputs, keras.tree.flatten(found), strict=True):
                change = replace.get(id(symbol))
                known[id(symbol)] = value if change is None else change(value, known)
            for symbol in call.inputs:
                # Frees feature maps that are not read any more.
                if last[id(symbol)] == index and id(symbol) not in kept:
                    known.pop(id(symbol), None)
        return [known[id(symbol)] for symbol in wanted]

    def rebuild(self, make, finish=lambda value: value, kind=keras.Model):
        """A new model on inputs of its own.

        Args:
            make: As in `run`, on symbolic tensors or on other values that represent them.
            finish: Function from the value of an output to its symbolic tensor.
            kind: Class of the model.
        """
        inputs = keras.tree.map_structure(placeholder, self.inputs)
        outputs = keras.tree.map_structure(finish, self(inputs, make=make))
        return kind(inputs, outputs, name=self.name)

    def ancestors(self, tensor):
        """The `id`s of the symbolic tensors that one depends on, including itself."""
        seen, stack = set(), [tensor]
        while stack:
            top = stack.pop()
            if id(top) not in seen:
                seen.add(id(top))
                stack += self.makers[id(top)].inputs if id(top) in self.makers else []
        return seen

    def behind(self, tensor):
        """The calls that depend on a symbolic tensor."""
        reached, found = {id(tensor)}, []
        for call in self.calls:
            if not reached.isdisjoint(map(id, call.inputs)):
                found.append(call)
                reached.update(map(id, call.outputs))
        return found

    def between(self, start, end, name=None):
        """The part of the graph from one symbolic tensor to another.

        Its inputs are the start and all tensors that it reads from outside.
        """
        needed = self.ancestors(end)
        calls = [
            call for call in self.behind(start) if not needed.isdisjoint(map(id, call.outputs))
        ]
        sides = [t for t in self.part(calls).inputs if t is not start]
        return Graph(calls, [start, *sides], end, name)

    def part(self, calls, name=None):
        """Some of the calls as a graph, with the tensors they read from and provide to others."""
        own = {id(call) for call in calls}
        made = {id(t): t for call in calls for t in call.outputs}
        read = {id(t): t for call in calls for t in call.inputs if id(t) not in made}
        outside = [t for call in self.calls if id(call) not in own for t in call.inputs]
        wanted = {id(t) for t in (*outside, *keras.tree.flatten(self.outputs))}
        outputs = [t for key, t in made.items() if key in wanted]
        return Graph(calls, list(read.values()), outputs, name)


def read_graph(model):
    """The `Graph` of a functional or sequential model.

    Raises:
        ValueError: If the model is neither, or not built.
    """
    model = functional(model)
    calls = [Call(*node) for node in nodes_of(model)]
    return Graph(calls, model.input, model.output, model.name)


def all_calls(model):
    """The calls of a model, with nested models expanded."""
    for call in read_graph(model).calls:
        if has_graph(call.layer):
            yield from all_calls(call.layer)
        else:
            yield call


def has_graph(layer):
    """Whether a layer is a functional model, or a sequential one that is built."""
    kind = hasattr(layer, "operations") or isinstance(layer, keras.Sequential)
    return kind and bool(getattr(layer, "inputs", None))


def functional(model):
    """A functional model unchanged, a sequential one as a functional model.

    Raises:
        ValueError: If the model is neither, or not built.
    """
    if not has_graph(model):
        raise ValueError(
            "`model` must be a functional or sequential Keras model, already built: a "
            f"subclassed one has no graph. Received: {getattr(model, 'name', model)!r} of type "
            f"{type(model).__name__}"
        )
    if not isinstance(model, keras.Sequential):
        return model
    outputs = model.outputs[0] if len(model.outputs) == 1 else model.outputs
    return keras.Model(model.inputs[0], outputs, name=model.name)


def placeholder(tensor):
    """A new input with the shape, dtype and name of a symbolic tensor."""
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
