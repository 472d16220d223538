r"""Every layer's output in a few numbers that notice a small change anywhere.

The numbers are the root mean square $r$ of the output $x$ and eight sums with random signs,

$$f_j = \frac{1}{\sqrt{n}} \sum_{i=1}^{n} s_{ij} x_i, \qquad s_{ij} \in \{-1, 1\}.$$

A change $d$ moves each by $|d| / \sqrt{n}$ on the average, whatever its direction (Achlioptas 2003,
database-friendly random projections); a mean over all places would miss whatever has mean zero.
"""

import contextlib
import functools

import keras
import numpy as np

from keras_pdenets.hub.golden import FINGERPRINT_SIZE


def fingerprint(values):
    """Root mean square of an array, and its sums with the signs.

    Args:
        values: Any array.

    Returns:
        Vector of `FINGERPRINT_SIZE` numbers in 64 bits.

    Example:
    >>> import numpy as np
    >>> fingerprint(np.array([3.0, 4.0])).round(3)[:2]
    array([ 3.536, -0.707])
    """
    flat = np.ravel(values).astype("float64")
    with np.errstate(over="ignore", invalid="ignore"):  # a net that diverged is found by it too
        sums = _signs(flat.size) @ flat / np.sqrt(flat.size)
        return np.concatenate([[np.sqrt(np.mean(flat * flat))], sums])


@functools.lru_cache(maxsize=16)
def _signs(count):
    """Signs of shape (`FINGERPRINT_SIZE` - 1, count), the same for ever and everywhere.

    NumPy's generators may change with its version. This is the finalizer of SplitMix64 (Steele et
    al. 2014) of the place.
    """
    z = (np.arange(1, count + 1, dtype="uint64")) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    bits = [(z >> np.uint64(bit)) & np.uint64(1) for bit in range(FINGERPRINT_SIZE - 1)]
    return 2.0 * np.stack(bits).astype("float64") - 1.0


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
