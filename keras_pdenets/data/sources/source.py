"""What every source of images has, and the sources that are made of others."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Sets of fewer bytes are decoded once and held in memory.
IN_MEMORY_BYTES = 2**30
# Decoders leave Python's lock alone while they work.
THREADS = min(16, os.cpu_count() or 1)


class Source:
    """Images and labels by number.

    Attributes:
        name: What it is, for messages.
        image_shape: Height, width (None where they differ) and channels.
        class_names: Names of the classes, in the order of the labels; None: not known.
        scale: Factor that brings the pixels to 0-255; None: 1.
        in_memory: Whether reading an image costs next to nothing.
    """

    name: str
    image_shape: tuple[Any, ...]
    class_names: tuple[str, ...] | None = None
    scale: float | None = None
    in_memory = False

    def __len__(self):
        """Number of images."""
        raise NotImplementedError

    def read(self, index):
        """Image (height, width, channels) and label number `index`."""
        raise NotImplementedError

    def read_label(self, index):
        """The label alone, which may cost less."""
        return self.read(index)[1]

    @property
    def size(self):
        """Bytes of all images, decoded, as far as that is known beforehand."""
        return len(self) * math.prod(side or 400 for side in self.image_shape)


@dataclass
class ArraySource(Source):
    """Images that are in memory.

    Args:
        name: As in `Source`.
        images: One array (n, height, width, channels), or a list of n arrays of any sides.
        labels: Integers.
        class_names: As in `Source`.
        scale: As in `Source`.
    """

    name: str
    images: Any
    labels: np.ndarray
    class_names: tuple[str, ...] | None = None
    scale: float | None = None
    image_shape: tuple[Any, ...] = field(init=False)
    in_memory = True

    def __post_init__(self):
        """Look at the shape."""
        self.labels = np.asarray(self.labels, "int64")
        if isinstance(self.images, np.ndarray):
            self.image_shape = self.images.shape[1:]
        else:
            self.image_shape = (None, None, self.images[0].shape[-1])

    def __len__(self):
        """Number of images."""
        return len(self.images)

    def read(self, index):
        return self.images[index], self.labels[index]


class SomeOf(Source):
    """Some images of a source, perhaps with other labels.

    Args:
        source: The source.
        indices: Which images.
        labels: Their labels; None: as they are.
        class_names: Names of the classes; None: as they are.
    """

    def __init__(self, source, indices, labels=None, class_names=None):
        self._source, self._indices, self._labels = source, indices, labels
        self.name, self.image_shape, self.scale = source.name, source.image_shape, source.scale
        self.class_names = class_names or source.class_names

    def __len__(self):
        """Number of images."""
        return len(self._indices)

    def read(self, index):
        image, label = self._source.read(self._indices[index])
        return image, label if self._labels is None else self._labels[index]

    def read_label(self, index):
        if self._labels is not None:
            return self._labels[index]
        return self._source.read_label(self._indices[index])

    @property
    def size(self):
        """Bytes of the images, as a share of those of the source."""
        return self._source.size * len(self) // max(len(self._source), 1)


def hold(source, most=None):
    """The source itself, or its images in memory where they take less than `most` bytes."""
    most = IN_MEMORY_BYTES if most is None else most
    if source.in_memory or not len(source) or source.size >= most:
        return source
    with ThreadPoolExecutor(THREADS) as threads:
        pairs = list(threads.map(source.read, range(len(source))))
    images = [image for image, _ in pairs]
    if None not in source.image_shape:
        images = np.stack(images)
    labels = [label for _, label in pairs]
    return ArraySource(source.name, images, labels, source.class_names, source.scale)
