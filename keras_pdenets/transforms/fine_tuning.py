"""What people do with a pretrained net: take its features, freeze a part of it."""

import re

import keras

from keras_pdenets.layers import QuasiLinear2D

_BLOCK = re.compile(r"(stage\d+)_block\d+_(?:add|relu|activation)")


def features(model, layers=None):
    """A model with named intermediate outputs.

    Args:
        model: A model of this package.
        layers: Names of layers; None: the last block of each stage, under `"stage0"` and so on,
            from fine to coarse (for a feature pyramid).

    Returns:
        A `keras.Model` with the same input that gives a dictionary of feature maps.

    Raises:
        ValueError: If a layer does not exist, or the model has no stages.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PDEPreActResNet20(weights=None, input_shape=(32, 32, 3))
    >>> [tuple(t.shape) for t in keras_pdenets.features(model).output.values()]
    [(None, 32, 32, 16), (None, 16, 16, 32), (None, 8, 8, 64)]
    """
    if layers is None:
        matches = (_BLOCK.fullmatch(layer.name) for layer in model.layers)
        # Layers come in topological order, so the last match of a stage is its end.
        chosen = {match[1]: match[0] for match in matches if match}
    else:
        chosen = {name: name for name in layers}
    names = {layer.name for layer in model.layers}
    unknown = sorted(set(chosen.values()) - names)
    if unknown or not chosen:
        raise ValueError(
            f"`layers` must be names of layers of {model.name!r}, which has {len(names)}, such as "
            f"{', '.join(sorted(names)[:3])}. Received: layers={layers}"
        )
    outputs = {key: model.get_layer(name).output for key, name in chosen.items()}
    return keras.Model(model.input, outputs, name=f"{model.name}_features")


def freeze(model, until=None, batchnorm=True):
    """Make the first layers of a model untrainable, in place; call it before `compile`.

    Args:
        model: A `keras.Model`.
        until: Name of a layer, of a block (`"stage2_block0"`) or of a stage (`"stage2"`):
            everything up to its last layer is frozen. None: everything but the layer named
            "classifier". `""`: nothing.
        batchnorm: Freeze every batch norm of the model too. Only `trainable=False` keeps its
            moving averages in `fit`; `training=False` in the call does not.

    Returns:
        The model.

    Raises:
        ValueError: If no layer has that name, or no weight would be left to train.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PreActResNet20(weights=None, input_shape=(32, 32, 3), classes=10)
    >>> len(keras_pdenets.freeze(model).trainable_variables)
    2
    """
    layers = list(_leaves(model))
    count = _number_to_freeze(model, layers, until)
    # A container's own flag would override that of its layers.
    model.trainable = True
    for index, layer in enumerate(layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not (index < count or (batchnorm and is_norm))
        if isinstance(layer, QuasiLinear2D):
            layer.set_norm_trainable(layer.trainable and not batchnorm)
    if not model.trainable_variables:
        raise ValueError(
            f"`until` must leave something of {model.name!r} to train; None expects the head in a "
            f"layer named 'classifier'. Received: until={until!r}"
        )
    return model


def _leaves(model):
    """The layers of a model and of the models inside it, inputs left out."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


def _number_to_freeze(model, layers, until):
    names = [layer.name for layer in layers]
    if until == "":
        return 0
    if until is None:
        return sum(name != "classifier" for name in names)
    # Whole words: "stage2_block1" is not "stage2_block10".
    last = max((i for i, n in enumerate(names) if f"{n}_".startswith(f"{until}_")), default=None)
    if last is None:
        raise ValueError(
            f"`until` must be or begin the name of a layer of {model.name!r}, such as "
            f"{', '.join(names[:3])}. Received: until={until!r}"
        )
    return last + 1
