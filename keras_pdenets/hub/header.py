"""The head of a safetensors file, checked before anything is allocated for it.

Layout: 8 bytes, the length n of the header (little endian); n bytes of JSON, which give each tensor
its dtype, shape and place; the data. Ref.: the format's description in the safetensors repository.

It is read by hand here, and not by the library, for two reasons: a file may come from a stranger,
and the library maps a file into memory that must not change under it, which a cache can.
"""

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.utils.json_files import parse_json
from keras_pdenets.utils.text import printable

# The largest header of a checkpoint here has 28 kB and 300 tensors; the format allows 100 MB.
MOST_HEADER_BYTES = 2**22
MOST_TENSORS = 2**14
_MOST_AXES = 8
LENGTH_BYTES = 8
# Little endian on every machine. Integers are no weights.
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


class _BadHeaderError(ValueError):
    """What is wrong, in words for the user."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: `start` and `end` count from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """Texts and places of the tensors of a file."""

    metadata: dict[str, str]
    tensors: dict[str, Entry]


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, Header]]:
    """A weight file, open for reading, and its header.

    Args:
        path: The file.

    Raises:
        WeightsError: If there is no such file, or it is not a whole safetensors file.
    """
    try:
        # Not a device or a pipe, which may never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise WeightsError(f"{path} is not a file.")
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"There is no weight file {path}.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise WeightsError(f"{path} cannot be opened: {error}") from None
    with file:
        try:
            header = read_header(file)
        except (_BadHeaderError, OSError) as error:
            raise WeightsError(
                f"{path} is not a whole safetensors file ({error}). It may be truncated, or in "
                "another format: this package reads no .h5 and no .keras files as weights."
            ) from None
        yield file, header


def read_header(file: BufferedReader) -> Header:
    """Read and check the header of an open file; `opened` turns its errors into messages."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
        raise _BadHeaderError(f"{size} bytes, a header of {length} bytes announced")
    if length > MOST_HEADER_BYTES:
        raise _BadHeaderError(f"a header of {length} bytes; {MOST_HEADER_BYTES} are allowed")
    record = _parsed(file.read(length))
    metadata = record.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _BadHeaderError("metadata that are not texts")
    if len(record) > MOST_TENSORS:
        raise _BadHeaderError(f"{len(record)} tensors; {MOST_TENSORS} are allowed")
    start = LENGTH_BYTES + length
    tensors = {name: _entry(name, value, start) for name, value in record.items()}
    _check_places(tensors, start, size)
    return Header(metadata, tensors)


def read_tensor(file: BufferedReader, entry: Entry) -> np.ndarray:
    """Values of one tensor, as they are stored."""
    file.seek(entry.start)
    data = file.read(entry.end - entry.start)
    if len(data) != entry.end - entry.start:
        raise WeightsError(f"{file.name} became shorter while it was read.")
    return np.frombuffer(data, _DTYPES[entry.dtype]).reshape(entry.shape)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        record = parse_json(data)
    except ValueError as error:
        raise _BadHeaderError(f"a header that is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise _BadHeaderError("a header that is no record")
    return record


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _entry(name: str, value: Any, start: int) -> Entry:
    """One tensor's record, checked against itself."""
    shown = printable(name)
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _BadHeaderError(f"{shown} without dtype, shape and data_offsets")
    dtype, shape, places = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _BadHeaderError(
            f"{shown} of type {printable(str(dtype))}; weights are {', '.join(_DTYPES)}"
        )
    # No side of 0 either: beside it the others could be anything, and no weight is empty.
    sides = isinstance(shape, list) and all(map(_is_count, shape)) and 0 not in shape
    if not sides or len(shape) > _MOST_AXES:
        raise _BadHeaderError(f"{shown} with a shape that is none")
    if not isinstance(places, list) or len(places) != 2 or not all(map(_is_count, places)):
        raise _BadHeaderError(f"{shown} with data_offsets that are none")
    if places[1] - places[0] != math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
        raise _BadHeaderError(f"{shown} with another number of bytes than its shape has")
    return Entry(dtype, tuple(shape), start + places[0], start + places[1])


def _check_places(tensors: dict[str, Entry], start: int, size: int) -> None:
    """The tensors fill the file without gaps and without overlaps."""
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != start:
            kind = "overlaps the one before it" if entry.start < start else "lies behind a gap"
            raise _BadHeaderError(f"{printable(name)} {kind}")
        start = entry.end
    if start != size:
        raise _BadHeaderError(f"{size} bytes where the header announces {start}")
