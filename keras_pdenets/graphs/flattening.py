"""Flattening of nested models."""

import keras

from keras_pdenets.graphs.graph import functional, read_graph
from keras_pdenets.utils.checks import check_keras_model


def flatten(model):
    """The same model with nested models expanded, sharing all layers.

    Raises:
        ValueError: If the model or a nested one has no graph (a subclass of `keras.Model`).
    """
    check_keras_model(model)
    model = functional(model)
    nested = any(isinstance(layer, keras.Model) for layer in model.layers)
    return read_graph(model).rebuild(_inline) if nested else model


def _inline(call, args, kwargs):
    """Outputs of a call; a nested model is applied call by call."""
    if isinstance(call.layer, keras.Model):
        return read_graph(call.layer)(*args, make=_inline)
    return call.layer(*args, **kwargs)
