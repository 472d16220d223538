"""Layers made again with their weights, and outputs compared."""

import keras
import numpy as np
from keras import layers


def copy_layer(layer, changes=None):
    """A layer by its config; the layer itself where it has none, and no weights either."""
    try:
        new = type(layer).from_config(layer.get_config() | (changes or {}))
    except Exception as error:  # what a config of somebody else's may raise is anybody's guess
        if layer.weights:
            raise ValueError(
                f"Layer {layer.name!r} of type {type(layer).__name__} cannot be made again from "
                f"its config: {error}"
            ) from error
        return layer
    function = getattr(layer, "activation", None)
    settable = not isinstance(getattr(type(layer), "activation", None), property)
    if not changes and settable and callable(function) and not isinstance(function, layers.Layer):
        # A function comes back from a config by its name alone.
        new.activation = function
    return new


def give_weights(old, new):
    """Give a layer the weights of the one that it was made of."""
    # As arrays: on JAX variables would share their buffers.
    new.set_weights([np.array(keras.ops.convert_to_numpy(weight)) for weight in old.weights])
    if hasattr(new, "finalize_state"):  # what Normalization computes from its weights
        new.finalize_state()


def check_data(name, data):
    """Raise ValueError unless `data` can be inputs of a model: arrays with examples in them."""
    leaves = keras.tree.flatten(data)
    if not leaves or any(np.ndim(leaf) == 0 or not len(leaf) for leaf in leaves):
        raise ValueError(
            f"`{name}` must be an array of inputs, with at least one. Received: "
            f"{type(data).__name__}"
        )


def finite_outputs(model, data):
    """All outputs of a model, as a list of arrays.

    Raises:
        ValueError: If one is not finite: there is nothing to compare with; or there are no data.
    """
    check_data("data", data)
    outputs = keras.tree.flatten(model.predict(data, verbose=0))
    if not all(np.isfinite(output).all() for output in outputs):
        raise ValueError(
            f"`model` must give finite outputs to compare with. Received: {model.name!r}, whose "
            "outputs have NaN or infinity: its weights have diverged, or `data` is far from theirs"
        )
    return outputs


def largest_difference(model, other, data):
    """Largest absolute and relative difference over all outputs; infinity where `other` has NaN.

    Raises:
        ValueError: If an output of `model` is not finite.
    """
    check_data("data", data)
    largest, relative = 0.0, 0.0
    others = keras.tree.flatten(other.predict(data, verbose=0))
    for before, after in zip(finite_outputs(model, data), others, strict=True):
        apart = np.abs(before.astype("float64") - after)
        difference = float(np.nan_to_num(apart, nan=np.inf).max())  # Python's max passes over NaN
        largest = max(largest, difference)
        relative = max(relative, difference / max(float(np.abs(before).max()), 1e-30))
    return largest, relative
