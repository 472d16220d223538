"""Models inside a model, unfolded."""

import keras

from keras_pdenets.graphs.graph import has_graph, placeholder
from keras_pdenets.utils.checks import check_keras_model


def flatten(model):
    """The same model with the models inside it unfolded, sharing all layers.

    Raises:
        ValueError: If the model, or one inside it, has no graph (a subclass of `keras.Model`).
    """
    check_keras_model(model)
    if not has_graph(model):
        raise ValueError(
            "`model` must be a functional or sequential Keras model that is built: a subclass "
            f"shows no graph. Received: {model.name!r} of type {type(model).__name__}"
        )
    if isinstance(model, keras.Sequential):
        inputs = placeholder(model.inputs[0])
        return keras.Model(inputs, _call_inline(model, inputs), name=model.name)
    if not any(isinstance(layer, keras.Model) for layer in model.layers):
        return model
    inputs = keras.tree.map_structure(placeholder, model.input)
    return keras.models.clone_model(
        model,
        input_tensors=inputs,
        clone_function=lambda layer: layer,
        call_function=_call_inline,
    )


def _call_inline(layer, *args, **kwargs):
    """Call a layer on symbolic tensors, a model inside layer by layer."""
    if isinstance(layer, keras.Sequential):
        (x,) = args
        for inner in layer.layers:
            x = _call_inline(inner, x)
        return x
    if isinstance(layer, keras.Model):
        return flatten(layer).call(*args)
    return layer(*args, **kwargs)
