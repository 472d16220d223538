"""What this package needs of Keras that has no public name, in one place."""

from keras.src.backend.common.variables import AutocastScope


def layers_inside(layer, deep=True):
    """The layers that a layer holds, whatever kind it is: in its attributes, lists and wrappers.

    Args:
        layer: A layer or model.
        deep: Whether to look into these too.
    """
    return layer._flatten_layers(include_self=False, recursive=deep)


def nodes_of(model):
    """The calls that make up a functional model, in the order of computation."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth]]


def own_trainable(layer):
    """The variables of a layer, not of those inside it, that train whenever the layer does."""
    return list(layer._trainable_variables)


def variables_as_they_are():
    """A scope in which variables are read and replaced in their own precision.

    `autocast=False` is not enough: a layer of a mixed policy that is called by itself, or inside
    layers of unmixed ones, opens a scope that rounds the variables all the same (Keras 3.15).
    """
    return AutocastScope(None)
