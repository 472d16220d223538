r"""Every layer's output in a few numbers, every weight in a digest.

The numbers are the root mean square $r$ of the output $x$ and eight sums with random signs,

$$f_j = \frac{1}{\sqrt{n}} \sum_{i=1}^{n} s_{ij} x_i, \qquad s_{ij} \in \{-1, 1\}.$$

A change $d$ moves each by $|d| / \sqrt{n}$ on the average, whatever its direction (Achlioptas 2003,
database-friendly random projections); a mean over all places would miss whatever has mean zero.

Outputs are rounded in another way on every machine; weights are not: loaded from the same file they
are the same to the last bit, on every backend. So theirs is a hash, which misses nothing.
"""

import contextlib
import hashlib

import keras
import numpy as np

from keras_pdenets.hub.golden import FINGERPRINT_SIZE

_DIGITS = 16  # of a hash: against accidents, not against forgery, which the file's own hash is for
_EXACT = ("float32", "float64")  # half precision has rounded what the file holds
# Sign of each sum for each of the values of 8 bits.
_SIGNS = 2.0 * (np.arange(256) >> np.arange(FINGERPRINT_SIZE - 1)[:, None] & 1) - 1.0


def fingerprints(arrays):
    """Root mean square of each array, and its sums with the signs.

    Args:
        arrays: Arrays of any shapes.

    Returns:
        Numbers in 64 bits, of shape (arrays, `FINGERPRINT_SIZE`).

    Example:
    >>> import numpy as np
    >>> fingerprints([np.array([3.0, 4.0])]).round(3)[:, :2]
    array([[ 3.536, -0.707]])
    """
    codes = _codes(max(np.size(array) for array in arrays))
    return np.stack([_fingerprint(np.ravel(array).astype("float64"), codes) for array in arrays])


def _fingerprint(values, codes):
    with np.errstate(over="ignore", invalid="ignore"):  # a net that diverged is found by it too
        # One pass for all the sums: what has the same eight signs is added up first.
        parts = np.bincount(codes[: values.size], values, minlength=256)
        sums = _SIGNS @ parts / np.sqrt(values.size)
        return np.concatenate([[np.sqrt(np.mean(values * values))], sums])


def _codes(count):
    """The eight signs of each place as the bits of a number, the same for ever and everywhere.

    NumPy's generators may change with its version. This is the finalizer of SplitMix64 (Steele et
    al. 2014) of the place.
    """
    z = (np.arange(1, count + 1, dtype="uint64")) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z & np.uint64(255)).astype("uint8")


def weight_digests(model):
    """Beginning of the SHA-256 of each variable's values in 32 bits.

    Args:
        model: The model.

    Returns:
        Dictionary of hex digits by path; variables in half precision are left out.
    """
    return {
        variable.path: _digest(keras.ops.convert_to_numpy(variable))
        for variable in model.weights
        if keras.backend.standardize_dtype(variable.dtype) in _EXACT
    }


def _digest(values):
    return hashlib.sha256(np.asarray(values, "<f4").tobytes()).hexdigest()[:_DIGITS]


def outputs_of(model, images):
    """Output of each layer of a functional model, by name, in the order of the graph.

    Args:
        model: The model; outputs of a `classifier` come before its activation.
        images: Its input, channels last; they are turned for a model with channels first.

    Returns:
        Dictionary of arrays, images always channels last; layers that are called several times
        are left out.
    """
    symbols, head = {}, None
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        with contextlib.suppress(AttributeError, ValueError):  # called several times
            symbols[layer.name] = keras.tree.flatten(layer.output)[0]
        head = layer if layer.name == "classifier" else head
    first = any(getattr(layer, "data_format", "") == "channels_first" for layer in model.layers)
    if head is not None:
        symbols["classifier"] = head.input
    probe = keras.Model(model.inputs[0], list(symbols.values()))
    images = np.moveaxis(images, -1, 1) if first else images
    # JAX would compile one operation after the other.
    run = probe.predict_on_batch if keras.backend.backend() == "jax" else probe
    found = [np.asarray(keras.ops.convert_to_numpy(value)) for value in run(images)]
    if first:
        found = [np.moveaxis(value, 1, -1) if value.ndim == 4 else value for value in found]
    values = dict(zip(symbols, found, strict=True))
    if head is not None:
        values["classifier"] = _logits(head, values["classifier"])
    return values


def _logits(head, features):
    """What a dense layer gives without its activation."""
    kernel, bias = (np.asarray(keras.ops.convert_to_numpy(w), "float64") for w in head.weights)
    with np.errstate(over="ignore", invalid="ignore"):
        return features.astype("float64") @ kernel + bias
