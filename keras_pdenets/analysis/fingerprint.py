r"""Fingerprints of every layer's output, digests of every weight.

A fingerprint is the root mean square $r$ of the output $x$ and eight sums with random signs,

$$f_j = \frac{1}{\sqrt{n}} \sum_{i=1}^{n} s_{ij} x_i, \qquad s_{ij} \in \{-1, 1\}.$$

A change $d$ moves each by $|d| / \sqrt{n}$ on average, whatever its direction (Achlioptas 2003,
database-friendly random projections); a mean over all elements would miss changes of mean zero.

Outputs are rounded differently on every machine. Weights loaded from the same file are equal to the
last bit on every backend, so these are hashed, which misses nothing.
"""

import contextlib
import functools
import hashlib
import math

import keras
import numpy as np

from keras_pdenets.graphs.graph import Graph, read_graph
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.golden import FINGERPRINT_SIZE
from keras_pdenets.hub.variable_names import own_variables
from keras_pdenets.layers.precision import as_float64

_DIGITS = 16  # of a hash; against accidents: the file's own hash guards against forgery
_EXACT = ("float32", "float64")  # half precision rounds the values of the file
# Sign of each sum for each value of 8 bits.
_SIGNS = 2.0 * (np.arange(256) >> np.arange(FINGERPRINT_SIZE - 1)[:, None] & 1) - 1.0
_PIECE = 2**18  # elements that are summed at a time
# Output elements of a net's layers for one image: half a GiB. A ResNet101 makes 54 million from
# 224 x 224 pixels.
MOST_NUMBERS = 2**27
_NUMBERS_AT_A_TIME = 2**25
_HEAD = "classifier"
_START = "preprocessing"


class Fingerprint:
    """Root mean square of an array and its signed sums, the array given in pieces.

    Example:
    >>> import numpy as np
    >>> fingerprint = Fingerprint()
    >>> fingerprint.add(np.array([3.0, 4.0]))
    >>> fingerprint.numbers().round(3)[:2]
    array([ 3.536, -0.707])
    """

    def __init__(self):
        self._parts, self._squares, self._count = np.zeros(256), 0.0, 0

    def add(self, array):
        """Add the next elements, in row-major order."""
        flat = np.ravel(array)
        place = 0
        while place < flat.size:
            index, start = divmod(self._count, _PIECE)
            values = flat[place : place + _PIECE - start].astype("float64")
            codes = _codes(index)[start : start + values.size]
            with np.errstate(over="ignore", invalid="ignore"):  # of a diverged net
                # One pass for all sums: elements with the same eight signs are added first.
                self._parts += np.bincount(codes, values, minlength=256)
                self._squares += float(values @ values)
            place += values.size
            self._count += values.size

    def numbers(self):
        """The `FINGERPRINT_SIZE` numbers, in 64 bits."""
        with np.errstate(over="ignore", invalid="ignore"):
            sums = _SIGNS @ self._parts / np.sqrt(self._count)
            return np.concatenate([[np.sqrt(self._squares / self._count)], sums])


@functools.lru_cache(maxsize=64)
def _codes(index):
    """The eight signs of each element of a piece as bits of a byte, the same on any machine.

    NumPy's generators may change with its version. This is the finalizer of SplitMix64 (Steele et
    al. 2014), applied to the element's index.
    """
    places = np.arange(index * _PIECE + 1, (index + 1) * _PIECE + 1, dtype="uint64")
    z = places * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z & np.uint64(255)).astype("uint8")


def weight_digests(model):
    """First digits of the SHA-256 of each variable's values in 32 bits.

    Args:
        model: The model.

    Returns:
        Dictionary of hex digits by name (see `hub.variable_names`); variables in half precision are
        left out.

    Raises:
        WeightsError: If two variables have the same name.
    """
    return {
        name: _digest(keras.ops.convert_to_numpy(variable))
        for name, variable in own_variables(model).items()
        if keras.backend.standardize_dtype(variable.dtype) in _EXACT
    }


def _digest(values):
    return hashlib.sha256(np.asarray(values, "<f4").tobytes()).hexdigest()[:_DIGITS]


