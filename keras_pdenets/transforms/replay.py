"""The calls of a net made again, with other steps in its sections."""

import keras
from keras import layers

from keras_pdenets.builders.remat import RematModel
from keras_pdenets.layers import BackwardEulerStep, ScaledResidual
from keras_pdenets.transforms.copying import copy_layer, give_weights
from keras_pdenets.transforms.sections import symbols_of

# Layers that hold the step size; inside a branch there are none.
_SCALED = (layers.Rescaling, BackwardEulerStep, ScaledResidual)


class Replay:
    """Makes the calls of a net again, those of its steps more often or less.

    Args:
        graph: The net's `fusion.graph.Graph`.
        sections: Its `sections.Section`s, with the number of steps that are wanted.
    """

    def __init__(self, graph, sections):
        self.graph = graph
        self.sections = {id(c): s for s in sections for block in s.steps for c in block.calls}
        self.copies = {}

    def model(self, model):
        """The new model, with the weights of the old one."""
        known = {id(symbol): symbol for symbol in keras.tree.flatten(self.graph.inputs)}
        done = set()
        for call in self.graph.calls:
            section = self.sections.get(id(call))
            if section is None:
                self._call(call, known)
            elif id(section) not in done:
                done.add(id(section))
                first, last = section.steps[0], section.steps[-1]
                known[id(last.output)] = self._chain(section, _known(known, first.entry))
        outputs = keras.tree.map_structure(lambda s: _known(known, s), self.graph.outputs)
        kind = RematModel if isinstance(model, RematModel) else keras.Model
        new = kind(self.graph.inputs, outputs, name=model.name)
        for old, copy in self.copies.values():
            give_weights(old, copy)
        return new

    def _chain(self, section, x):
        """The output of all steps of a section that begins with x."""
        stage = section.steps[0].name.rpartition("block")[0]
        for index in range(section.count):
            block = section.source(index)
            name = f"{stage}block{len(section.fixed) + index}"
            x = self._step(block, name, section.factor, x)
        return x

    def _step(self, block, name, factor, x):
        """The output of one block that begins with x."""
        known = {id(block.entry): x}
        scaled = any(isinstance(call.layer, _SCALED) for call in block.calls)
        for place, call in enumerate(block.calls):
            if place == block.end and not scaled and factor != 1:
                (y,) = (s for s in symbols_of(call) if s is not block.entry)
                scale = layers.Rescaling(factor, dtype=call.layer.dtype_policy, name=f"{name}_step")
                known[id(y)] = scale(known[id(y)])
            self._call(call, known, name, lambda layer: _changed(layer, block.name, name, factor))
        return known[id(block.output)]

    def _call(self, call, known, name=None, config_of=None):
        """Make a call again, with a copy of its layer, which may have another config."""
        layer = call.layer
        if isinstance(layer, layers.Layer):
            key = id(layer), name
            if key not in self.copies:
                self.copies[key] = layer, copy_layer(layer, config_of and config_of(layer))
            layer = self.copies[key][1]
        args, kwargs = keras.tree.map_structure(
            lambda x: _known(known, x) if isinstance(x, keras.KerasTensor) else x,
            (call.args, call.kwargs),
        )
        for symbol, part in zip(
            call.outputs, keras.tree.flatten(layer(*args, **kwargs)), strict=True
        ):
            known[id(symbol)] = part


def _known(known, symbol):
    if id(symbol) not in known:
        raise ValueError(
            "`model` must read nothing out of its sections but their ends. Received: a model that "
            f"reads {symbol._keras_history.operation.name!r}"
        )
    return known[id(symbol)]


def _changed(layer, old, new, factor):
    """Config of a layer under the name of another block, with another step size."""
    config = _renamed(layer.get_config(), f"{old}_", f"{new}_")
    for key in ("scale", "step_size", "leak") if isinstance(layer, _SCALED) else ():
        if key in config:
            config[key] *= factor
    return config


def _renamed(value, old, new):
    """A config with other names, those of the layers of a model inside too."""
    if isinstance(value, dict):
        return {key: _renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_renamed(item, old, new) for item in value)
    return value.replace(old, new) if isinstance(value, str) else value
