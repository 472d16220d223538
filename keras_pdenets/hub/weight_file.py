"""A safetensors file, read once: the bytes that are hashed and checked are those loaded.

Layout: 8 bytes, the length n of the header (little endian); n bytes of JSON with dtype, shape and
offsets of each tensor; the data. Ref.: the description of the format in the safetensors repository.

The header is parsed here, not by the library, which needs all bytes in memory or maps a file that
may change meanwhile, and accepts headers of 100 MB, integers and empty tensors.
"""

import hashlib
import math
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from keras_pdenets.hub.digests import new_hash
from keras_pdenets.hub.errors import IntegrityError, WeightsError
from keras_pdenets.utils.json_files import parse_json
from keras_pdenets.utils.text import printable

# The largest header of a checkpoint here has 28 kB and 300 tensors; the format allows 100 MB.
MOST_HEADER_BYTES = 2**22
MOST_TENSORS = 2**14
_MOST_AXES = 8
LENGTH_BYTES = 8
# Little endian on every machine. Weights are never integers.
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


class _BadHeaderError(ValueError):
    """An invalid header; the message is shown to the user."""


@dataclass(frozen=True)
class Entry:
    """Dtype, shape and place of a tensor; `start` and `end` are offsets in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """Metadata and tensors' places of a file."""

    metadata: dict[str, str]
    tensors: dict[str, Entry]


class WeightFile:
    """A safetensors file that is read only once; a context manager that closes it.

    The header is read first, and checked before anything is allocated for the tensors. All bytes
    are read when the hash or a tensor is first needed; both come from the same bytes, so that a
    file replaced in between cannot be loaded instead of the checked one.

    Args:
        path: The file.
        name: Its name in reports; None: its path.
        place: Where a preset was found: `"mirror"`, `"checkout"`, `"package"`, `"cache"` or
            `"hub"`.
        digest: Expected hash of its bytes, as announced by the Hub (see `digests.matches`).

    Raises:
        WeightsError: On reading, if the file does not exist, is not a valid safetensors file, or
            changes meanwhile.
        IntegrityError: On reading the tensors, if the bytes have another hash than `digest`.
    """

    def __init__(
        self, path: Path, name: str | None = None, place: str = "", digest: str | None = None
    ) -> None:
        self.path, self.name, self.place, self.digest = path, name or str(path), place, digest

    def __enter__(self) -> "WeightFile":
        """Return the file itself, which is opened on first reading."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        if "_file" in vars(self):
            self._file.close()

    @cached_property
    def _file(self) -> BufferedReader:
        path = self.path
        try:
            # A device or a pipe may never end.
            if not stat.S_ISREG(path.stat().st_mode):
                raise WeightsError(f"{path} is not a file.")
            return path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise WeightsError(f"There is no weight file {path}.") from None
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            raise WeightsError(f"{path} cannot be opened: {error}") from None

    @cached_property
    def size(self) -> int:
        """Number of bytes, when it was opened."""
        return os.fstat(self._file.fileno()).st_size

    @cached_property
    def _head(self) -> bytes:
        """The length field and the header, unless it is longer than allowed."""
        if "_data" in vars(self):
            return self._data[: LENGTH_BYTES + MOST_HEADER_BYTES]
        self._file.seek(0)
        start = self._file.read(LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        return start + self._file.read(length if length <= MOST_HEADER_BYTES else 0)

    @cached_property
    def header(self) -> Header:
        """The header, checked, without reading the data."""
        try:
            return _read_header(self._head, self.size)
        except (_BadHeaderError, OSError) as error:
            raise WeightsError(
                f"{self.path} is not a valid safetensors file ({error}). It may be truncated, or "
                "in another format: this package does not read weights from .h5 or .keras files."
            ) from None

    @cached_property
    def _data(self) -> bytes:
        head = vars(self).get("_head", b"")
        try:
            # Without the old buffer, which would hide changes of the file.
            with BufferedReader(self._file.raw) as again:
                again.seek(0)
                data = again.read(self.size)
        except OSError as error:
            raise WeightsError(f"{self.path} cannot be read: {error}") from None
        finally:
            self._file.close()
        if len(data) != self.size or not data.startswith(head):
            raise WeightsError(f"{self.path} changed while it was read.")
        if self.digest is not None:
            found = new_hash(self.digest, len(data))
            found.update(data)
            if found.hexdigest() != self.digest:
                raise IntegrityError(
                    f"{self.path} has the hash {found.hexdigest()}; expected is {self.digest}. It "
                    "was not loaded."
                )
        return data

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, as hex digits."""
        return hashlib.sha256(self._data).hexdigest()

    def tensor(self, name: str) -> np.ndarray:
        """Values of one tensor as stored, read-only."""
        entry = self.header.tensors[name]
        count = math.prod(entry.shape)
        return np.frombuffer(self._data, _DTYPES[entry.dtype], count, entry.start).reshape(
            entry.shape
        )


def _read_header(head: bytes, size: int) -> Header:
    """The header of a file of that size that begins with `head`."""
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
        raise _BadHeaderError(f"{size} bytes, a header of {length} bytes announced")
    if length > MOST_HEADER_BYTES:
        raise _BadHeaderError(f"a header of {length} bytes; {MOST_HEADER_BYTES} are allowed")
    start = LENGTH_BYTES + length
    try:
        record = parse_json(head[LENGTH_BYTES:start])
    except ValueError as error:
        raise _BadHeaderError(f"a header that is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise _BadHeaderError("a header that is not a record")
    metadata = record.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _BadHeaderError("metadata that are not strings")
    if len(record) > MOST_TENSORS:
        raise _BadHeaderError(f"{len(record)} tensors; {MOST_TENSORS} are allowed")
    tensors = {name: _entry(name, value, start) for name, value in record.items()}
    _check_places(tensors, start, size)
    return Header(metadata, tensors)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _entry(name: str, value: Any, start: int) -> Entry:
    """The entry of one tensor, checked for consistency."""
    shown = printable(name)
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _BadHeaderError(f"{shown} without dtype, shape and data_offsets")
    dtype, shape, places = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _BadHeaderError(
            f"{shown} of type {printable(str(dtype))}; weights are {', '.join(_DTYPES)}"
        )
    # Nor a side of 0, with which the other sides could be arbitrary: no weight is empty.
    sides = isinstance(shape, list) and all(map(_is_count, shape)) and 0 not in shape
    if not sides or len(shape) > _MOST_AXES:
        raise _BadHeaderError(f"{shown} with an invalid shape")
    if not isinstance(places, list) or len(places) != 2 or not all(map(_is_count, places)):
        raise _BadHeaderError(f"{shown} with invalid data_offsets")
    if places[1] - places[0] != math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
        raise _BadHeaderError(f"{shown} with data_offsets that do not match its shape")
    return Entry(dtype, tuple(shape), start + places[0], start + places[1])


def _check_places(tensors: dict[str, Entry], start: int, size: int) -> None:
    """Check that the tensors fill the file without gaps and overlaps."""
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != start:
            kind = "overlaps the previous one" if entry.start < start else "follows a gap"
            raise _BadHeaderError(f"{printable(name)} {kind}")
        start = entry.end
    if start != size:
        raise _BadHeaderError(f"{size} bytes where the header announces {start}")
