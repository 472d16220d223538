"""Unique names of a net's variables, relative to the net's root."""

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import keras

from keras_pdenets.hub.errors import WeightsError

_START = "stem_conv"  # of every family


def own_variables(model: Any) -> dict[str, Any]:
    """The weights of a net, by their names in its files.

    If a net is built inside a `keras.name_scope` or another layer's `build`, all paths start with
    that scope, which is removed. The user's layers before the stem (`input_tensor=`) are not part
    of the net.

    Args:
        model: A `keras.Model`.

    Raises:
        WeightsError: If two variables have the same name, as in a model that holds two nets.

    Example:
    >>> import keras
    >>> import keras_pdenets
    >>> with keras.name_scope("teacher"):
    ...     model = keras_pdenets.PreActResNet20(weights=None, classes=10)
    >>> model.weights[0].path, list(own_variables(model))[0]
    ('teacher/stem_conv/kernel', 'stem_conv/kernel')
    """
    named = own_paths(model, model.weights)
    found = dict(named)
    if len(found) < len(named):
        twice = Counter(name for name, _ in named).most_common(1)[0][0]
        raise WeightsError(
            f"Model {model.name!r} has two variables named {twice}, such as a model that holds two "
            "nets. Pass each net on its own."
        )
    return found


def own_paths(model: Any, variables: Iterable[Any]) -> list[tuple[str, Any]]:
    """Pairs of name (see `own_variables`) and variable, for the variables of the net."""
    foreign = _layers_before(model)
    hidden = {id(variable) for layer in foreign for variable in layer.variables}
    outside = {id(layer) for layer in foreign}
    root = _root(layer for layer in _layers(model) if id(layer) not in outside)
    return [(v.path.removeprefix(root), v) for v in variables if id(v) not in hidden]


def _layers(model: Any) -> list[Any]:
    return list(getattr(model, "layers", []))


def _layers_before(model: Any) -> list[Any]:
    """The layers of a functional model before its stem."""
    try:
        stem = next(layer for layer in _layers(model) if layer.name == _START)
        # Keras finds the graph between two tensors.
        return list(keras.Model(model.inputs, stem.input, name="before").layers)
    # No stem, not a functional model, or a stem called twice.
    except (StopIteration, AttributeError, ValueError):
        return []


def _root(layers: Iterable[Any]) -> str:
    """The common scope in which layers were built."""
    scopes = [
        layer.path.split("/")[:-1]
        for layer in layers
        if layer.weights and layer.path and layer.path.split("/")[-1] == layer.name
    ]
    common = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*scopes, strict=False))
    return "".join(f"{parts[0]}/" for parts in common)
