"""Norms of the loss's gradient along the depth of a net."""

from dataclasses import dataclass

import numpy as np
from keras import ops

from keras_pdenets.analysis.derivatives import evaluate, vjp
from keras_pdenets.analysis.inputs import batches, check_images, check_labels, check_model
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.graphs.residual import block_graphs
from keras_pdenets.utils.checks import check_integer


@dataclass(frozen=True)
class GradientNorms:
    """Norms of the gradient of each image's loss.

    Args:
        blocks: Names of the residual blocks, in order.
        inputs: Norms of the gradient by the input of each block, of shape (blocks, images).
        outputs: By its output, after an activation that follows the sum; the same shape.
        losses: Losses, of shape (images,).

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.analysis import gradient_norms
    >>> x = keras.Input((4, 4, 1))
    >>> block = keras.layers.Add(name="block")([x, 2.0 * x])
    >>> pooled = keras.layers.GlobalAveragePooling2D()(block)
    >>> model = keras.Model(x, keras.layers.Dense(2)(pooled))
    >>> norms = gradient_norms(model, np.ones((5, 4, 4, 1)), np.zeros(5, int))
    >>> norms.blocks, (norms.inputs / norms.outputs).round(3)  # 1 + 2, for each image
    (('block',), array([[3., 3., 3., 3., 3.]]))
    """

    blocks: tuple[str, ...]
    inputs: np.ndarray
    outputs: np.ndarray
    losses: np.ndarray

    def __str__(self) -> str:
        """One line for each block: mean and standard deviation over the images."""
        lines = [f"{len(self.losses)} images, mean loss {self.losses.mean():.4g}"]
        for name, before, behind in zip(self.blocks, self.inputs, self.outputs, strict=True):
            lines.append(
                f"{name}: input {before.mean():.4g} +- {before.std():.2g}, "
                f"output {behind.mean():.4g} +- {behind.std():.2g}"
            )
        return "\n".join(lines)


def gradient_norms(model, images, labels, from_logits=None, batch_size=64):
    r"""The norm of the loss's gradient at the input and the output of every residual block.

    $$g_l(x) = \Bigl\| \frac{\partial}{\partial x_l} \bigl(-\log p_y(x)\bigr) \Bigr\|_2$$

    for each image x with label y, in inference mode, where images are independent. Norms are over
    all pixels and channels; in a net with small steps they are nearly constant within a section.

    Args:
        model: Any functional or sequential Keras model with residual blocks and one output of
            shape (batch, classes). It is not changed.
        images: Array of images.
        labels: Integers of shape (images,).
        from_logits: Whether the model's outputs are logits; None: unless those for the first images
            are probabilities (non-negative, with sum 1).
        batch_size: Images per batch.

    Returns:
        A `GradientNorms`.

    Raises:
        ValueError: If the model has no residual block, an argument is out of range, or a result is
            not finite.

    Example:
    >>> import keras_pdenets
    >>> from keras_pdenets.analysis import gradient_norms
    >>> images, labels = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> gradient_norms(model, images[:8], labels[:8]).outputs.shape
    (9, 8)
    """
    check_integer("batch_size", batch_size, 1)
    flat = check_model(model)
    images = check_images(flat, images)
    labels = check_labels(flat, labels, len(images))
    graph, entry = read_graph(flat), id(flat.inputs[0])
    blocks = [part for _, part in block_graphs(graph)]
    # A tensor between two blocks is mostly the output of one and the input of the next.
    places = {id(t): t for block in blocks for t in (block.inputs[0], block.outputs)}
    *features, first = evaluate(
        lambda x: graph.run({entry: x}, [*places.values(), *flat.outputs]), images[:batch_size]
    )
    shapes = [feature.shape[1:] for feature in features]
    if from_logits is None:
        from_logits = not _are_probabilities(first)

    def losses(*values):
        *moves, x, y = values
        changes = dict(zip(places, map(_adding, moves), strict=True))
        (output,) = graph.run({entry: x}, flat.outputs, changes)
        return _cross_entropy(output, y, from_logits)

    pull, norms, found = vjp(losses), [], []
    for x, y in batches(batch_size, images, labels):
        moves = [np.zeros((len(x), *shape), "float32") for shape in shapes]
        value, gradients = pull(moves, np.ones(len(x), "float32"), x, y)
        flats = [g.reshape(len(x), -1).astype("float64") for g in gradients]
        norms.append([np.linalg.norm(g, axis=1) for g in flats])
        found.append(value.astype("float64"))
    along = dict(zip(places, np.concatenate(norms, axis=1), strict=True))
    result = GradientNorms(
        tuple(block.name for block in blocks),
        np.stack([along[id(block.inputs[0])] for block in blocks]),
        np.stack([along[id(block.outputs)] for block in blocks]),
        np.concatenate(found),
    )
    if not (np.isfinite(result.losses).all() and np.isfinite(result.inputs).all()):
        raise ValueError(
            "The loss or its gradient is not finite: the net has diverged, or a class has "
            "probability 0 (which a model that returns logits avoids)."
        )
    return result


def _adding(move):
    return lambda value, _: value + ops.cast(move, value.dtype)


def _are_probabilities(outputs):
    sums = outputs.astype("float64").sum(axis=1)
    # In half precision, sums are within 1 %.
    return bool((outputs >= 0).all() and np.allclose(sums, 1, atol=1e-2))


def _cross_entropy(outputs, labels, from_logits):
    """Loss of each image, without the clipping of probabilities at 1e-7 in Keras' loss."""
    outputs = ops.cast(outputs, "float32")
    chosen = ops.one_hot(labels, outputs.shape[1], dtype="float32")
    if from_logits:
        return -ops.sum(ops.log_softmax(outputs, axis=-1) * chosen, axis=-1)
    return -ops.log(ops.sum(outputs * chosen, axis=-1))
