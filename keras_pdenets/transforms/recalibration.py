"""The averages of batch norms, taken anew over data."""

import keras
import numpy as np

from keras_pdenets.builders.pixels import warn_of_small_pixels
from keras_pdenets.transforms.copying import has_graph
from keras_pdenets.transforms.fusion.graph import read_graph


def recalibrate(model, data, batch_size):
    """Replace the averages of all batch norms by those over data.

    Every batch norm normalises by the statistics of the batch, as in training, and its averages
    become the means of these, weighted by the number of examples and not by age; everything else is
    as at inference. A batch norm that is called several times (`scheme="rk4"`) takes the mean over
    its calls as well.

    Args:
        model: A functional model of one input, models inside it included; it is changed.
        data: Array of inputs.
        batch_size: Number of examples in a batch.

    Returns:
        Number of batch norms.
    """
    run = _Run(model)
    warn_of_small_pixels(model, data)
    for start in range(0, len(data), batch_size):
        run(model, np.asarray(data[start : start + batch_size]))
    return len(run.seen)


def batch_norms(model):
    """The batch norms of a model and of all that is inside it."""
    return [x for x in model._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]


class _Run:
    """Runs a model call by call."""

    def __init__(self, model):
        self.seen, self._graphs = {}, {}

    def __call__(self, model, *inputs):
        if id(model) not in self._graphs:
            self._graphs[id(model)] = read_graph(model)
        graph = self._graphs[id(model)]
        symbols = keras.tree.flatten(graph.inputs)
        values = {
            id(s): keras.ops.convert_to_tensor(v, s.dtype)
            for s, v in zip(symbols, inputs, strict=True)
        }

        def value_of(x):
            return values.get(id(x), x)

        for call in graph.calls:
            args, kwargs = keras.tree.map_structure(value_of, (call.args, call.kwargs))
            if has_graph(call.layer):
                result = self(call.layer, *keras.tree.flatten(args))
            elif isinstance(call.layer, keras.layers.BatchNormalization):
                result = self._normalize(call.layer, *args)
            else:
                result = call.layer(*args, **kwargs)
            for symbol, part in zip(call.outputs, keras.tree.flatten(result), strict=True):
                values[id(symbol)] = part
        outputs = keras.tree.map_structure(value_of, graph.outputs)
        return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs

    def _normalize(self, layer, x):
        """A batch norm in training, whose average is one over all that it has seen."""
        before = self.seen.get(layer, 0)
        self.seen[layer] = after = before + len(x)
        kept = layer.momentum, layer.trainable
        # Frozen layers keep their averages, whatever the call says.
        layer.momentum, layer.trainable = before / after, True
        result = layer(x, training=True)
        layer.momentum, layer.trainable = kept
        return result
