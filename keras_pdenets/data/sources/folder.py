"""A folder of images, one folder for each class."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_pdenets.data.sources.files import ENDINGS, image_size, read_image
from keras_pdenets.data.sources.source import THREADS, Source
from keras_pdenets.utils.checks import check_choice

_LOG = logging.getLogger("keras_pdenets")
TRAIN = "train"
VALIDATIONS = ("validation", "val", "valid")
_TESTS = ("test", *VALIDATIONS)
_TEST_SHARE = 5  # every fifth image of a class, where the folder has no part to test on


class FolderSource(Source):
    """Images in folders that are named after their classes.

    Args:
        files: The files.
        labels: Their labels.
        class_names: Names of the classes.
        channels: 3: colour; 1: shades of grey.
        name: The folder, for messages.
    """

    def __init__(self, files, labels, class_names, channels, name):
        self._files, self._labels = files, np.asarray(labels, "int64")
        self.class_names, self.name = tuple(class_names), str(name)
        self.image_shape = (None, None, channels)

    def __len__(self):
        """Number of images."""
        return len(self._files)

    def read(self, index):
        return read_image(self._files[index], self.image_shape[2]), self._labels[index]

    def read_label(self, index):
        return self._labels[index]

    @property
    def files(self):
        """Paths of the images."""
        return self._files

    @property
    def size(self):
        """Bytes of the images, decoded, as their headers say."""
        with ThreadPoolExecutor(THREADS) as threads:
            sides = threads.map(image_size, self._files)
        return self.image_shape[2] * sum(height * width for height, width in sides)


def from_folder(folder, channels=3, unreadable="error", divide=True):
    """The images of a folder, and how many each split has.

    A folder has one folder for each class, or the folders `train` and `test` (or `val`) that have
    these; where it has no part to test on, every fifth image of each class is that part.

    Args:
        folder: The folder.
        channels: 3: colour; 1: shades of grey.
        unreadable: `"skip"`: open every file beforehand, leave out what cannot be read, and say
            so in the log. `"error"`: such a file is an error when it is read.
        divide: Whether a folder without a part to test on is divided.

    Returns:
        The `FolderSource` of all splits, one after the other, and the number of images of each.

    Raises:
        ValueError: If there is no class, only one, a class without images, or the classes of the
            splits differ.
        FileNotFoundError: If there is no such folder.
    """
    check_choice("unreadable", unreadable, ("error", "skip"))
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"`data` must be a folder that exists. Received: {folder}")
    parts = {name: folder / name for name in (TRAIN, *_TESTS) if (folder / name).is_dir()}
    whole = TRAIN not in parts or len(parts) == 1
    if whole:
        parts = {TRAIN: parts.get(TRAIN, folder)}
    elif "test" not in parts:
        parts = dict(zip((TRAIN, "test"), parts.values(), strict=False))
    splits = {name: _classes(part) for name, part in parts.items()}
    names = list(splits[TRAIN])
    for split, classes in splits.items():
        if list(classes) != names:
            odd = sorted(set(classes) ^ set(names))
            raise ValueError(
                f"The splits of {folder} must have the same classes. Received: {', '.join(odd[:5])}"
                f" in one of {TRAIN} and {split} alone"
            )
    if unreadable == "skip":
        splits = {split: _readable(classes, channels) for split, classes in splits.items()}
    if whole and divide:
        splits = _divide(splits[TRAIN])
    files = [path for classes in splits.values() for paths in classes.values() for path in paths]
    labels = [
        names.index(name) for classes in splits.values() for name in classes for _ in classes[name]
    ]
    lengths = {split: sum(map(len, classes.values())) for split, classes in splits.items()}
    return FolderSource(files, labels, names, channels, folder), lengths


def _classes(folder):
    """Image files of each class, in the order of their names."""
    folders = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    found = {
        path.name: [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
        ]
        for path in folders
    }
    empty = [name for name, files in found.items() if not files]
    if len(found) < 2 or empty:
        received = f"no image in {', '.join(empty[:5])}" if empty else ", ".join(found) or "none"
        raise ValueError(
            f"{folder} must have two folders or more, one for each class, each with images "
            f"({', '.join(sorted(ENDINGS))}). Received: {received}"
        )
    return found


def _divide(classes):
    """Every fifth image of a class for the test, of a class of two or more at least one."""
    few = [name for name, files in classes.items() if len(files) < 2]
    if few:
        raise ValueError(
            f"Every class must have two images or more, one of them to test on. Received: one of "
            f"{', '.join(few[:5])}"
        )
    test = {name: files[1::_TEST_SHARE] for name, files in classes.items()}
    train = {
        name: [file for file in files if file not in set(test[name])]
        for name, files in classes.items()
    }
    return {TRAIN: train, "test": test}


def _readable(classes, channels):
    """The files that can be read; the others are named in the log."""
    kept = {}
    for name, files in classes.items():
        with ThreadPoolExecutor(THREADS) as threads:
            errors = list(threads.map(lambda path: _error(path, channels), files))
        for error in filter(None, errors):
            _LOG.warning("Left out: %s", error)
        kept[name] = [file for file, error in zip(files, errors, strict=True) if error is None]
        if not kept[name]:
            raise ValueError(f"None of the {len(files)} images of {name} can be read: {errors[0]}")
    return kept


def _error(path, channels):
    try:
        read_image(path, channels)
    except ValueError as error:
        return str(error)
    return None
