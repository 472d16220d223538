"""Batch-norm re-estimation: population statistics computed over data (PreciseBN)."""

import keras
import numpy as np

from keras_pdenets.builders.pixels import warn_of_small_pixels
from keras_pdenets.compat.keras import layers_inside
from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.layers.precision import as_float64


def reestimate_batch_norms(model, data, batch_size):
    """Replace the moving statistics of all batch norms by those over data.

    PreciseBN, Wu and Johnson 2021, arXiv 2105.07576: every batch norm normalises by the statistics
    of the batch, as in training, and its moving statistics become their means, each batch weighted
    by its size; everything else runs in inference mode. A batch norm that is called several times
    (`scheme="rk4"`) also averages over its calls.

    Args:
        model: A functional model with one input, nested models included; changed in place.
        data: Array of inputs.
        batch_size: Number of examples in a batch.

    Returns:
        Number of batch norms.
    """
    graph, seen = read_graph(flatten(model)), {}

    def make(call, args, kwargs):
        layer = call.layer
        if not isinstance(layer, keras.layers.BatchNormalization):
            return layer(*args, **kwargs)
        before = seen.get(layer, 0)
        seen[layer] = after = before + len(args[0])
        kept = layer.momentum, layer.trainable
        # A frozen layer would keep its statistics in spite of `training=True`.
        layer.momentum, layer.trainable = before / after, True
        result = layer(*args, training=True)
        layer.momentum, layer.trainable = kept
        return result

    warn_of_small_pixels(model, data)
    (symbol,) = keras.tree.flatten(graph.inputs)
    for start in range(0, len(data), batch_size):
        batch = np.asarray(data[start : start + batch_size])
        graph(keras.ops.convert_to_tensor(batch, symbol.dtype), make=make)
    return len(seen)


def batch_norms(model):
    """The batch norms of a model, nested ones included."""
    return [x for x in layers_inside(model) if isinstance(x, keras.layers.BatchNormalization)]


def scale_and_offset(norm):
    """Scale and offset per channel of a batch norm in inference, in 64 bits."""
    scale = 1.0 / np.sqrt(as_float64(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = as_float64(norm.gamma) * scale
    offset = as_float64(norm.beta) if norm.center else 0.0
    return scale, offset - scale * as_float64(norm.moving_mean)
