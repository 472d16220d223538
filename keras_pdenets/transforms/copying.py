"""Copies of layers with their weights, and comparisons of outputs."""

import keras
import numpy as np
from keras import layers


def copy_layer(layer, changes=None):
    """A copy from a layer's config; the layer itself if it has no config and no weights."""
    try:
        new = type(layer).from_config(layer.get_config() | (changes or {}))
    except Exception as error:  # third-party configs may raise anything
        if layer.weights:
            raise ValueError(
                f"Layer {layer.name!r} of type {type(layer).__name__} cannot be rebuilt from "
                f"its config: {error}"
            ) from error
        return layer
    function = getattr(layer, "activation", None)
    settable = not isinstance(getattr(type(layer), "activation", None), property)
    if not changes and settable and callable(function) and not isinstance(function, layers.Layer):
        # A config keeps a function by its name only.
        new.activation = function
    return new


def give_weights(old, new):
    """Copy the weights of a layer to its copy."""
    # As arrays: on JAX, variables would share their buffers.
    new.set_weights([np.array(keras.ops.convert_to_numpy(weight)) for weight in old.weights])
    if hasattr(new, "finalize_state"):  # what Normalization computes from its weights
        new.finalize_state()


def check_data(name, data):
    """Raise ValueError unless `data` is one or more arrays with at least one example."""
    leaves = keras.tree.flatten(data)
    if not leaves or any(np.ndim(leaf) == 0 or not len(leaf) for leaf in leaves):
        raise ValueError(
            f"`{name}` must be an array of inputs, with at least one. Received: "
            f"{type(data).__name__}"
        )


def finite_outputs(model, data):
    """All outputs of a model, as a list of arrays.

    Raises:
        ValueError: If there are no data, or an output is not finite and so cannot be compared.
    """
    check_data("data", data)
    outputs = keras.tree.flatten(model.predict(data, verbose=0))
    if not all(np.isfinite(output).all() for output in outputs):
        raise ValueError(
            f"`model` must give finite outputs to compare with. Received: {model.name!r}, whose "
            "outputs have NaN or infinity: its weights have diverged, or `data` is out of range"
        )
    return outputs


def largest_difference(model, other, data):
    """Largest absolute and relative difference over all outputs; infinite where `other` has NaN.

    Raises:
        ValueError: If an output of `model` is not finite.
    """
    check_data("data", data)
    largest, relative = 0.0, 0.0
    others = keras.tree.flatten(other.predict(data, verbose=0))
    for before, after in zip(finite_outputs(model, data), others, strict=True):
        apart = np.abs(before.astype("float64") - after)
        difference = float(np.nan_to_num(apart, nan=np.inf).max())  # Python's max ignores NaN
        largest = max(largest, difference)
        relative = max(relative, difference / max(float(np.abs(before).max()), 1e-30))
    return largest, relative
