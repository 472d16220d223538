"""What single outputs of a convolution read."""

import numpy as np
from keras import ops

from keras_pdenets.transforms.conversion.targets import pads_of

# Places whose patches are in memory at once: 0.15 GB where 512 channels have 3x3 points.
_AT_ONCE = 4096


def to_images(layer, tensor):
    """A batch of images in NumPy, channels last."""
    array = np.asarray(ops.convert_to_numpy(tensor), "float32")
    return array if layer.data_format == "channels_last" else np.moveaxis(array, 1, -1)


def grid_of(layer, images):
    """Number of a convolution's outputs for images: batch, rows, columns."""
    sides = [
        (side + sum(pads) - (points - 1) * dilation - 1) // stride + 1
        for side, pads, points, dilation, stride in zip(
            images.shape[1:3], pads_of(layer, images.shape[1:3]), layer.kernel_size,
            layer.dilation_rate, layer.strides, strict=True,
        )
    ]  # fmt: skip
    return (len(images), *sides)


def patches(layer, images, places):
    """The pixels that some outputs of a convolution read, in pieces.

    Args:
        layer: A `keras.layers.Conv2D`.
        images: Its inputs, an array with the channels last.
        places: Indices of outputs in the flattened grid of `grid_of`.

    Yields:
        A slice of `places`, and an array of shape (places, points, channels) in float64.
    """
    grid = grid_of(layer, images)
    pads = pads_of(layer, images.shape[1:3])
    padded = np.pad(images, [(0, 0), *pads, (0, 0)])
    (sy, sx), (dy, dx) = layer.strides, layer.dilation_rate
    reach = [(n - 1) * d + 1 for n, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, (1, 2))
    for start in range(0, len(places), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        image, row, column = np.unravel_index(places[part], grid)
        # (places, channels, reach, reach) -> (places, points, channels)
        found = windows[image, row * sy, column * sx][:, :, ::dy, ::dx]
        found = found.reshape(*found.shape[:2], -1).transpose(0, 2, 1)
        yield part, found.astype("float64")


def draw_places(grids, count, rng):
    """Places in several grids, at most so many together, without any twice.

    Args:
        grids: Shapes of the grids.
        count: Number of places.
        rng: NumPy generator.

    Returns:
        List of sorted indices, one array for each grid.
    """
    sizes = [int(np.prod(grid)) for grid in grids]
    total = sum(sizes)
    drawn = np.arange(total) if count >= total else np.sort(rng.choice(total, count, replace=False))
    starts = np.cumsum([0, *sizes])
    cuts = np.searchsorted(drawn, starts)
    return [drawn[a:b] - s for a, b, s in zip(cuts[:-1], cuts[1:], starts[:-1], strict=True)]
