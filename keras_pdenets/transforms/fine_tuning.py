"""Fine-tuning: features of a pretrained net, and freezing a part of it."""

import logging
import re
from collections.abc import Iterable

import keras

from keras_pdenets.compat.keras import layers_inside, own_trainable
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.graphs.names import blocks_of, parse
from keras_pdenets.layers import QuasiLinear2D
from keras_pdenets.utils.checks import check_keras_model

_LOG = logging.getLogger("keras_pdenets")
_ENDS = ("add", "relu", "activation")
# Layers of this package's nets outside their stages; a lone `stem_conv` may be another net's.
_AROUND = re.compile(r"stem_.+|head_bn\d+(?:_.+)?")
_SHOWN = 5


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
    check_keras_model(model)
    if layers is None:
        # Layers come in topological order, so the last one of a stage is its end.
        chosen = {
            f"stage{block.stage}": layer.name
            for block in blocks_of(model)
            for part, layer in block.parts.items()
            if part in _ENDS
        }
    else:
        # A string is iterable too, and a number is not.
        several = isinstance(layers, Iterable) and not isinstance(layers, str)
        chosen = {name: name for name in layers} if several else {}
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
    """Freeze the first part of a model in place; call it before `compile`.

    What is frozen follows from the graph of the model, not from the order of its layers, through
    nested models, wrappers and custom layers. Everything else becomes trainable, except for what
    is not trainable by construction; the logger `"keras_pdenets"` (level INFO) lists it.

    Args:
        model: A `keras.Model`.
        until: Name of a layer, of a block (`"stage2_block0"`) or of a stage (`"stage2"`), wherever
            it is held: it is frozen, and every layer that leads to it. Of layers side by side in a
            model or layer that is no graph, only those of that name are.
            None: what came with the nets of this package that the model holds, but for their
            layer "classifier"; your own layers before, after or beside them stay trainable.
            In a model without such a net: everything but layers named "classifier".
            `""`: nothing.
        batchnorm: Freeze every batch norm of the model too. Only `trainable=False` keeps its
            moving averages in `fit`; `training=False` in the call does not.

    Returns:
        The model.

    Raises:
        ValueError: If no layer has that name, or no weight would be left to train. The model is
            unchanged then.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PreActResNet20(weights=None, input_shape=(32, 32, 3), classes=10)
    >>> len(keras_pdenets.freeze(model).trainable_variables)
    2
    """
    check_keras_model(model)
    frozen = _frozen(model, until)
    parts = layers_inside(model)
    if batchnorm:
        frozen += [part for part in parts if isinstance(part, keras.layers.BatchNormalization)]
    fixed = {id(part) for layer in frozen for part in (layer, *layers_inside(layer))}
    rest = [part for part in (model, *parts) if id(part) not in fixed]
    # Layers that are not built yet may get weights later.
    if not any(own_trainable(part) or not part.built for part in rest):
        raise ValueError(
            f"`until` must leave some weights of {model.name!r} trainable; None expects your own "
            f"head, or a layer named 'classifier'. Received: until={until!r}"
        )
    # Each by itself: on TensorFlow, a flag set to its present value does not reach inner layers.
    for part in (model, *parts):
        part.trainable = True
    for part in rest:
        if isinstance(part, QuasiLinear2D):
            part.set_norm_trainable(not batchnorm)
    for layer in frozen:
        layer.trainable = False
    _report(model, rest)
    return model


def _report(model, rest):
    names = list(dict.fromkeys(part.name for part in rest if own_trainable(part)))
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    _LOG.info(
        "%s: %d of %d weights are trainable now, those of %s",
        model.name, len(model.trainable_weights), len(model.weights),
        ", ".join(names[:_SHOWN] + more) or "layers that are not built yet",
    )  # fmt: skip


def _frozen(model, until):
    """Layers to freeze, with everything inside them."""
    if until == "":
        return []
    if until is None:
        return _backbone(model) or _all_but(model, "classifier")
    # Whole words: "stage2_block1" is not "stage2_block10".
    found, frozen = _upstream(model, lambda name: f"{name}_".startswith(f"{until}_"))
    if not found:
        names = [part.name for part in layers_inside(model) if part.weights]
        raise ValueError(
            f"`until` must be or begin the name of a layer of {model.name!r}, such as "
            f"{', '.join(names[:3])}. Received: until={until!r}"
        )
    return frozen


def _backbone(holder):
    """The layers of this package's nets, at any depth of nesting."""
    parts, found = layers_inside(holder, deep=False), []
    places = filter(None, (parse(part.name) for part in parts))
    is_net = any(p.block is not None or p.part.startswith("layer") for p in places)
    for part in parts:
        ours = is_net and (parse(part.name) or _AROUND.fullmatch(part.name))
        found += [part] if ours else _backbone(part)
    return found


def _all_but(holder, name):
    """The layers that neither have a name nor contain a layer that does."""
    found = []
    for part in layers_inside(holder, deep=False):
        if part.name != name:
            inside = any(below.name == name for below in layers_inside(part))
            found += _all_but(part, name) if inside else [part]
    return found


def _upstream(holder, named):
    """Whether a layer with some name is inside, and the layers that are it or lead to it."""
    parts = [] if isinstance(holder, QuasiLinear2D) else layers_inside(holder, deep=False)
    marked, frozen = [], []
    for part in parts:
        if named(part.name):
            marked.append(part)
            frozen.append(part)
            continue
        found, inside = _upstream(part, named)
        frozen += inside
        if found:
            marked.append(part)
    if marked and isinstance(holder, keras.Sequential):
        last = max(map(parts.index, marked))
        frozen += [part for part in parts[:last] if part not in marked]
    elif marked and hasattr(holder, "operations"):
        frozen += _ancestors(holder, marked)
    return bool(marked), frozen


def _ancestors(model, layers):
    """The layers of a functional model that lead to some of them, without these."""
    found, wanted = {}, set()
    for call in reversed(read_graph(model).calls):
        if call.layer in layers or not wanted.isdisjoint(map(id, call.outputs)):
            found[id(call.layer)] = call.layer
            wanted.update(map(id, call.inputs))
    return [x for x in found.values() if isinstance(x, keras.layers.Layer) and x not in layers]
