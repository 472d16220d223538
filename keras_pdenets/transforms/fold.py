"""A trained net as a small graph of Keras' own layers, for inference."""

from collections import Counter
from dataclasses import dataclass

import keras
import numpy as np

from keras_pdenets.graphs.graph import has_graph, read_graph
from keras_pdenets.transforms.copying import largest_difference
from keras_pdenets.transforms.fusion.choosing import Choice, second_is_faster
from keras_pdenets.transforms.fusion.forms import form_here
from keras_pdenets.transforms.fusion.rules import Rules, tensor_of
from keras_pdenets.utils.checks import check_choice

DECOMPOSED = ("measure", "keep", "merge")


@dataclass(frozen=True)
class FoldReport:
    """What `fold` did.

    Args:
        merged: For each layer that was merged, the layer it was merged into.
        expanded: Layers of this package that became layers and operations of Keras.
        dropped: Layers that do nothing in inference.
        left: Why other layers of this package remain, by name.
        layers: Number of layers before and after.
        parameters: Number of weights before and after, including kernels that became constants.
        difference: Largest difference of the outputs on `data`, or None.

    Example:
    >>> import keras
    >>> from keras_pdenets.transforms import fold
    >>> conv = keras.layers.Conv2D(4, 3, name="conv")
    >>> norm = keras.layers.BatchNormalization(name="norm")
    >>> _, report = fold(keras.Sequential([keras.Input((8, 8, 1)), conv, norm]))
    >>> report.merged, report.layers
    ({'norm': 'conv'}, (2, 2))
    """

    merged: dict[str, str]
    expanded: list[str]
    dropped: list[str]
    left: dict[str, str]
    layers: tuple[int, int]
    parameters: tuple[int, int]
    difference: float | None = None

    def __str__(self) -> str:
        """The report in a few lines."""
        lines = [
            f"{self.layers[0]} layers before, {self.layers[1]} after; {len(self.merged)} merged, "
            f"{len(self.expanded)} expanded, {len(self.dropped)} dropped",
            f"weights: {self.parameters[0]:,} before, {self.parameters[1]:,} after",
        ]
        if self.difference is not None:
            lines.append(f"largest difference, measured: {self.difference:.3g}")
        lines += [f"left as it is: {name} ({reason})" for name, reason in self.left.items()]
        return "\n".join(lines)


def fold(model, decomposed="measure", data=None, portable=False):
    r"""Turn a trained net into plain convolutions, with the same outputs.

    A PDE layer becomes the convolution that it is; per-channel operations are merged into the
    linear layer before them, $\gamma\,(W x + b - \mu) / \sigma + \beta$ into its kernel and bias; a
    convolution followed by a 1x1 convolution becomes one if that takes no more products; complete
    chains of flow steps become the activation again; layers without effect are dropped.

    The result is for inference: batch norms after linear layers are merged; others, such as those
    after the sums of a pre-activation net, stay. It consists of Keras' own layers and operations,
    so that it loads without this package, unless the report lists layers that were left.

    Args:
        model: Any functional or sequential Keras model, nested models included. It is not
            changed.
        decomposed: The two convolutions of a `DecomposedConv2D`: `"keep"`, `"merge"` into one 3x3
            convolution, or `"measure"`: whatever is faster on this machine for images of this
            size, first layer by layer, then for the net with all kept or all merged (by the
            number of products if the size is open).
        data: Inputs to measure the difference on, or None.
        portable: For a file that another backend will load. If false, convolutions get the form
            that is fastest on this backend: on torch channels_first between two views, which
            TensorFlow cannot run on a CPU; on JAX on a CPU, depthwise ones become sums of shifted
            images, and 1x1, 1x3 and 3x1 ones dense layers.

    Returns:
        The new `keras.Model` and a `FoldReport`.

    Raises:
        ValueError: If the model is not functional, `decomposed` is out of range, or the model's
            outputs for `data` are not finite.

    Example:
    >>> import keras_pdenets
    >>> from keras_pdenets.transforms import fold
    >>> model = keras_pdenets.PDEResNet18(weights=None, input_shape=(32, 32, 3), classes=10)
    >>> plain, report = fold(model)
    >>> len(report.expanded), len(report.merged), report.left
    (16, 20, {})
    """
    check_choice("decomposed", decomposed, DECOMPOSED)
    form = None if portable else form_here()
    choice = Choice(decomposed, form)
    folded, rules = _folded(model, choice, form)
    if len(model.inputs) == 1 and None not in model.inputs[0].shape[1:]:
        # Timing layers one by one can mislead: compilers fuse a layer with its neighbours.
        for alike in choice.others:
            other = _folded(model, Choice(alike, form), form)
            if second_is_faster(folded, other[0]):
                folded, rules = other
    difference = None
    if data is not None:
        difference, _ = largest_difference(model, folded, data)
    return folded, FoldReport(
        rules.merged, rules.expanded, rules.dropped, rules.left,
        (len(model.layers), len(folded.layers)), (_weights_of(model), _weights_of(folded)),
        difference,
    )  # fmt: skip


def _weights_of(model):
    """Number of a model's weights, including the constants of its operations."""
    total = model.count_params()
    inner = {}
    for call in read_graph(model).calls:
        if has_graph(call.layer):
            inner[id(call.layer)] = call.layer
        else:
            values = keras.tree.flatten((call.args, call.kwargs))
            total += sum(value.size for value in values if isinstance(value, np.ndarray))
    return total + sum(_weights_of(part) - part.count_params() for part in inner.values())


def _folded(model, choice, form):
    """The folded model, and the `Rules` that made it."""
    rules = Rules(choice, form)
    folded = _fold(model, rules, {})
    rules.finish()
    return folded, rules


def _fold(model, rules, inner):
    """The folded clone of a model; nested models are folded separately, once each."""
    graph = read_graph(model)
    times = Counter(id(call.layer) for call in graph.calls)
    read = Counter(id(t) for call in graph.calls for t in call.inputs)
    read.update(map(id, keras.tree.flatten(graph.outputs)))

    def make(call, args, kwargs):
        if has_graph(call.layer):
            if id(call.layer) not in inner:
                inner[id(call.layer)] = _fold(call.layer, rules, inner)
            args, kwargs = keras.tree.map_structure(tensor_of, (args, kwargs))
            return inner[id(call.layer)](*args, **kwargs)
        value = rules.apply(call.layer, args, kwargs, times[id(call.layer)] == 1)
        for symbol, part in zip(call.outputs, keras.tree.flatten(value), strict=True):
            if hasattr(part, "shared"):
                part.shared = part.shared or read[id(symbol)] > 1
        return value

    return graph.rebuild(make, finish=tensor_of)
