"""Batches of images that lie on the accelerator, and are mirrored, cropped and resized there."""

import keras
import numpy as np
from keras import ops

from keras_pdenets.data.augmentation import AREA
from keras_pdenets.data.batches import Batches
from keras_pdenets.data.resizing import square_weights


class DeviceBatches(Batches):
    """The batches of `Batches`, to rounding, of which the host draws the random numbers alone.

    All images go to the device once, in their own precision; for a batch, four integers an image
    follow. On TensorFlow Keras takes the finished batches through the host all the same.

    Args:
        source: An `ArraySource` of one array.
        batch_size: As in `Batches`.
        change: As in `Batches`; no random areas.
        shuffle: As in `Batches`.

    Raises:
        ValueError: If the images are not one array in memory, or the change is not for a device.
    """

    def __init__(self, source, batch_size, change, shuffle):
        super().__init__(source, batch_size, change, shuffle)
        if not (source.in_memory and isinstance(source.images, np.ndarray)):
            raise ValueError(
                "`data_on` may be 'device' only where the images fit in memory and have one shape. "
                f"Received: {source.name}, with {len(source)} images of shape {source.image_shape}"
            )
        if change.crop == AREA:
            raise ValueError(f"`data_on` must be 'host' for crops of random areas (crop={AREA!r}).")
        self._images = ops.convert_to_tensor(source.images)
        self._apply = _compiled(_steps(change, source.image_shape))

    def _read(self, places):
        """Images, a tensor on the device, and labels at places of the epoch."""
        chosen, (flips, corners) = self._order[places], self._draws
        rows = np.zeros((len(places), 4), "int32")  # number, mirrored, top, left
        rows[:, 0] = chosen
        if flips is not None:
            rows[:, 1] = flips[places]
        if corners is not None:
            rows[:, 2:] = corners[places]
        return self._apply(self._images, rows), self._checked(self.source.labels[chosen])


def _steps(change, shape):
    """A function of all images (n, h, w, c) and rows (b, 4) that gives a batch."""
    height, width, channels = shape
    margin = change.crop or 0
    resized = change.size is not None and (height, width) != (change.size, change.size)
    filters = square_weights(height, width, change.size, change.square) if resized else None

    def batch(images, rows):
        number, mirrored, top, left = (rows[:, i, None] for i in range(4))  # (b, 1)
        i = top - margin + ops.arange(height, dtype="int32")  # (b, h)
        j = left - margin + ops.arange(width, dtype="int32")  # (b, w)
        inside = _within(i, height)[:, :, None] & _within(j, width)[:, None, :]
        i = ops.clip(i, 0, height - 1)
        j = ops.clip(ops.where(mirrored > 0, width - 1 - j, j), 0, width - 1)
        place = ((number * height + i) * width)[:, :, None] + j[:, None, :]
        pixels = ops.take(ops.reshape(images, (-1, channels)), place, axis=0)  # (b, h, w, c)
        pixels = ops.where(inside[..., None], ops.cast(pixels, "float32"), 0.0)
        if filters is not None:
            pixels = ops.einsum("yh,bhwc->bywc", filters[0], pixels)
            pixels = ops.einsum("xw,bywc->byxc", filters[1], pixels)
        return pixels if change.scale is None else pixels * change.scale

    return batch


def _within(index, count):
    return ops.logical_and(index >= 0, index < count)


def _compiled(function):
    """A function of tensors, compiled where the backend can."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    return lambda images, rows: function(images, ops.convert_to_tensor(rows))
