"""Private names of Keras."""

import keras
from keras.src.backend.common.variables import AutocastScope


class NonFiniteHook(keras.optimizers.LossScaleOptimizer):
    """Keras' `LossScaleOptimizer`, which calls `on_nonfinite` where Keras halves the scale."""

    def _stateful_handle_non_finite_grads(self):
        self.on_nonfinite()

    def _stateless_handle_non_finite_grads(self, optimizer_variables, trainable_variables):
        mapping = list(zip(self.variables, optimizer_variables, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self.on_nonfinite()
        return trainable_variables, [scope.get_current_value(v) for v in self.variables]


def layers_inside(layer, deep=True):
    """The layers that a layer holds, whatever kind it is: in its attributes, lists and wrappers.

    Args:
        layer: A layer or model.
        deep: Whether to look into these too.
    """
    return layer._flatten_layers(include_self=False, recursive=deep)


def nodes_of(model):
    """The calls that make up a functional model, in the order of computation.

    A layer's own list would hold its calls in other models too, and `clone_model` shows calls on
    new tensors only, of which no model with this one's features could be made.

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
    """Whether the call of a layer has the argument `training`."""
    return getattr(layer, "_call_has_training_arg", False)


def own_trainable(layer):
    """The variables of a layer, not of those inside it, that train whenever the layer does."""
    return list(layer._trainable_variables)


def standardized(model, inputs):
    """The inputs of a functional model as a flat list of tensors of its dtypes and ranks."""
    return model._standardize_inputs(inputs)


def variables_as_they_are():
    """A scope in which variables are read and replaced in their own precision.

    `autocast=False` is not enough: a layer of a mixed policy that is called by itself, or inside
    layers of unmixed ones, opens a scope that rounds the variables all the same (Keras 3.15).
    """
    return AutocastScope(None)


def learning_rate_of(optimizer):
    """The learning rate as it was given: a variable, a schedule or a function."""
    return optimizer._learning_rate
