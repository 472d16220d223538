"""A folder of own images as the sets that a net is fine-tuned, chosen and tested on."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.data import ImageSet
from keras_pdenets.data.resizing import fit_image
from keras_pdenets.data.sources.files import channels_of
from keras_pdenets.data.sources.folder import TRAIN, VALIDATIONS, from_folder
from keras_pdenets.data.sources.source import IN_MEMORY_BYTES, THREADS, ArraySource, SomeOf, Source


@dataclass(frozen=True)
class Images:
    """The images of a folder.

    Args:
        train: Those to train on.
        validation: Those that choose the epoch.
        test: Those of the folder's own `test`, if it has a `validation` too or is divided by us.
        class_names: Names of the classes.
        channels: 3: colour; 1: shades of grey.
        digest: SHA-256 of names and sizes of the files, and of what set each is in.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet | None
    class_names: tuple[str, ...]
    channels: int
    digest: str

    @property
    def sets(self):
        """The sets by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: images for name, images in named.items() if images is not None}


class Squares(Source):
    """Images brought to squares of one size, as `predict` brings them.

    Args:
        source: The images.
        side: The side in pixels.
    """

    def __init__(self, source, side):
        self._source, self._side = source, side
        self.name, self.class_names = source.name, source.class_names
        self.image_shape = (side, side, source.image_shape[2])

    def __len__(self):
        """Number of images."""
        return len(self._source)

    def read(self, index):
        image, label = self._source.read(index)
        square = fit_image(image, (self._side, self._side))[0]
        return np.rint(np.clip(square, 0, 255)).astype("uint8"), label

    def read_label(self, index):
        return self._source.read_label(index)


def open_images(folder, side, channels, share, seed, unreadable, verbose):
    """The images of a folder.

    Args:
        folder: As in `finetune`.
        side: Side that the images are brought to.
        channels: 1, 3, or None: 1 where every file is in shades of grey.
        share: Share of each class that chooses the epoch, where the folder has no such part.
        seed: Seed of that division.
        unreadable: As in `from_folder`.
        verbose: Whether a bar shows how far the reading is.

    Raises:
        ValueError: If there are fewer than two classes, a class has too few images, or a file
            cannot be read.
        FileNotFoundError: If there is no such folder.
    """
    source, lengths = from_folder(folder, 3, unreadable, divide=False)
    if channels is None:
        channels = max(map(channels_of, source.files))
    source.image_shape = (None, None, channels)
    parts = _parts(source, lengths, Path(folder), share, seed)
    held = _read(Squares(source, side), verbose)
    sets = {name: ImageSet(SomeOf(held, places)) for name, places in parts.items()}
    return Images(
        sets[TRAIN], sets["validation"], sets.get("test"), source.class_names, channels,
        _digest(source.files, parts, Path(folder)),
    )  # fmt: skip


def _parts(source, lengths, folder, share, seed):
    """Numbers of the images of each set."""
    places, begin = {}, 0
    for name, length in lengths.items():
        places[name] = np.arange(begin, begin + length)
        begin += length
    own = next((name for name in VALIDATIONS if (folder / name).is_dir()), None)
    if own is not None and TRAIN in places and len(places) > 1:
        # `from_folder` calls the only part beside `train` the test.
        validation = places.pop(own) if own in places else places.pop("test")
        return places | {"validation": validation}
    labels = np.array([source.read_label(i) for i in places[TRAIN]])
    few = [name for i, name in enumerate(source.class_names) if (labels == i).sum() < 2]
    if few:
        raise ValueError(
            "Every class must have two images or more, one of them to choose the epoch by. "
            f"Received: one of {', '.join(few[:5])}"
        )
    chosen = []
    for label in range(len(source.class_names)):
        order = np.random.default_rng([seed, label]).permutation(places[TRAIN][labels == label])
        chosen.append(order[: min(len(order) - 1, max(1, round(share * len(order))))])
    validation = np.sort(np.concatenate(chosen))
    return places | {TRAIN: np.setdiff1d(places[TRAIN], validation), "validation": validation}


def _read(source, verbose):
    """The images in memory where they fit there; a file that cannot be read is named."""
    if source.size >= IN_MEMORY_BYTES:
        return source
    bar = keras.utils.Progbar(len(source), verbose=int(bool(verbose)), unit_name="image")
    images, labels = [], []
    with ThreadPoolExecutor(THREADS) as threads:
        for image, label in threads.map(source.read, range(len(source))):
            images.append(image)
            labels.append(label)
            bar.add(1)
    return ArraySource(source.name, np.stack(images), labels, source.class_names)


def _digest(files, parts, folder):
    digest = hashlib.sha256()
    for name in sorted(parts):
        for place in parts[name]:
            path = files[place]
            line = f"{name} {path.relative_to(folder).as_posix()} {path.stat().st_size}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
