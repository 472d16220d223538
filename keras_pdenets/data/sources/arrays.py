"""Arrays and `.npz` files of a user, checked."""

import zipfile

import numpy as np

from keras_pdenets.data.sources.source import ArraySource
from keras_pdenets.utils.text import shown

_SPLITS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
_WHOLE = ("images", "labels")


def from_arrays(images, labels, name="the arrays", class_names=None):
    """A source of arrays.

    Args:
        images: Shape (n, height, width) or (n, height, width, channels): integers of 0-255, or
            floats, which are taken as they are.
        labels: Integers from 0, of shape (n,) or (n, 1).
        name: What they are, for messages.
        class_names: Names of the classes.

    Raises:
        ValueError: If they are not; the message says what was received.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., None]
    kind = images.dtype.kind
    if images.ndim != 4 or kind not in "uif" or images.dtype.itemsize > 8 or not images.size:
        raise ValueError(
            "`images` must be numbers of shape (n, height, width, channels) or (n, height, width). "
            f"Received: {name} with {images.dtype} of shape {images.shape}"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "ui":
        raise ValueError(
            f"`labels` must be {len(images)} integers, one for each image. "
            f"Received: {name} with {labels.dtype} of shape {labels.shape}"
        )
    scale = 1 / 257 if images.dtype == "uint16" else None
    return ArraySource(name, images, labels, class_names, scale)


def from_npz(path):
    """Splits of an `.npz` file, by name.

    It holds `x_train`, `y_train`, `x_test` and `y_test`, as the files of `keras.datasets` do, or
    `images` and `labels`, which are one split whatever its name; `class_names` may be there too.

    Raises:
        ValueError: If the file cannot be read or lacks these arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a file of arrays: {error}") from error
    names = arrays.get("class_names")
    names = None if names is None else tuple(map(str, names))
    splits = {
        split: from_arrays(*(arrays[key] for key in keys), f"{path} ({keys[0]})", names)
        for split, keys in _SPLITS.items()
        if all(key in arrays for key in keys)
    }
    if not splits and all(key in arrays for key in _WHOLE):
        return {None: from_arrays(*(arrays[key] for key in _WHOLE), str(path), names)}
    if not splits:
        raise ValueError(
            "`data` must be an .npz file with x_train, y_train, x_test and y_test, or images and "
            f"labels. Received: {path} with {shown(sorted(arrays))}"
        )
    return splits