def start_of(model):
    """The symbolic tensor of the images: after the user's own layers, if there are any.

    Raises:
        ValueError: If the model is not functional with one input.
    """
    for layer in getattr(model, "layers", []):
        if layer.name == _START:
            return layer.input
    if not getattr(model, "inputs", None) or len(model.inputs) != 1:
        raise ValueError(f"`model` must be functional, with one input. Received: {model.name!r}")
    return model.inputs[0]


def measure(model, images):
    """Fingerprint of each layer's output and the logits, computed for a few images at a time.

    Args:
        model: A functional model; the output of a `classifier` is taken before its activation.
        images: Images, channels last; they are transposed for a model with channels first.

    Returns:
        Dictionary of the layers' fingerprints by name, in the order of the graph, always for
        channels last; layers that are called several times are left out. And the logits, or None
        without a `classifier`.

    Raises:
        ValueError: If the model has more than one input.
        WeightsError: If the outputs for one image have more than `MOST_NUMBERS` elements.
    """
    symbols, head = _symbols(model)
    first = any(getattr(layer, "data_format", "") == "channels_first" for layer in model.layers)
    images = np.moveaxis(images, -1, 1) if first else images
    batch = max(1, _NUMBERS_AT_A_TIME // _size(model, symbols, images.shape[1:]))
    run = _runner(model, list(symbols.values()))
    found, logits = {name: Fingerprint() for name in symbols}, []
    for part in np.array_split(images, math.ceil(len(images) / batch)):
        for name, value in zip(symbols, run(part), strict=True):
            output = np.asarray(keras.ops.convert_to_numpy(value))
            if name == _HEAD:
                output = _logits(head, output)
                logits.append(output)
            found[name].add(np.moveaxis(output, 1, -1) if first and output.ndim == 4 else output)
    numbers = {name: one.numbers() for name, one in found.items()}
    return numbers, np.concatenate(logits) if logits else None


def _symbols(model):
    """Symbolic output of each layer by name (of the classifier, its input), and the classifier."""
    symbols, head = {}, None
    start = start_of(model)
    behind = {id(t) for call in read_graph(model).behind(start) for t in call.outputs}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        with contextlib.suppress(AttributeError, ValueError):  # called several times
            symbol = keras.tree.flatten(layer.output)[0]
            if id(symbol) in behind:
                symbols[layer.name] = symbol
        head = layer if layer.name == _HEAD else head
    if head is not None:
        symbols[_HEAD] = head.input
    return symbols, head


def _size(model, symbols, shape):
    """Output elements of all layers for one image; WeightsError if they are too many."""
    side = max(shape)

    def size(symbol, width=1):
        sides = [side if n is None else n for n in symbol.shape[1:]]
        return max(math.prod(sides), math.prod(sides[:2]) * width if len(sides) == 3 else 0)

    total = sum(size(symbol) for symbol in symbols.values())
    for layer in model.layers:
        # Nothing inside a layer is wider than its kernels.
        width = max((max(v.shape[-2:]) for v in layer.weights if len(v.shape) > 1), default=0)
        if width and layer.name in symbols:
            total += size(keras.tree.flatten(layer.input)[0], width)
    if total > MOST_NUMBERS:
        raise WeightsError(
            f"The outputs of {model.name!r} for one image of shape {tuple(shape)} have {total} "
            f"elements; up to {MOST_NUMBERS} are compared."
        )
    return total


def _runner(model, symbols):
    """Function from images to the values of symbolic tensors."""
    start = start_of(model)
    if start is not model.inputs[0]:  # a model from there on would be another graph
        behind = Graph(read_graph(model).behind(start), start, symbols)
        return lambda part: behind(keras.ops.convert_to_tensor(part, start.dtype))
    probe = keras.Model(start, symbols)
    # JAX would run one operation at a time; torch would keep everything for gradients.
    return probe if keras.backend.backend() == "tensorflow" else probe.predict_on_batch


def _logits(head, features):
    """The output of a dense layer without its activation."""
    kernel, bias = map(as_float64, head.weights)
    with np.errstate(over="ignore", invalid="ignore"):
        return features.astype("float64") @ kernel + bias
