"""A functional model as the list of its calls, without building anything anew."""

from collections import Counter
from dataclasses import dataclass

import keras

from keras_pdenets.transforms.copying import functional


@dataclass(frozen=True)
class Call:
    """One call of a layer or an operation.

    Args:
        layer: The layer of the model.
        args: Its positional arguments, with symbolic tensors.
        kwargs: Its other arguments.
        outputs: Its symbolic outputs.
    """

    layer: object
    args: tuple
    kwargs: dict
    outputs: list


@dataclass(frozen=True)
class Graph:
    """The calls of a model in an order in which they can be made.

    Args:
        inputs: Symbolic inputs, of which a new model may be made, in the structure of the model's.
        outputs: Symbolic outputs, in the structure of the model's.
        calls: The calls.
        uses: How often a symbolic tensor is read, by its identity.
        times: How often a layer is called, by its identity.
    """

    inputs: object
    outputs: object
    calls: list
    uses: Counter
    times: Counter


class _Stub(keras.layers.Layer):
    """Stands for a layer: knows the shape of its output, has no weights."""

    def __init__(self, layer):
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.autocast = False
        # In a function, so that it does not become a part of this layer.
        self.stands_for = lambda: layer

    def compute_output_spec(self, *args, **kwargs):
        return self.stands_for().compute_output_spec(*args, **kwargs)


def read_graph(model):
    """The `Graph` of a functional or sequential model.

    Raises:
        ValueError: If the model is neither, or not built.
    """
    model = functional(model)
    calls, uses, times = [], Counter(), Counter()

    def call(stub, *args, **kwargs):
        output = stub(*args, **kwargs)
        layer = stub.stands_for() if isinstance(stub, _Stub) else stub
        calls.append(Call(layer, args, kwargs, keras.tree.flatten(output)))
        times[id(layer)] += 1
        uses.update(id(t) for t in keras.tree.flatten((args, kwargs)) if _symbolic(t))
        return output

    def stub_of(layer):
        # Operations have no weights, and may stand for themselves.
        return _Stub(layer) if isinstance(layer, keras.layers.Layer) else layer

    stubs = keras.models.clone_model(model, clone_function=stub_of, call_function=call)
    uses.update(id(t) for t in keras.tree.flatten(stubs.outputs))
    return Graph(stubs.input, stubs.output, calls, uses, times)


def _symbolic(value):
    return isinstance(value, keras.KerasTensor)
