"""Fashion-MNIST and MNIST from their original idx files, in a folder or in Debian's package."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from keras_pdenets.data.sample import SAMPLE_CLASSES
from keras_pdenets.data.sources.source import ArraySource

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
IDX_SETS = {"fashion_mnist": SAMPLE_CLASSES, "mnist": tuple("0123456789")}
_FILES = {"train": "train", "test": "t10k"}


def find_idx(folder):
    """The files of a folder, by split and kind, or None where one is missing."""
    found = {}
    for split, prefix in _FILES.items():
        for kind, rank in (("images", 3), ("labels", 1)):
            stem = f"{prefix}-{kind}-idx{rank}-ubyte"
            paths = [Path(folder, name) for name in (stem, f"{stem}.gz")]
            there = [path for path in paths if path.is_file()]
            if not there:
                return None
            found[split, kind] = there[0]
    return found


def read_idx(path):
    """The array of an idx file of bytes: LeCun's format, big-endian sides before the data.

    Raises:
        ValueError: If it is no such file, or not whole.
    """
    try:
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if str(path).endswith(".gz") else data
        rank = data[3]
        shape = struct.unpack_from(f">{rank}I", data, 4)
        if data[:3] != b"\0\0\x08":
            raise ValueError("no idx file of bytes")
        return np.frombuffer(data, "uint8", offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, IndexError, ValueError) as error:
        raise ValueError(f"{path} is not a whole idx file: {error}") from error


def idx_source(name, files):
    """Training and test images, one after the other, and the length of each split."""
    parts = {key: read_idx(path) for key, path in files.items()}
    for split in _FILES:
        images, labels = parts[split, "images"], parts[split, "labels"]
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{files[split, 'images']} and {files[split, 'labels']} must hold images and one "
                f"label for each. Received: shapes {images.shape} and {labels.shape}"
            )
    images, labels = (
        np.concatenate([parts[split, kind] for split in _FILES]) for kind in ("images", "labels")
    )
    lengths = {split: len(parts[split, "labels"]) for split in _FILES}
    return ArraySource(name, images[..., None], labels, IDX_SETS[name]), lengths
