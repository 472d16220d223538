"""Two nets on the same images, call by call: the original, and what has become of it so far."""

import keras
import numpy as np
from keras import ops

from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.copying import copy_layer, give_weights


class Twin:
    """The feature maps of two nets of one graph, for all images at once.

    Of both nets only what is still to be read is kept. As long as nothing differs there is one.

    Args:
        graph: `Graph` of a model without models inside it.
        data: Array of inputs.
        batch_size: Examples in a batch.
    """

    def __init__(self, graph, data, batch_size):
        (symbol,) = keras.tree.flatten(graph.inputs)
        self._left = {}
        for tensor in (t for call in graph.calls for t in call.inputs):
            self._left[id(tensor)] = self._left.get(id(tensor), 0) + 1
        self.batches = []
        for start in range(0, len(data), batch_size):
            batch = ops.convert_to_tensor(data[start : start + batch_size], symbol.dtype)
            self.batches.append({id(symbol): (batch, batch)})

    def pairs(self, tensor):
        """The values of a symbolic tensor in both nets, batch by batch."""
        return [known[id(tensor)] for known in self.batches]

    def knows(self, tensor):
        """Whether a symbolic tensor has its values now."""
        return id(tensor) in self.batches[0]

    def differs(self, call):
        """Whether a call reads anything that is not the same in both."""
        return any(old is not new for t in call.inputs for old, new in self.pairs(t))

    def advance(self, call, changed=None):
        """Make a call in both nets; `changed` is its layer in the second, None: the same."""
        differs = changed is not None or self.differs(call)
        for symbol in call.inputs:
            self._left[id(symbol)] -= 1
        unread = [id(symbol) for symbol in call.inputs if not self._left[id(symbol)]]
        for known in self.batches:
            old = _outputs(call, call.layer, known, 0)
            new = _outputs(call, changed or call.layer, known, 1) if differs else old
            for symbol, pair in zip(call.outputs, zip(old, new, strict=True), strict=True):
                if self._left.get(id(symbol)):
                    known[id(symbol)] = pair
            # Batch by batch: inputs and outputs of all images are never in memory together.
            for key in unread:
                known.pop(key, None)


def _outputs(call, layer, known, which):
    def value_of(x):
        return known[id(x)][which] if isinstance(x, keras.KerasTensor) else x

    args, kwargs = keras.tree.map_structure(value_of, (call.args, call.kwargs))
    # Without it torch keeps all that a gradient would need.
    return [ops.stop_gradient(y) for y in keras.tree.flatten(layer(*args, **kwargs))]


def convolution_like(layer, tensor, kernel, constant):
    """A copy of a convolution with another kernel, and a bias that has a constant added."""
    new = copy_layer(layer)
    new.build(tuple(tensor.shape))
    bias = [as_float64(layer.bias) + constant] if layer.use_bias else []
    new.set_weights([kernel, *bias])
    return new


def corrected_norm(twin, call):
    r"""A copy of a batch norm for the second net, or None where nothing differs.

    Its moving statistics take the change of the statistics of its inputs, from the first net to
    the second on the same images: $\mu' = \mu + m_2 - m_1$, $\sigma'^2 = \sigma^2 s_2^2 / s_1^2$.
    What the few images are not like all others falls out, and without a difference nothing changes.
    """
    layer, (symbol,) = call.layer, call.inputs
    if not twin.differs(call):
        return None
    axes = [a for a in range(len(symbol.shape)) if a != layer.axis % len(symbol.shape)]
    first, second = (_moments(twin.pairs(symbol), which, axes) for which in (0, 1))
    new = copy_layer(layer)
    new.build(tuple(symbol.shape))
    give_weights(layer, new)
    new.moving_mean.assign(as_float64(layer.moving_mean) + second[0] - first[0])
    grown = np.where(first[1] > 0, second[1] / np.maximum(first[1], 1e-30), 1.0)
    new.moving_variance.assign(as_float64(layer.moving_variance) * grown)
    return new


def _moments(pairs, which, axes):
    """Mean and variance of each channel over all batches."""
    count, total, squares = 0, 0.0, 0.0
    for pair in pairs:
        values = np.asarray(ops.convert_to_numpy(pair[which]), "float32")
        count += values.size // np.prod([s for a, s in enumerate(values.shape) if a not in axes])
        total = total + values.sum(tuple(axes), dtype="float64")
        squares = squares + np.square(values, dtype="float64").sum(tuple(axes))
    mean = total / count
    return mean, np.maximum(squares / count - mean**2, 0.0)
