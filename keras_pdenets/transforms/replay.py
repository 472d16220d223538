"""Replay of the calls of a net, with other steps in its sections."""

import functools

import keras
from keras import layers

from keras_pdenets.builders.remat import model_class
from keras_pdenets.graphs.graph import Call, Graph
from keras_pdenets.layers import BackwardEulerStep, ScaledResidual
from keras_pdenets.transforms.copying import copy_layer, give_weights

# Layers that hold the step size; inside a branch there are none.
_SCALED = (layers.Rescaling, BackwardEulerStep, ScaledResidual)


class Replay:
    """Repeats the calls of a net, with more or fewer steps.

    Args:
        graph: The net's `Graph`.
        sections: Its `sections.Section`s, with their new number of steps.
    """

    def __init__(self, graph, sections):
        self.graph, self.sections = graph, sections
        self.copies = {}

    def model(self, model):
        """The new model, with the old one's weights."""
        chains = {}
        for section in self.sections:
            if section.steps:
                start, end = section.steps[0].entry, section.steps[-1].output
                chain = Call(functools.partial(self._chain, section), (start,), {}, [start], [end])
                # All calls of the steps become one call; it stands where the first of them did.
                chains |= {id(c): (chain, section) for block in section.steps for c in block.calls}
        calls = [chains.get(id(call), (call, None))[0] for call in self.graph.calls]
        calls = list({id(call): call for call in calls}.values())
        whole = Graph(calls, self.graph.inputs, self.graph.outputs, model.name)
        self._check(whole)
        new = whole.rebuild(self._make, kind=model_class(model))
        for old, copy in self.copies.values():
            give_weights(old, copy)
        return new

    def _check(self, whole):
        known = {id(t) for t in keras.tree.flatten(whole.inputs)} | whole.makers.keys()
        read = [t for call in whole.calls for t in call.inputs]
        for tensor in (*read, *keras.tree.flatten(whole.outputs)):
            if id(tensor) not in known:
                raise ValueError(
                    "`model` must read only the outputs of its sections, nothing inside them. "
                    f"Received: a model that reads {self.graph.makers[id(tensor)].layer.name!r}"
                )

    def _chain(self, section, x):
        """The output of all steps of a section for the input x."""
        stage = section.steps[0].name.rpartition("block")[0]
        for index in range(section.count):
            block = section.source(index)
            name = f"{stage}block{len(section.fixed) + index}"
            x = self._step(block, name, section.factor, x)
        return x

    def _step(self, block, name, factor, x):
        """The output of one block for the input x."""
        replace = {}
        if factor != 1 and not any(isinstance(call.layer, _SCALED) for call in block.calls):
            add = block.calls[block.end]
            (y,) = (t for t in add.inputs if t is not block.entry)
            replace[id(y)] = lambda value, _: layers.Rescaling(
                factor, dtype=add.layer.dtype_policy, name=f"{name}_step"
            )(value)

        def make(call, args, kwargs):
            changed = functools.partial(_changed, old=block.name, new=name, factor=factor)
            return self._make(call, args, kwargs, name, changed)

        part = Graph(block.calls, block.entry, block.output)
        return part.run({id(block.entry): x}, [block.output], replace, make)[0]

    def _make(self, call, args, kwargs, name=None, config_of=None):
        """Repeat a call with a copy of its layer, which may have another config."""
        layer = call.layer
        if isinstance(layer, layers.Layer):
            key = id(layer), name
            if key not in self.copies:
                self.copies[key] = layer, copy_layer(layer, config_of and config_of(layer))
            layer = self.copies[key][1]
        return layer(*args, **kwargs)


def _changed(layer, old, new, factor):
    """Config of a layer under another block's name, with another step size."""

    def renamed(value):
        return value.replace(f"{old}_", f"{new}_") if isinstance(value, str) else value

    config = keras.tree.map_structure(renamed, layer.get_config())
    for key in ("scale", "step_size", "leak") if isinstance(layer, _SCALED) else ():
        if key in config:
            config[key] *= factor
    return config
