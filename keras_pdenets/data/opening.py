"""Data of a user: a folder of images, an `.npz` file, arrays."""

import os
import re

import numpy as np

from keras_pdenets.data.pipelines import ImageSet
from keras_pdenets.data.sources.arrays import from_arrays, from_npz
from keras_pdenets.data.sources.folder import TRAIN, from_folder
from keras_pdenets.data.sources.source import SomeOf
from keras_pdenets.data.sources.splits import take_split
from keras_pdenets.utils.checks import check_path
from keras_pdenets.utils.text import shown

_KINDS = (
    "a folder of images by class, an .npz file, or two pairs of arrays, "
    "((images, labels), (test_images, test_labels))"
)


def open_data(data, channels=3, unreadable="error"):
    """The images to train on and those to measure on, two `ImageSet`s.

    Args:
        data: A folder (`sources.folder.from_folder`), an `.npz` file (`sources.arrays.from_npz`,
            whose splits are `train` and `test`), two pairs of arrays, or two `ImageSet`s.
        channels: Channels that files of images are read with.
        unreadable: As in `from_folder`.

    Raises:
        ValueError: If it is none of these.
        FileNotFoundError: If there is no such file or folder.
    """
    if isinstance(data, str | os.PathLike):
        path = check_path("data", data)
        if path.is_dir():
            splits = split_folder(path, channels, unreadable)
            return splits[TRAIN], splits["test"]
        if not path.exists():
            raise FileNotFoundError(f"`data` must be {_KINDS}. There is nothing at {path}")
        arrays = from_npz(path)
        if "train" not in arrays or "test" not in arrays:
            raise ValueError(f"`data` must hold images to test on: {path} has one split only.")
        return ImageSet(arrays["train"]), ImageSet(arrays["test"])
    try:
        (images, labels), (test_images, test_labels) = data
    except (TypeError, ValueError):
        if isinstance(data, tuple) and [isinstance(part, ImageSet) for part in data] == [True] * 2:
            return data
        raise ValueError(f"`data` must be {_KINDS}. Received: {shown(type(data))}") from None
    return (
        ImageSet(from_arrays(images, labels, "the images to train on")),
        ImageSet(from_arrays(test_images, test_labels, "the images to test on")),
    )


def open_test(data, channels, class_names, unreadable="error"):
    """Images to measure a net on, an `ImageSet`.

    Args:
        data: A folder of images by class, or an `.npz` file; its part `test` where it has one,
            else all.
        channels: Channels that files of images are read with.
        class_names: Names of the net's classes, which those of a folder are looked up among, in
            letters and digits alone; empty: the folder's, in their order, are those.
        unreadable: As in `from_folder`.

    Raises:
        ValueError: If it is neither, or has a class that the net has not.
        FileNotFoundError: If there is nothing at the path.
    """
    path = check_path("data", data)
    if not path.exists():
        raise FileNotFoundError(f"`data` must be a folder or an .npz file. Nothing is at {path}")
    if path.is_file():
        splits = from_npz(path)
        return ImageSet(splits.get("test") or next(iter(splits.values())))
    source, lengths = from_folder(path, channels, unreadable, divide=False)
    source = take_split(source, lengths, "test" if "test" in lengths else TRAIN)
    if not class_names:
        return ImageSet(source)
    numbers = {_key(name): number for number, name in enumerate(class_names)}
    strange = [name for name in source.class_names if _key(name) not in numbers]
    if strange:
        raise ValueError(
            f"`data` must have folders that are named after classes of the net, such as "
            f"{', '.join(class_names[:5])}. Received: {', '.join(strange[:5])}"
        )
    new = np.array([numbers[_key(name)] for name in source.class_names])
    places = np.arange(len(source))
    labels = new[[source.read_label(place) for place in places]]
    return ImageSet(SomeOf(source, places, labels, tuple(class_names)))


def _key(name):
    """A name as folders can have it: "T-shirt/top" may be `t_shirt_top` there."""
    return re.sub(r"[\W_]+", "_", name).lower()


def split_folder(folder, channels=3, unreadable="error"):
    """The `ImageSet` of each split of a folder."""
    source, lengths = from_folder(folder, channels, unreadable)
    return {split: ImageSet(take_split(source, lengths, split)) for split in lengths}


def check_fits(images, channels, classes):
    """Raise ValueError unless an `ImageSet` has a net's channels, and no class that it has not."""
    if images.image_shape[-1] != channels:
        raise ValueError(
            f"`data` must have images of {channels} channel(s), as the net takes them. "
            f"Received: {images.image_shape[-1]}"
        )
    found = images.classes
    if found > classes:
        raise ValueError(
            f"`data` must have at most the {classes} classes of the net. Received: {found} classes"
        )
