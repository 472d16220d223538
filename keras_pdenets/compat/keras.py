"""Private names of Keras."""

import keras
from keras.src.backend.common.variables import AutocastScope


class NonFiniteHook(keras.optimizers.LossScaleOptimizer):
    """A `LossScaleOptimizer` that calls `on_nonfinite` instead of halving the scale."""

    def _stateful_handle_non_finite_grads(self):
        self.on_nonfinite()

    def _stateless_handle_non_finite_grads(self, optimizer_variables, trainable_variables):
        mapping = list(zip(self.variables, optimizer_variables, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self.on_nonfinite()
        return trainable_variables, [scope.get_current_value(v) for v in self.variables]


def layers_inside(layer, deep=True):
    """The layers inside a layer of any kind: in its attributes, lists and wrappers.

    Args:
        layer: A layer or model.
        deep: Whether to include the layers inside these.
    """
    return layer._flatten_layers(include_self=False, recursive=deep)


def nodes_of(model):
    """The calls that make up a functional model, in order of computation.

    A layer's own nodes include its calls in other models, and `clone_model` shows only calls on new
    tensors, from which this model's features cannot be extracted.

    Returns:
        List of (layer, positional arguments, other arguments, symbolic inputs, symbolic outputs).
    """
    depths = sorted(model._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in model._nodes_by_depth[depth]]
    return [
        (n.operation, n.arguments.args, n.arguments.kwargs, n.input_tensors, n.output_tensors)
        for n in nodes
        if not n.is_input
    ]


def takes_training(layer):
    """Whether a layer's `call` has the argument `training`."""
    return getattr(layer, "_call_has_training_arg", False)


def own_trainable(layer):
    """The trainable variables of a layer itself, without those of layers inside it."""
    return list(layer._trainable_variables)


def standardized(model, inputs):
    """The inputs of a functional model as a flat list of tensors with its dtypes and ranks."""
    return model._standardize_inputs(inputs)


def variables_as_they_are():
    """A scope in which variables are read and replaced in their own precision.

    `autocast=False` is not enough: a layer with a mixed policy that is called on its own, or inside
    layers without one, opens a scope that rounds the variables anyway (Keras 3.15).
    """
    return AutocastScope(None)


def learning_rate_of(optimizer):
    """The learning rate as given: a variable, a schedule or a function."""
    return optimizer._learning_rate
