"""Hashes of files, which decide whether their bytes are used."""

import hashlib
import os
import re
from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_OID = re.compile(r"[0-9a-f]{40}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_sha256(text: str) -> bool:
    """Whether a text has the form of a SHA-256."""
    return _SHA256.fullmatch(text) is not None


def is_commit(text: str | None) -> bool:
    """Whether a text has the form of a full commit hash, whose content cannot change."""
    return _GIT_OID.fullmatch(text or "") is not None


def matches(path: Path, digest: str) -> bool:
    """Whether a file has the hash that the Hub announced.

    The Hub identifies large files by their SHA-256 and small ones, stored in git, by the SHA-1 of
    the git blob. Other digests cannot be verified and never match.

    Args:
        path: The file.
        digest: 64 or 40 hex digits.

    Example:
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "empty")
    ...     path.touch()
    ...     matches(path, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
    True
    """
    if not (is_sha256(digest) or is_commit(digest)):
        return False
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return hashlib.file_digest(file, lambda: new_hash(digest, size)).hexdigest() == digest


def new_hash(digest: str, size: int) -> "hashlib._Hash":
    """A hash object of the kind of a digest, for a file of that size."""
    if is_sha256(digest):
        return hashlib.sha256()
    # Not for security: git itself identifies these files by this hash.
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def describe(path: Path) -> str:
    """Path, size and hash of a file, for a message."""
    return f"{path} ({path.stat().st_size} bytes, sha256 {sha256_of(path)})"
