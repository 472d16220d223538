"""Names of a net's variables: below the net's own root, and each once."""

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import keras

from keras_pdenets.hub.errors import WeightsError

_START = "stem_conv"  # of every family


def own_variables(model: Any) -> dict[str, Any]:
    """The weights of a net by the names that they have in its files.

    A net that is built inside a `keras.name_scope` or another layer's `build` has that scope in
    front of all its paths; it is left out. The user's own layers in front of the stem
    (`input_tensor=`) are no part of the net.

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
            f"Model {model.name!r} has two variables named {twice}, as one that holds two nets: "
            "they cannot be told apart by name. Take each net by itself."
        )
    return found


def own_paths(model: Any, variables: Iterable[Any]) -> list[tuple[str, Any]]:
    """Pairs of a name as in `own_variables` and a variable, of those that belong to the net."""
    foreign = _layers_before(model)
    hidden = {id(variable) for layer in foreign for variable in layer.variables}
    outside = {id(layer) for layer in foreign}
    root = _root(layer for layer in _layers(model) if id(layer) not in outside)
    return [(v.path.removeprefix(root), v) for v in variables if id(v) not in hidden]


def _layers(model: Any) -> list[Any]:
    return list(getattr(model, "layers", []))


def _layers_before(model: Any) -> list[Any]:
    """The layers of a functional model that lead to its stem."""
    try:
        stem = next(layer for layer in _layers(model) if layer.name == _START)
        # The graph between two tensors, by Keras itself.
        return list(keras.Model(model.inputs, stem.input, name="before").layers)
    # No stem, no functional model, or one that is called twice.
    except (StopIteration, AttributeError, ValueError):
        return []


def _root(layers: Iterable[Any]) -> str:
    """The scope that layers were built in, as far as they have it in common."""
    scopes = [
        layer.path.split("/")[:-1]
        for layer in layers
        if layer.weights and layer.path and layer.path.split("/")[-1] == layer.name
    ]
    common = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*scopes, strict=False))
    return "".join(f"{parts[0]}/" for parts in common)
