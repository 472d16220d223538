"""What the page needs to draw features: the planes of their ways, and colours for channels."""

from dataclasses import dataclass

import numpy as np

from keras_pdenets.analysis import trajectories

_DIGITS = 4


@dataclass(frozen=True)
class Ways:
    """The ways through a net, for the page.

    Args:
        record: One entry for each stage: the classes' ways, the shares of the variance, and how
            channels become colours.
        planes: The directions of all stages in a row, in 16 bits.
    """

    record: list[dict]
    planes: bytes


def find_ways(model, watched, images, labels, batch_size=50):
    """Measure the ways of the classes, and the colours of the channels, on some images.

    Channels become colours by their three principal components over all places and pixels of a
    stage, so that a colour means the same from block to block.

    Args:
        model: The net.
        watched: Its `WatchedNet`.
        images: Array of images.
        labels: Their classes.
        batch_size: Images in a step.

    Returns:
        `Ways`.
    """
    stages = trajectories(model, images, labels, batch_size).stages
    colours = _colours(watched, images[:batch_size], [len(stage.names) for stage in stages])
    record = [
        {
            # (blocks, classes, 2)
            "classes": _rounded(stage.coordinates),
            "offset": _rounded(stage.directions @ stage.centre, 8),
            "explained": _rounded(stage.explained),
            "places": len(stage.names),
            **colour,
        }
        for stage, colour in zip(stages, colours, strict=True)
    ]
    planes = b"".join(stage.directions.astype("<f2").tobytes() for stage in stages)
    return Ways(record, planes)


def _colours(watched, images, counts):
    """For each stage the mean of the channels, three directions, and the reach of each."""
    features = watched.model.predict(watched.inputs(images), verbose=0)[2:]
    found, start = [], 0
    for count in counts:
        group = features[start : start + count]
        start += count
        # (blocks, n, h, w, c) -> (pixels, c)
        pixels = np.concatenate([f.reshape(-1, f.shape[-1]) for f in group]).astype("float64")
        mean = pixels.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(pixels.T))
        axes = vectors[:, ::-1][:, :3].T  # (3, c), the largest first
        step = images.shape[1] // group[0].shape[1]
        light = images[:, ::step, ::step, 0] - images.mean()
        # Light where the picture is: (n, h, w, c) x (3, c) -> (3,)
        axes *= np.sign(np.einsum("nhwc,kc,nhw->k", group[0] - mean, axes, light))[:, None]
        reach = 2 * np.sqrt(np.maximum(values[::-1][:3], 1e-12))
        found.append({"mean": _rounded(mean), "axes": _rounded(axes), "reach": _rounded(reach)})
    return found


def _rounded(values, digits=_DIGITS):
    """Nested lists of numbers with so many digits."""
    if np.ndim(values):
        return [_rounded(value, digits) for value in values]
    return float(f"{values:.{digits}g}")
