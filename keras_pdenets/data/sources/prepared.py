"""Sets of TFDS, read image by image without TensorFlow once they are prepared."""

import functools
import io
import struct
from pathlib import Path

import numpy as np

from keras_pdenets.data.features import features_of
from keras_pdenets.data.sources.files import opened, pixels_of
from keras_pdenets.data.sources.source import Source
from keras_pdenets.utils.extras import installed, require

_LENGTH = struct.Struct("<Q")
_HEADER, _FOOTER = 12, 4  # length and its checksum; checksum of the record


def prepare(name, data_dir=None):
    """The TFDS builder of `name`, with its data on disk.

    Raises:
        ImportError: If TFDS is missing, or the set is not prepared yet and TensorFlow, with which
            TFDS prepares sets, is.
        FileNotFoundError: If archives are missing that only the user may fetch.
    """
    tfds = require("tensorflow_datasets", "data")
    builder = tfds.builder(name, data_dir=data_dir)
    features_of(builder, tfds)  # before anything is downloaded
    if not builder.data_path.exists():
        if not installed("tensorflow"):
            raise ImportError(
                f"{name} is not prepared in {builder.data_path}. TFDS prepares sets with "
                "TensorFlow, once; afterwards nothing here needs it: pip install tensorflow, or "
                "prepare the set on another machine and copy that folder."
            )
        try:
            builder.download_and_prepare()
        except AssertionError as error:  # files that only their reader may fetch: ImageNet's
            raise FileNotFoundError(str(error)) from error
    return builder


def is_prepared(name, data_dir=None):
    """Whether TFDS is here and has a set on disk."""
    if not installed("tensorflow_datasets"):
        return False
    tfds = require("tensorflow_datasets", "data")
    return tfds.builder(name, data_dir=data_dir).data_path.exists()


class PreparedSource(Source):
    """A split of a prepared set.

    Args:
        builder: The TFDS builder.
        split: Split in TFDS's notation.
    """

    def __init__(self, builder, split):
        tfds = require("tensorflow_datasets", "data")
        self._features = features = features_of(builder, tfds)
        self.name = f"{split!r} of {builder.name}"
        self.image_shape = tuple(features.image.shape)
        self.scale = features.scale
        names = getattr(features.label, "names", None)
        self.class_names = None if names is None else tuple(names)
        # An image that is left out, or whose label alone is wanted, is not decoded.
        decoders = {features.image_key: tfds.decode.SkipDecoding()}
        try:
            self._examples = builder.as_data_source(split, decoders=decoders)
        except NotImplementedError:  # prepared as TFRecord, TFDS's default
            parse = builder.info.features.deserialize_example_np
            parse = functools.partial(parse, decoders=decoders)
            self._examples = _Records(builder.info.splits[split].file_instructions, parse)

    def __len__(self):
        """Number of images."""
        return len(self._examples)

    def read(self, index):
        example = self._examples[index]
        image = self._decode(example[self._features.image_key])
        return image, int(example[self._features.label_key])

    def _decode(self, data):
        channels, feature = self.image_shape[2], self._features.image
        kind = np.dtype(feature.np_dtype)
        if not isinstance(data, bytes) or channels not in (1, 3):
            return np.asarray(feature.decode_example_np(data))
        # TFDS takes what Pillow gives: a few images of ImageNet are grey or CMYK.
        with opened(io.BytesIO(data), f"An image of {self.name}") as picture:
            if kind == "uint8":
                return pixels_of(picture, channels)
            if channels == 1:
                return np.asarray(picture, kind)[..., None]
        return np.asarray(feature.decode_example_np(data))

    def read_label(self, index):
        return int(self._examples[index][self._features.label_key])

    @property
    def size(self):
        """Bytes of all images, decoded."""
        return super().size * self._features.bytes_per_value


class _Records:
    """The records of TFRecord files, by number.

    TFDS reads such files with TensorFlow alone. Each record is its length, a checksum of that, its
    bytes and their checksum; the headers are read once.

    Args:
        instructions: TFDS's `FileInstruction`s: which records of which file.
        parse: What makes an example of the bytes.
    """

    def __init__(self, instructions, parse):
        self._parse = parse
        self._places = []
        for part in instructions:
            places = _places(Path(part.filename))
            if len(places) != part.examples_in_shard:
                raise ValueError(
                    f"{part.filename} must hold {part.examples_in_shard} records. Received: "
                    f"{len(places)}; remove the folder to have the set prepared again"
                )
            chosen = places[part.skip : part.skip + part.take]
            self._places += [(part.filename, *place) for place in chosen]

    def __len__(self):
        return len(self._places)

    def __getitem__(self, index):
        path, begin, length = self._places[index]
        # Opened anew: threads and processes share no position.
        with Path(path).open("rb") as file:
            file.seek(begin)
            return self._parse(file.read(length))


def _places(path):
    """Begin and length of each record of a file."""
    places, begin = [], 0
    end = path.stat().st_size
    with path.open("rb") as file:
        while begin + _HEADER <= end:
            file.seek(begin)
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            if begin + _HEADER + length + _FOOTER > end:
                break
            places.append((begin + _HEADER, length))
            begin += _HEADER + length + _FOOTER
    return places
