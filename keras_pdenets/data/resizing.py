"""Images brought to a size, all of a batch at once."""

import functools
import math

import numpy as np
from scipy import sparse

_RESIZE_MARGIN = 256 / 224  # the shorter side before the crop, as in ResNet's protocol


@functools.lru_cache(maxsize=512)
def _weights(before, after):
    """The triangle filter from `before` to `after` pixels, widened where it shrinks.

    That of `tf.image.resize` with `antialias=True` and of Pillow: pixels are areas, whose centres
    lie at i + 1/2.
    """
    scale = before / after
    radius = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale - 0.5
    columns = np.floor(centres - radius).astype(int)[:, None] + np.arange(2 * math.ceil(radius) + 2)
    values = np.clip(1.0 - np.abs(columns - centres[:, None]) / radius, 0.0, None)
    values[(columns < 0) | (columns >= before)] = 0.0
    values /= values.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(after), columns.shape[1])
    used = values.ravel() > 0
    places = rows[used], columns.ravel()[used]
    matrix = sparse.csr_matrix((values.ravel()[used], places), shape=(after, before))
    return matrix.astype("float32")


def resize(images, height, width):
    """Images (n, h, w, c), float32, in another size."""
    for axis, side in ((1, height), (2, width)):
        if images.shape[axis] != side:
            moved = np.moveaxis(images, axis, 0)
            matrix = _weights(moved.shape[0], side)
            flat = matrix @ np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
            images = np.moveaxis(flat.reshape(side, *moved.shape[1:]), 0, axis)
    return images


def to_square(images, size, square):
    """Images in a square size; those that need not be square are cut at the centre.

    Args:
        images: Shape (n, h, w, c), float32.
        size: Side of the square.
        square: Whether all images of the set are square.
    """
    height, width, top, left = _window(*images.shape[1:3], size, square)
    return resize(images, height, width)[:, top : top + size, left : left + size]


def square_weights(height, width, size, square):
    """What `to_square` does to rows and to columns: matrices (size, height), (size, width)."""
    new_height, new_width, top, left = _window(height, width, size, square)
    return (
        _weights(height, new_height).toarray()[top : top + size],
        _weights(width, new_width).toarray()[left : left + size],
    )


def _window(height, width, size, square):
    """Sides that an image is brought to, and the top and left of the square in it."""
    if square:
        return size, size, 0, 0
    scale = size * _RESIZE_MARGIN / min(height, width)
    height, width = (math.ceil(round(side * scale, 6)) for side in (height, width))
    return height, width, (height - size) // 2, (width - size) // 2


def fit_image(pixels, sides):
    """One image (h, w, c) as a batch for a model of sides (height, width), float32.

    A square image shows a square model all that it has, as in the sets of which all are square.
    """
    image = pixels[None].astype("float32")
    if sides[0] == sides[1]:
        return to_square(image, sides[0], square=image.shape[1] == image.shape[2])
    return resize(image, *sides)
