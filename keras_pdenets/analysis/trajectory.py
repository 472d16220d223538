"""Trajectories of images through a net, in their two principal directions."""

from dataclasses import dataclass
from itertools import groupby

import keras
import numpy as np

from keras_pdenets.analysis.feature_maps import feature_maps
from keras_pdenets.analysis.inputs import batches, check_images, check_integers, check_model
from keras_pdenets.analysis.streams import check_finite
from keras_pdenets.utils.tables import write_rows


@dataclass(frozen=True, eq=False)
class StageTrajectories:
    """Trajectories through the blocks of one stage.

    Args:
        names: Names of the blocks.
        coordinates: Along the two principal directions; shape (blocks, classes or images, 2).
        explained: Share of the variance along each direction; shape (2,).
        centre: Mean of the points, of shape (features,): the origin of the coordinates.
        directions: The two directions, of shape (2, features), by which other features are
            projected: `(features - centre) @ directions.T`.
    """

    names: tuple[str, ...]
    coordinates: np.ndarray
    explained: np.ndarray
    centre: np.ndarray
    directions: np.ndarray


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Trajectories through a net.

    Args:
        images: Number of images.
        classes: Class of each trajectory; None if each is that of an image.
        stages: One entry for each stage of constant width.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.analysis import trajectories
    >>> x = keras.Input((4, 4, 2))
    >>> one = keras.layers.Add(name="one")([x, 0.5 * x])
    >>> model = keras.Model(x, keras.layers.Add(name="two")([one, 0.5 * one]))
    >>> ways = trajectories(model, np.random.default_rng(0).normal(size=(6, 4, 4, 2)))
    >>> [(stage.names, stage.coordinates.shape) for stage in ways.stages]
    [(('one', 'two'), (2, 6, 2))]
    """

    images: int
    classes: tuple[int, ...] | None
    stages: tuple[StageTrajectories, ...]

    def write_csv(self, path):
        """Write one row for each block and trajectory, atomically."""
        kind = "image" if self.classes is None else "class"
        rows = []
        for number, stage in enumerate(self.stages):
            for name, line in zip(stage.names, stage.coordinates, strict=True):
                ways = range(len(line)) if self.classes is None else self.classes
                rows += [
                    {"stage": number, "block": name, kind: way, "x": x, "y": y}
                    for way, (x, y) in zip(ways, line, strict=True)
                ]
        write_rows(path, rows)


def trajectories(model, images, labels=None, batch_size=32):
    r"""Trajectories of the classes through a net, in the two directions of largest variance.

    $$m_{tk} = \frac{1}{n_k} \sum_{i:\, y_i = k} u_t^{(i)}, \qquad
      z_{tk} = (m_{tk} - \bar m)\, (v_1, v_2)$$

    Figure 4(c), Yin et al. 2019, arXiv 1904.07568: the outputs of the blocks in two principal
    components. $v_1, v_2$ are the principal directions of all $m_{tk}$ of a stage. Features of
    different shape cannot be compared, so each stage (consecutive blocks whose outputs have one
    shape) has its own directions, and the trajectories of two stages do not join.

    Deviation: the paper does not say whether it shows single images or means; here they are class
    means, or the images themselves without labels. Signs are such that the coordinate of largest
    modulus is positive.

    Args:
        model: Any functional or sequential Keras model, nested models included. It is not changed;
            its layers run in inference mode. For a net without residual blocks, the outputs of its
            activations are used.
        images: Array of images.
        labels: Their classes, integers of shape (n,); None: a trajectory for every image.
        batch_size: Images per batch. The features of all blocks are held for one batch; without
            labels, for all images.

    Returns:
        `Trajectories`, in the unit of the features.

    Raises:
        ValueError: If the model has no graph, or neither blocks nor activations; the data do not
            fit it; or features are not finite (the message names the block).

    Example:
    >>> import keras_pdenets
    >>> images, labels = keras_pdenets.data.load_sample()
    >>> model = keras_pdenets.PreActResNet20(weights="hub")
    >>> ways = keras_pdenets.analysis.trajectories(model, images[:100], labels[:100])
    >>> [stage.coordinates.shape for stage in ways.stages]
    [(3, 10, 2), (3, 10, 2), (3, 10, 2)]
    """
    flat = check_model(model)
    places = [place for place in feature_maps(flat) if place.kind != "convolution"]
    if not places:
        raise ValueError(
            f"`model` must have residual blocks or activations. Received: {model.name!r} with none"
        )
    images = check_images(flat, images)
    if labels is None:
        classes, groups = None, np.arange(len(images))
    else:
        found, groups = np.unique(check_integers(labels, len(images)), return_inverse=True)
        classes = tuple(int(label) for label in found)
    means = _means(flat, places, images, groups, batch_size)
    stages = []
    # A section may end on a coarser grid, with features of another shape.
    shapes = [(place.section, tuple(place.output.shape)) for place in places]
    for _, group in groupby(range(len(places)), shapes.__getitem__):
        chosen = list(group)
        stages.append(_project([places[i].name for i in chosen], [means[i] for i in chosen]))
    return Trajectories(len(images), classes, tuple(stages))


def _means(flat, places, images, groups, batch_size):
    """Mean features of every group of images at every place, each of shape (groups, features)."""
    probe = keras.Model(flat.input, [p.output for p in places], name="trajectory_probe")
    sums = [None] * len(places)
    for start, (batch, members) in enumerate(batches(batch_size, images, groups)):
        outputs = keras.tree.flatten(probe.predict_on_batch(batch))
        for i, output in enumerate(outputs):
            features = np.asarray(output, "float64").reshape(len(output), 1, -1)
            what = f"{places[i].name!r} gives non-finite features"
            check_finite(features, lambda *_, what=what: what, start * batch_size)
            if sums[i] is None:
                sums[i] = np.zeros((groups.max() + 1, features.shape[-1]))
            np.add.at(sums[i], members, features[:, 0])
    return [total / np.bincount(groups)[:, None] for total in sums]


def _project(names, means):
    """A stage's points along their two principal directions."""
    points = np.concatenate(means)  # (blocks * groups, features)
    centre = points.mean(axis=0)
    left, sizes, right = np.linalg.svd(points - centre, full_matrices=False)
    coordinates, explained = np.zeros((len(points), 2)), np.zeros(2)
    directions = np.zeros((2, len(centre)))
    for axis, size in enumerate(sizes[:2]):
        along = size * left[:, axis]
        sign = np.sign(along[np.abs(along).argmax()])
        coordinates[:, axis], directions[axis] = along * sign, right[axis] * sign
        explained[axis] = size**2 / max((sizes**2).sum(), np.finfo("float64").tiny)
    return StageTrajectories(
        tuple(names), coordinates.reshape(len(names), -1, 2), explained, centre, directions
    )
