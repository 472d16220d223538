"""Pictures in a folder, as an array for a model."""

import keras
import numpy as np

from keras_pdenets.utils.checks import check_integer, check_path

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def load_pictures(path, shape, count=None, data_format=None):
    """Images without labels: the pictures in a folder and those below it, or a file of an array.

    Args:
        path: A folder of pictures (pixels of 0-255, brought to the size of the model), or a `.npy`
            file with images as the model takes them.
        shape: Shape of one image; sides that are open need a file.
        count: Number of pictures, spread evenly over the sorted names; None: all.
        data_format: Order of the axes in `shape`, or None for Keras' default.

    Returns:
        Array of shape (n, *shape), float32 from a folder.

    Raises:
        ValueError: If there is no picture, or the sides are open.
        FileNotFoundError: If there is nothing at `path`.
    """
    path = check_path("path", path)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {path}.")
    if path.is_file():
        images = np.load(path, allow_pickle=False)
        return images if count is None else images[: check_integer("count", count, 1)]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise ValueError(f"`path` must hold pictures ({', '.join(_SUFFIXES)}). Received: {path}")
    if count is not None and check_integer("count", count, 1) < len(files):
        files = [files[i] for i in np.linspace(0, len(files) - 1, count).round().astype(int)]
    first = (data_format or keras.config.image_data_format()) == "channels_first"
    channels, *sides = shape if first else (shape[-1], *shape[:-1])
    if len(sides) != 2 or None in (channels, *sides) or channels not in (1, 3):
        raise ValueError(
            "`path` may be a folder only for images of known sides with 1 or 3 channels; else "
            f"give a .npy file. Received: inputs of shape {tuple(shape)}"
        )
    mode = "grayscale" if channels == 1 else "rgb"
    pictures = (keras.utils.load_img(file, color_mode=mode, target_size=sides) for file in files)
    order = "channels_first" if first else "channels_last"
    return np.stack([keras.utils.img_to_array(picture, order, "float32") for picture in pictures])
