"""Blocks that are computed twice, so that training keeps nothing but their inputs."""

import re
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_pdenets.layers import BackwardEulerStep
from keras_pdenets.layers.keras_internals import nodes_of, variables_as_they_are

_BLOCK = re.compile(r"(stage\d+_block\d+)_.+")
REMAT_OPTIONS = {
    "remat": "Whether training computes every block a second time, on the way back, in place of "
    "keeping what is inside: less memory, the same results, about a third more time."
}


@dataclass(frozen=True)
class _Unit:
    """Nodes that are computed as one: those of a block, or one that belongs to none."""

    nodes: list[Any]
    inputs: list[Any]
    outputs: list[Any]
    block: bool

    @property
    def layers(self):
        """Those of the operations that have variables and a precision, once each."""
        operations = dict.fromkeys(node.operation for node in self.nodes)
        return [op for op in operations if isinstance(op, keras.layers.Layer)]


@keras.saving.register_keras_serializable(package="keras_pdenets")
class RematModel(keras.Model):
    """A functional model that keeps only the inputs of its residual blocks for the gradients.

    Chen et al. 2016, arXiv 1604.06174, with the blocks as segments. In training every block runs
    under `keras.remat` as a pure function of its input and its variables; what batch norm makes of
    its averages in the first pass is assigned, and the second pass has no effect. (`RematScope`
    acts on single layers: it keeps the output of each, and state changes in both passes.)

    Layers, names, variables and outputs are those of `keras.Model`. A `.keras` file keeps the kind
    of model, and needs this package imported to be loaded; a model made of this one's tensors is
    an ordinary one again. What is saved is up to the compiler: torch saves most; TensorFlow only
    with `tf.config.optimizer.set_experimental_options({"dependency_optimization": False})`, which
    `training.train` sets, since its graph optimizer else moves the second pass to the first; XLA
    on a CPU merges both passes and saves nothing.

    Args:
        inputs: As of `keras.Model`.
        outputs: As of `keras.Model`; blocks are found by layers' names, `stage0_block0_...`.
        name: Name of the model.
        **kwargs: As of `keras.Model`.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PreActResNet20(weights=None, classes=10, remat=True)
    >>> type(model).__name__, len(model.blocks)
    ('RematModel', 9)
    """

    # The arguments of Functional, and no others: else Keras would not load it as a graph.
    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._plan = _Plan(_units(self))

    @property
    def blocks(self):
        """Names of the blocks."""
        return [_block_of(unit.nodes[0]) for unit in self._plan.blocks]

    def call(self, inputs, training=None, mask=None):
        if not training:
            return super().call(inputs, training=training, mask=mask)
        values = {}
        for tensor, value in zip(self.inputs, self._standardize_inputs(inputs), strict=True):
            values[id(tensor)] = value
        for unit in self._plan.units:
            run = _run_twice if unit.block else _run
            results = run(unit, [values[id(tensor)] for tensor in unit.inputs], training)
            values |= {id(t): v for t, v in zip(unit.outputs, results, strict=True)}
        outputs = [values[id(tensor)] for tensor in self.outputs]
        return keras.tree.pack_sequence_as(self.output, outputs)


class _Plan:
    """The units; a class of its own, because Keras and TensorFlow wrap the lists of a model."""

    def __init__(self, units):
        self.units = units
        self.blocks = [unit for unit in units if unit.block]


def _block_of(node):
    match = _BLOCK.fullmatch(node.operation.name)
    return match and match[1]


def _units(model):
    """The nodes of a model in the order of computation, those of a block together."""
    nodes = [node for node in nodes_of(model) if not node.is_input]
    groups = {}
    for node in nodes:
        groups.setdefault(_block_of(node) or id(node), []).append(node)
    ends = {id(tensor) for tensor in model.outputs}
    consumers = {}
    for key, group in groups.items():
        for tensor in (t for node in group for t in node.input_tensors):
            consumers.setdefault(id(tensor), set()).add(key)
    units = []
    for key, group in groups.items():
        made = {id(t): t for node in group for t in node.output_tensors}
        needed = {id(t): t for node in group for t in node.input_tensors}
        inputs = [t for k, t in needed.items() if k not in made]
        outputs = [t for k, t in made.items() if k in ends or consumers.get(k, set()) - {key}]
        # An implicit step keeps nothing but its two ends; TensorFlow cannot differentiate in there.
        implicit = any(isinstance(node.operation, BackwardEulerStep) for node in group)
        units.append(_Unit(group, inputs, outputs, isinstance(key, str) and not implicit))
    return units


def _run(unit, inputs, training):
    """Outputs of a unit."""
    values = {id(tensor): value for tensor, value in zip(unit.inputs, inputs, strict=True)}
    for node in unit.nodes:
        args, kwargs = node.arguments.fill_in(values)
        # Named: where torch computes a block again, it is not inside the model's own call.
        if getattr(node.operation, "_call_has_training_arg", False):
            kwargs["training"] = training
        results = keras.tree.flatten(node.operation(*args, **kwargs))
        values |= {id(t): v for t, v in zip(node.output_tensors, results, strict=True)}
    return [values[id(tensor)] for tensor in unit.outputs]


def _run_twice(unit, inputs, training):
    """Outputs of a block, which is computed again for the gradients."""
    weights = [v for layer in unit.layers for v in layer.trainable_variables]
    state = [v for layer in unit.layers for v in layer.non_trainable_variables]
    # TensorFlow complains of integers among the arguments: states of random generators.
    counts = [(v, ops.copy(v.value)) for v in state if not keras.backend.is_float_dtype(v.dtype)]
    floats = [v for v in state if keras.backend.is_float_dtype(v.dtype)]
    variables = weights + floats

    # As values in, values out: a variable that is assigned in there would be assigned twice, and
    # on JAX would hold a tracer that is gone.
    def pure(*values):
        given, rest = values[: len(inputs)], values[len(inputs) :]
        state_mapping = [*zip(variables, rest, strict=True), *counts]
        # Each layer rounds the values for itself, whatever the policy of the model is.
        with variables_as_they_are(), keras.StatelessScope(state_mapping) as scope:
            outputs = _run(unit, given, training)
        return (*outputs, *(scope.get_current_value(v) for v in state))

    with variables_as_they_are():
        values = [ops.convert_to_tensor(v.value) for v in weights]
        # Copies of the state: torch refuses to compute again from what was assigned since.
        values += [ops.copy(v.value) for v in floats]
    results = keras.remat(pure)(*inputs, *values)
    for variable, value in zip(state, results[len(unit.outputs) :], strict=True):
        variable.assign(value)
    return results[: len(unit.outputs)]
