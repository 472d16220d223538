"""Gradient checkpointing of blocks: training stores only their inputs."""

import functools

import keras
from keras import ops

from keras_pdenets.compat.keras import standardized, takes_training, variables_as_they_are
from keras_pdenets.graphs.graph import Call, Graph, read_graph
from keras_pdenets.graphs.names import parse
from keras_pdenets.layers import BackwardEulerStep

REMAT_OPTIONS = {
    "remat": "Whether training uses gradient checkpointing: blocks are computed again in the "
    "backward pass, instead of storing their activations: less memory, the same results, about a "
    "third more time."
}


@keras.saving.register_keras_serializable(package="keras_pdenets")
class RematModel(keras.Model):
    """A functional model with gradient checkpointing of its residual blocks.

    Chen et al. 2016, arXiv 1604.06174, with the blocks as segments. In training every block runs
    under `keras.remat` as a pure function of its input and its variables; the batch norm averages
    of the first pass are assigned, the second pass has no side effects. (`RematScope` acts on
    single layers: it stores the output of each, and both passes change the state.)

    Layers, names, variables and outputs are those of `keras.Model`. A `.keras` file keeps the
    class, so this package must be imported to load it; a model built from this one's tensors is an
    ordinary one. The saving depends on the compiler: it is largest on torch; TensorFlow saves
    memory only with
    `tf.config.optimizer.set_experimental_options({"dependency_optimization": False})`, which
    `training.train` sets, since its graph optimizer otherwise moves the second pass to the first;
    XLA on a CPU merges both passes and saves nothing.

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

    # Exactly the arguments of Functional, or Keras would not load it as a graph.
    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._plan = _Plan(read_graph(self))

    @property
    def blocks(self):
        """Names of the blocks."""
        return list(self._plan.blocks)

    def call(self, inputs, training=None, mask=None):
        if not training:
            return super().call(inputs, training=training, mask=mask)
        return self._plan.graph(standardized(self, inputs), make=_train)


def model_class(model):
    """Class for a model rebuilt from another."""
    return RematModel if isinstance(model, RematModel) else keras.Model


class _Plan:
    """The computation in training; a class, because Keras and TensorFlow wrap a model's lists.

    Args:
        graph: The model's graph, of which each block becomes one call.
    """

    def __init__(self, graph):
        self.blocks, calls, groups = [], [], {}
        for call in graph.calls:
            place = parse(call.layer.name)
            groups.setdefault((place and place.block_name) or id(call), []).append(call)
        for key, group in groups.items():
            # An implicit step stores only its ends, and TensorFlow cannot differentiate inside it.
            implicit = any(isinstance(call.layer, BackwardEulerStep) for call in group)
            if implicit or not isinstance(key, str):
                calls += group
                continue
            block = graph.part(group, key)
            self.blocks.append(key)
            run = functools.partial(_run_twice, block)
            calls.append(Call(run, tuple(block.inputs), {}, block.inputs, block.outputs))
        self.graph = Graph(calls, graph.inputs, graph.outputs)


def _train(call, args, kwargs):
    """Outputs of a call in training."""
    # By name: torch recomputes a block outside of the model's own call.
    named = {"training": True} if takes_training(call.layer) else {}
    return call.layer(*args, **kwargs | named)


def _run_twice(block, *inputs):
    """Outputs of a block, which is recomputed in the backward pass."""
    found = dict.fromkeys(call.layer for call in block.calls)
    layers = [layer for layer in found if isinstance(layer, keras.layers.Layer)]
    weights = [v for layer in layers for v in layer.trainable_variables]
    state = [v for layer in layers for v in layer.non_trainable_variables]
    # TensorFlow warns of integers among the arguments: states of random generators.
    counts = [(v, ops.copy(v.value)) for v in state if not keras.backend.is_float_dtype(v.dtype)]
    floats = [v for v in state if keras.backend.is_float_dtype(v.dtype)]
    variables = weights + floats

    # A pure function: a variable assigned inside would be assigned twice, and on JAX would hold a
    # leaked tracer.
    def pure(*values):
        given, rest = values[: len(inputs)], values[len(inputs) :]
        state_mapping = [*zip(variables, rest, strict=True), *counts]
        # Each layer casts the values itself, independently of the model's policy.
        with variables_as_they_are(), keras.StatelessScope(state_mapping) as scope:
            outputs = block(*given, make=_train)
        return (*outputs, *(scope.get_current_value(v) for v in state))

    with variables_as_they_are():
        values = [ops.convert_to_tensor(v.value) for v in weights]
        # Copies of the state: torch does not recompute from variables assigned in between.
        values += [ops.copy(v.value) for v in floats]
    results = keras.remat(pure)(*inputs, *values)
    for variable, value in zip(state, results[len(block.outputs) :], strict=True):
        variable.assign(value)
    return results[: len(block.outputs)]
