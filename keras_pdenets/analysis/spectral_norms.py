"""The 2-norm of every linear layer: a certified upper bound and an attained lower bound."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_pdenets.analysis.derivatives import evaluate, vjp
from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.layers.linear_maps import linear_map
from keras_pdenets.utils.checks import check_integer

# Pixels along an axis of open size, for the lower bound.
_SIDE = 32


@dataclass(frozen=True)
class SpectralNorms:
    """2-norms of the linear maps in a net's layers, without biases and activations.

    Args:
        names: Names of the layers, in the order of the graph.
        kinds: Names of their classes.
        upper: Certified upper bounds, of shape (layers,).
        lower: Norms attained by some input, up to the rounding of the backend.
        others: Layers with matrices but no known bound; they are left out.

    Example:
    >>> import keras
    >>> from keras_pdenets.analysis import spectral_norms
    >>> dense = keras.layers.Dense(2, kernel_initializer="identity", name="dense")
    >>> print(spectral_norms(keras.Sequential([keras.Input((2,)), dense])))
    dense (Dense): 1 to 1
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    upper: np.ndarray
    lower: np.ndarray
    others: tuple[str, ...]

    def __str__(self) -> str:
        """One line for each layer."""
        rows = zip(self.names, self.kinds, self.lower, self.upper, strict=True)
        lines = [f"{name} ({kind}): {low:.4g} to {high:.4g}" for name, kind, low, high in rows]
        if self.others:
            lines.append(f"no bound is known for {', '.join(self.others)}")
        return "\n".join(lines)


def spectral_norms(model, steps=20, seed=0):
    r"""Bounds of the 2-norm of every convolution and dense layer of a model.

    $$\|K v\| / \|v\| \le \|K\| \le \max_{\theta \in \Theta_{n+k-1}} \sigma_1(\hat K(\theta))$$

    The upper bound is that of `operators.norms.convolution_norm`: certified, for every padding and
    stride, on images of the size that the model takes. A border of copies (`"replicate"`,
    `"reflect"`) multiplies it by how much it enlarges the image's norm, at most $\sqrt 2$ per axis
    from four pixels on; the terms of a `PolynomialConv2D` add up. The lower bound is the result of
    power iteration with $K^T K$, with K^T as the derivative of the layer itself: a backend's
    transposed convolution is not the adjoint if sides are odd and the stride is 2 (40 % off in our
    measurements).

    Args:
        model: Any functional or sequential Keras model, nested models included.
        steps: Steps of the power iteration; 20 mostly come within a few percent.
        seed: Seed of its first vector.

    Returns:
        A `SpectralNorms`.

    Raises:
        ValueError: If the model has no graph, no convolution or dense layer, or weights that are
            not finite (the message names the layer).

    Example:
    >>> import keras
    >>> from keras_pdenets.analysis import spectral_norms
    >>> x = keras.Input((8, 8, 1))
    >>> box = keras.layers.Conv2D(1, 2, strides=2, kernel_initializer="ones")
    >>> norms = spectral_norms(keras.Model(x, box(x)))
    >>> norms.lower.round(3), norms.upper.round(3)
    (array([2.]), array([2.]))
    """
    steps = check_integer("steps", steps, 1)
    seed = check_integer("seed", seed, 0)
    graph = read_graph(flatten(model))
    found, others = {}, {}
    for call in graph.calls:
        layer = call.layer
        if not isinstance(layer, keras.layers.Layer):
            continue
        linear = linear_map(layer)
        if linear is None:
            if any(len(weight.shape) > 1 for weight in layer.weights):
                others[layer.name] = None
            continue
        if not all(np.isfinite(kernel).all() for kernel in linear.kernels()):
            raise ValueError(f"{layer.name!r} has non-finite weights: the net has diverged.")
        shape = tuple(call.inputs[0].shape)
        # A layer that is called on several sizes has several norms.
        if (layer.name, shape) not in found:
            found[layer.name, shape] = (
                type(layer).__name__,
                linear.bound(_sides(layer, linear, shape)),
                _reach(layer, shape, steps, seed),
            )
    if not found:
        raise ValueError(
            "`model` must have a convolution or a dense layer. Received: model "
            f"{model.name!r} of {len(graph.calls)} calls without one"
        )
    kinds, upper, lower = zip(*found.values(), strict=True)
    names = tuple(name for name, _ in found)
    return SpectralNorms(names, kinds, np.array(upper), np.array(lower), tuple(others))


def _sides(layer, linear, shape):
    """Sides of the input images, None where open."""
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    begin = 2 if first else 1
    return shape[begin : begin + linear.dims]


def linear_twin(layer, input_shape):
    """A layer with the same kernel but no bias or activation, in the variables' precision."""
    config = layer.get_config() | {"dtype": layer.variable_dtype}
    config |= {k: v for k, v in (("activation", None), ("use_bias", False)) if k in config}
    twin = type(layer).from_config(config)
    twin.build(input_shape)
    values = {variable.name: variable for variable in layer.variables}
    for variable in twin.variables:
        variable.assign(keras.ops.convert_to_numpy(values[variable.name]))
    return twin


def _reach(layer, shape, steps, seed):
    """The largest norm of the output for some inputs of norm 1."""
    twin = linear_twin(layer, shape)
    pull = vjp(twin)
    vector = np.random.default_rng(seed).normal(size=(1, *(side or _SIDE for side in shape[1:])))
    best = 0.0
    for _ in range(steps):
        size = np.linalg.norm(vector)
        if not size:  # the map is zero
            break
        vector = (vector / size).astype(layer.variable_dtype)
        (image,) = evaluate(lambda x: [twin(x)], vector)
        best = max(best, float(np.linalg.norm(image.astype("float64"))))
        vector = pull([vector], image)[1][0].astype("float64")
    return best
