"""Accuracy of a net with one of its residual blocks dropped, or two of them swapped."""

import itertools
from dataclasses import dataclass

import numpy as np

from keras_pdenets.analysis.derivatives import evaluate
from keras_pdenets.analysis.inputs import batches, check_images, check_labels, check_model
from keras_pdenets.analysis.perturbation import measure_perturbation
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.graphs.residual import block_graphs
from keras_pdenets.utils.checks import check_integer


@dataclass(frozen=True)
class BlockChanges:
    """Accuracies of a net with one change at a time.

    Args:
        change: `"drop"` or `"swap"`.
        images: Number of images.
        accuracy: Accuracy of the unchanged net, 0-1.
        names: What was changed: names of blocks, or of pairs as `"first <-> second"`.
        accuracies: Accuracy with each change, of shape (names,).
        ratios: Mean of `||h F(x)|| / ||x||` of every block, or the larger one of each pair: the
            block's relative change, as in `measure_perturbation`.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.analysis import drop_blocks
    >>> x = keras.Input((4, 4, 1))
    >>> step = keras.layers.Conv2D(1, 1, kernel_initializer="ones")(x)
    >>> block = keras.layers.Add(name="block")([x, 0.5 * step])
    >>> pooled = keras.layers.GlobalAveragePooling2D()(block)
    >>> model = keras.Model(x, keras.layers.Dense(2)(pooled))
    >>> print(str(drop_blocks(model, np.ones((2, 4, 4, 1)), [0, 0])).splitlines()[0])
    ||hF|| / ||x|| is 0.5 to 0.5, median 0.5
    """

    change: str
    images: int
    accuracy: float
    names: tuple[str, ...]
    accuracies: np.ndarray
    ratios: np.ndarray

    def __str__(self) -> str:
        """The ratios first: only a block that is a small step can be dropped without loss."""
        lines = [
            f"||hF|| / ||x|| is {self.ratios.min():.3g} to {self.ratios.max():.3g}, median "
            f"{np.median(self.ratios):.3g}",
            f"accuracy of the whole net on {self.images} images: {self.accuracy:.4f}",
        ]
        rows = zip(self.names, self.ratios, self.accuracies, strict=True)
        return "\n".join(
            [*lines, *(f"{self.change} {n}: {a:.4f} (ratio {r:.3g})" for n, r, a in rows)]
        )


def drop_blocks(model, images, labels, batch_size=128):
    r"""Accuracy of a net without one of its residual blocks, for every block.

    $$x_{l+1} = x_l + h F_l(x_l) \quad\to\quad x_{l+1} = x_l$$

    Veit et al. 2016, arXiv 1605.06431, section 4.1. A projection shortcut stays, and so does an
    activation after the sum. A block that is a small step can be dropped; look at the ratios first.

    Args:
        model: Any functional or sequential Keras model with residual blocks and one output of
            shape (batch, classes). It is not changed: its layers are called without the block.
        images: Array of images.
        labels: Integers of shape (images,).
        batch_size: Images per batch.

    Returns:
        A `BlockChanges`.

    Raises:
        ValueError: If the model has no residual block, or an argument is out of range.

    Example:
    >>> import keras_pdenets
    >>> from keras_pdenets.analysis import drop_blocks
    >>> images, labels = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> drop_blocks(model, images[:20], labels[:20]).accuracies.shape
    (9,)
    """
    bench = _Bench(model, images, labels, batch_size)
    changes = {block.name: _dropped(block.total, block.shortcut) for block, _ in bench.blocks}
    return bench.report("drop", changes, bench.ratios)


def swap_blocks(model, images, labels, batch_size=128):
    r"""Accuracy of a net with two neighbouring blocks swapped, for every such pair.

    $$x_{l+2} = B_{l+1}(B_l(x_l)) \quad\to\quad x_{l+2} = B_l(B_{l+1}(x_l)), \qquad
      B_l(x) = x + h F_l(x)$$

    The two differ by the commutator of the steps, of order h^2; Veit et al. 2016,
    arXiv 1605.06431, section 4.3, shuffle blocks at random. Pairs are consecutive blocks whose
    inputs and outputs have the same shape, and whose inner tensors no other layer reads.

    Args:
        model: As in `drop_blocks`; it is not changed.
        images: Array of images.
        labels: Integers of shape (images,).
        batch_size: Images per batch.

    Returns:
        A `BlockChanges`.

    Raises:
        ValueError: If the model has no residual block or no such pair, or an argument is out of
            range.

    Example:
    >>> import keras_pdenets
    >>> from keras_pdenets.analysis import swap_blocks
    >>> images, labels = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> len(swap_blocks(model, images[:20], labels[:20]).names)
    6
    """
    bench = _Bench(model, images, labels, batch_size)
    changes, ratios = {}, []
    parts = [part for _, part in bench.blocks]
    for index, (first, second) in enumerate(itertools.pairwise(parts)):
        if bench.may_swap(first, second):
            changes[f"{first.name} <-> {second.name}"] = _swapped(first, second)
            ratios.append(max(bench.ratios[index : index + 2]))
    if not changes:
        raise ValueError(
            "`model` must have two neighbouring residual blocks of the same shape. Received: model "
            f"{model.name!r}, whose {len(parts)} blocks have no such pair"
        )
    return bench.report("swap", changes, ratios)


def _dropped(total, shortcut):
    """Changes that replace a sum by its shortcut, and the tensors needed for that."""
    return {id(total): lambda _, known: known[id(shortcut)]}, []


def _swapped(first, second):
    """Changes that replace the second block's output by that of the blocks in reverse order."""
    (start,) = first.inputs
    return {id(second.outputs): lambda _, known: first(second(known[id(start)]))}, [start]


class _Bench:
    """A model and its data, to be run with changes."""

    def __init__(self, model, images, labels, batch_size):
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self.flat = check_model(model)
        # `measure_perturbation` below warns about small pixels.
        self.images = check_images(self.flat, images, warn=False)
        self.labels = check_labels(self.flat, labels, len(self.images))
        self.graph = read_graph(self.flat)
        self.blocks = block_graphs(self.graph)
        report = measure_perturbation(model, self.images, batch_size)
        self.ratios = [block.scaled for block in report.blocks]

    def report(self, change, changes, ratios):
        """The accuracy with each change."""
        accuracies = [self.accuracy(*parts) for parts in changes.values()]
        return BlockChanges(
            change, len(self.images), self.accuracy({}, []), tuple(changes),
            np.array(accuracies), np.array(ratios),
        )  # fmt: skip

    def accuracy(self, changes, kept):
        """Accuracy with some values changed."""
        entry = id(self.flat.inputs[0])

        def outputs(x):
            return self.graph.run({entry: x}, [*self.flat.outputs, *kept], changes)[:1]

        found = [
            evaluate(outputs, x)[0].argmax(axis=1) for (x,) in batches(self.batch_size, self.images)
        ]
        return float(np.mean(np.concatenate(found) == self.labels))

    def may_swap(self, first, second):
        """Whether two blocks are consecutive, of one shape, and not read inside by others."""
        shapes = {tuple(t.shape) for t in (first.inputs[0], first.outputs, second.outputs)}
        alone = len(first.inputs) == len(second.inputs) == 1
        if not alone or first.outputs is not second.inputs[0] or len(shapes) > 1:
            return False
        calls = {id(call): call for call in (*first.calls, *second.calls)}
        inside = {id(t) for call in calls.values() for t in call.outputs} - {id(second.outputs)}
        read = {id(t) for c in self.graph.calls if id(c) not in calls for t in c.inputs}
        return not inside & read
