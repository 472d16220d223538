"""How much a residual net changes its features, block by block."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pdenets.analysis.streams import batches_of, check_finite
from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.graphs.residual import find_blocks
from keras_pdenets.operators.stopping import stopping_rule
from keras_pdenets.utils.checks import check_choice
from keras_pdenets.utils.tables import write_rows


@dataclass(frozen=True)
class BlockPerturbation:
    """How much one block changes its features.

    Args:
        name: Name of its addition layer.
        kind: `"identity"`, `"projection"` or `"subsample"`.
        section: Number of its section.
        post_activation: Whether an activation follows the sum; it counts as part of the block.
        norm: Mean over the images of the norm of the shortcut.
        perturbation: Mean of the norm of the change.
        scaled: Mean of the norm of the change divided by that of the shortcut.
        scaled_error: Standard error of that mean.
        zero_norms: Number of images whose shortcut has norm 0; they are left out of `scaled`.
    """

    name: str
    kind: str
    section: int
    post_activation: bool
    norm: float
    perturbation: float
    scaled: float
    scaled_error: float
    zero_norms: int

    @property
    def measured(self) -> bool:
        """Whether the change is defined: the shortcut is not a projection."""
        return self.kind != "projection"


@dataclass(frozen=True)
class SectionPerturbation:
    """Sums over the blocks of a section without projections.

    Args:
        section: Its number.
        num_blocks: Number of blocks measured.
        distance: Sum of the perturbations, in the unit of the features.
        scaled_distance: Sum of the scaled perturbations.
        largest: Largest scaled perturbation.
    """

    section: int
    num_blocks: int
    distance: float
    scaled_distance: float
    largest: float

    @property
    def mean(self) -> float:
        """Mean scaled perturbation."""
        return self.scaled_distance / self.num_blocks if self.num_blocks else 0.0


@dataclass(frozen=True)
class PerturbationReport:
    """The perturbations of a net.

    Args:
        images: Number of images.
        blocks: One entry for each residual block.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> import keras_pdenets
    >>> x = keras.Input((4, 4, 1))
    >>> block = keras.layers.Add(name="block")([x, 0.2 * x])
    >>> report = keras_pdenets.measure_perturbation(keras.Model(x, block), np.ones((3, 4, 4, 1)))
    >>> print(report)
    1 residual blocks, 3 images
    section 0: 1 blocks, distance 0.8, scaled 0.2000, mean 0.2000, largest 0.2000
    whole net: 1 blocks, distance 0.8, scaled 0.2000, mean 0.2000, largest 0.2000
    """

    images: int
    blocks: tuple[BlockPerturbation, ...]

    @property
    def sections(self) -> tuple[SectionPerturbation, ...]:
        """One entry for each section."""
        numbers = sorted({block.section for block in self.blocks})
        return tuple(self._sum(n, [b for b in self.blocks if b.section == n]) for n in numbers)

    @property
    def total(self) -> SectionPerturbation:
        """The same over the whole net, as section -1."""
        return self._sum(-1, self.blocks)

    @staticmethod
    def _sum(number: int, blocks: Any) -> SectionPerturbation:
        measured = [block for block in blocks if block.measured]
        return SectionPerturbation(
            number,
            len(measured),
            sum(block.perturbation for block in measured),
            sum(block.scaled for block in measured),
            max((block.scaled for block in measured), default=0.0),
        )

    def write_csv(self, path: Any) -> None:
        """Write one row for each block, atomically."""
        write_rows(path, [vars(block) for block in self.blocks])

    def __str__(self) -> str:
        """One line for each section."""
        lines = [f"{len(self.blocks)} residual blocks, {self.images} images"]
        for s in (*self.sections, self.total):
            name = "whole net" if s.section < 0 else f"section {s.section}"
            lines.append(
                f"{name}: {s.num_blocks} blocks, distance {s.distance:.4g}, scaled "
                f"{s.scaled_distance:.4f}, mean {s.mean:.4f}, largest {s.largest:.4f}"
            )
        return "\n".join(lines)


class PerturbationProbe:
    """A model's residual blocks, to be measured repeatedly.

    Args:
        model: A functional or sequential Keras model; it is not changed.
    """

    def __init__(self, model):
        flat = flatten(model)
        self.blocks = find_blocks(flat)
        rows = []
        for block in self.blocks:
            x, y = (ops.cast(t, "float32") for t in (block.shortcut, block.output))
            rows.append(ops.stack([_norm(x), _norm(y - x)], axis=-1))
        # (images, blocks, 2): only kilobytes leave the device, no feature maps.
        self._model = keras.Model(flat.input, ops.stack(rows, axis=1), name="perturbation_probe")

    def measure(self, images, batch_size=128):
        """Measure on an array of images or an iterable of batches."""
        sums = np.zeros((len(self.blocks), 5))
        count = 0
        for batch in batches_of(self._model, images, batch_size):
            values = np.asarray(self._model.predict_on_batch(batch), dtype="float64")
            check_finite(values, self._describe, count)
            norm, change = values[..., 0], values[..., 1]
            positive = norm > 0
            scaled = np.divide(change, norm, out=np.zeros_like(change), where=positive)
            columns = norm, change, scaled, scaled**2, positive
            sums += np.stack([column.sum(axis=0) for column in columns], axis=-1)
            count += len(values)
        return PerturbationReport(
            count, tuple(_entry(b, s, count) for b, s in zip(self.blocks, sums, strict=True))
        )

    def _describe(self, block, what):
        change = "a non-finite change" if what else "non-finite features"
        return f"Block {self.blocks[block].name!r} gives {change}"


def _norm(x):
    return ops.sqrt(ops.sum(ops.square(x), axis=tuple(range(1, len(x.shape)))))


def _entry(block, sums, count):
    norm, change, scaled, squares, positive = sums
    mean = scaled / max(positive, 1)
    variance = max(squares / max(positive, 1) - mean**2, 0.0)
    return BlockPerturbation(
        block.name, block.kind, block.section, block.post_activation,
        norm / count, change / count, mean, float(np.sqrt(variance / max(positive, 1))),
        int(count - positive),
    )  # fmt: skip


def measure_perturbation(model, images, batch_size=128):
    r"""How much every residual block changes the data.

    $$p_l = \|x_{l+1} - x_l\|, \qquad \hat p_l = \|x_{l+1} - x_l\| / \|x_l\|, \qquad
      \hat d = \sum_l \hat p_l$$

    averaged over images; section 4, Hauser 2019, arXiv 1902.04106. Norms are Euclidean, over all
    pixels and channels, computed in float32 inside the graph. A block whose shortcut has weights (a
    projection) has no $x_l$ to compare with: it is listed but left out of the sums. An activation
    after the sum counts as part of its block.

    Args:
        model: Any functional or sequential Keras model with residual blocks, of this package or
            not, nested models included. It is not changed; its layers run in inference mode.
        images: Array of images, or an iterable of batches (also with labels), such as a
            `tf.data.Dataset` or a `keras.utils.PyDataset`.
        batch_size: Images per batch, if `images` is an array.

    Returns:
        A `PerturbationReport`.

    Raises:
        ValueError: If the model has no residual block or no graph, there are no images or they
            have another shape, or the features of a block are not finite (the message names it).

    Example:
    >>> import keras_pdenets
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> report = keras_pdenets.measure_perturbation(model, images[:100])
    >>> [section.num_blocks for section in report.sections]
    [3, 3, 3]
    """
    return PerturbationProbe(model).measure(images, batch_size)


def suggest_depth(model, images, epsilon, statistic="mean", batch_size=128):
    """Number of blocks in each section for a relative change below `epsilon` in every block.

    The stopping rule (`stopping_rule`) applied to the model's present scaled distances. It assumes
    that they do not depend on the depth, which holds for blocks that start at zero or are scaled by
    1/L, but not for shallow nets that start otherwise. Blocks with a projection shortcut have no
    measure; they are not counted in the result.

    Args:
        model: A residual Keras model.
        images: Images, as in `measure_perturbation`.
        epsilon: Bound of the relative change by a block; positive.
        statistic: `"mean"` bounds the mean over the blocks of a section, `"max"` the largest.
        batch_size: Images per batch.

    Returns:
        Tuple with one number for each section.

    Raises:
        ValueError: As in `measure_perturbation` and `stopping_rule`.

    Example:
    >>> import keras_pdenets
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> len(keras_pdenets.suggest_depth(model, images[:100], epsilon=0.2))
    3
    """
    check_choice("statistic", statistic, ("mean", "max"))
    sections = measure_perturbation(model, images, batch_size).sections
    empty = [str(s.section) for s in sections if not s.num_blocks]
    if empty:
        raise ValueError(
            "`model` must have a block without projection in every section, since the change by a "
            f"projection is not defined. Received: none in section {', '.join(empty)}"
        )
    distances = [
        s.scaled_distance if statistic == "mean" else s.num_blocks * s.largest for s in sections
    ]
    return stopping_rule(distances, epsilon)
