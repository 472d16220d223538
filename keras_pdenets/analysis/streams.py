"""Batches of images for a net, and checks of its outputs."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_pdenets.builders.pixels import warn_of_small_pixels
from keras_pdenets.utils.checks import check_integer


def batches_of(model, images, batch_size) -> Iterator[Any]:
    """Batches of images that the model takes.

    Args:
        model: A functional model with one input.
        images: Array of images, or an iterable of batches (also with labels), such as a
            `tf.data.Dataset` or a `keras.utils.PyDataset`.
        batch_size: Images per batch, if `images` is an array.

    Raises:
        ValueError: If there are no images, or a batch has another shape than the model's input.
    """
    batch_size = check_integer("batch_size", batch_size, 1)
    if not isinstance(images, Iterable) and not _indexed(images):
        raise ValueError(
            "`images` must be an array of images, or an iterable of batches. "
            f"Received: {type(images).__name__}"
        )
    count, largest = 0, 0.0
    wanted = tuple(model.inputs[0].shape)[1:]
    for batch in _batches(images, batch_size):
        given = tuple(np.shape(batch))
        # Keras itself adds a channel axis.
        if not any(_fits(shape, wanted) for shape in (given, (*given, 1))):
            raise ValueError(
                f"`images` must be of shape {('n', *wanted)}, as the model takes them. "
                f"Received: shape {given}"
            )
        if len(batch):
            count += len(batch)
            if largest <= 1:  # not yet known to be pixels of 0-255
                largest = max(largest, float(np.max(np.asarray(batch))))
            yield batch
    if not count:
        raise ValueError("`images` must hold at least one image. Received: none")
    warn_of_small_pixels(model, largest)


def _indexed(images):
    return hasattr(images, "num_batches")  # a keras.utils.PyDataset


def _batches(images, batch_size):
    if hasattr(images, "shape"):
        # An empty array is one batch, whose shape is checked.
        for start in range(0, max(len(images), 1), batch_size):
            yield images[start : start + batch_size]
        return
    batches = images if not _indexed(images) else (
        images[i] for i in range(images.num_batches)
    )  # fmt: skip
    for batch in batches:
        yield np.asarray(batch[0] if isinstance(batch, tuple | list) else batch)


def _fits(shape, wanted):
    return len(shape) == len(wanted) + 1 and all(
        side in (None, size) for side, size in zip(wanted, shape[1:], strict=True)
    )


def check_finite(values, describe, first):
    """Raise ValueError for the first place, in depth, where a value is not finite.

    Args:
        values: Array of shape (images, places, ...).
        describe: Function of the indices after the image's that says what is wrong there.
        first: Number of the first image.
    """
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        image, *place = bad[bad[:, 1].argmin()]
        raise ValueError(
            f"{describe(*place)} for image {first + image}: the net has diverged, or the image "
            "contains NaN."
        )
