"""Pictures in a folder, as an array for a model."""

import keras
import numpy as np

from keras_pdenets.data.resizing import fit_image
from keras_pdenets.data.sources.files import ENDINGS, read_image
from keras_pdenets.utils.checks import check_integer, check_path


def load_pictures(path, shape, count=None, data_format=None):
    """Images without labels: the pictures in a folder and those below it, or a file of an array.

    Args:
        path: A folder of pictures (pixels of 0-255, brought to the size of the model and cut at
            the centre, as in training), or a `.npy` file with images as the model takes them.
        shape: Shape of one image; sides that are open need a file.
        count: Number of pictures, spread evenly over the sorted names; None: all.
        data_format: Order of the axes in `shape`, or None for Keras' default.

    Returns:
        Array of shape (n, *shape), float32 from a folder.

    Raises:
        ValueError: If there is no picture, or the sides are open.
        FileNotFoundError: If there is nothing at `path`.

    Example:
    >>> import tempfile
    >>> import keras
    >>> import keras_pdenets
    >>> folder = tempfile.mkdtemp()
    >>> images, _ = keras_pdenets.data.load_sample()
    >>> for number, image in enumerate(images[:3]):
    ...     keras.utils.save_img(f"{folder}/{number}.png", image)
    >>> keras_pdenets.data.load_pictures(folder, (32, 32, 3)).shape
    (3, 32, 32, 3)
    """
    path = check_path("path", path)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {path}.")
    if path.is_file():
        images = np.load(path, allow_pickle=False)
        return images if count is None else images[: check_integer("count", count, 1)]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS)
    if not files:
        raise ValueError(
            f"`path` must hold pictures ({', '.join(sorted(ENDINGS))}). Received: {path}"
        )
    if count is not None and check_integer("count", count, 1) < len(files):
        files = [files[i] for i in np.linspace(0, len(files) - 1, count).round().astype(int)]
    first = (data_format or keras.config.image_data_format()) == "channels_first"
    channels, *sides = shape if first else (shape[-1], *shape[:-1])
    if len(sides) != 2 or None in (channels, *sides) or channels not in (1, 3):
        raise ValueError(
            "`path` may be a folder only for images of known sides with 1 or 3 channels; else "
            f"give a .npy file. Received: inputs of shape {tuple(shape)}"
        )
    pictures = np.concatenate([fit_image(read_image(file, channels), sides) for file in files])
    return np.moveaxis(pictures, -1, 1) if first else pictures
