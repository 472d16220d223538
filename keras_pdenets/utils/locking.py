"""Exclusive access to a folder, on every system and most file systems."""

import contextlib
import errno
import logging
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_pdenets.utils.atomic import remove_leftovers

_LOG = logging.getLogger("keras_pdenets")
LOCK = ".lock"
_OWNER = ".lock.owner"
# Errors of file systems without locks; filelock itself handles ENOSYS.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
# Long enough to find out that the owner of a lock file is dead.
_LOOK_SECONDS = 0.3


class InUseError(RuntimeError):
    """Another process is using the folder."""


@dataclass
class _Held:
    """A lock held by this process: how often it was acquired, and by which thread."""

    lock: Any
    thread: int
    times: int = 1


_HELD: dict[str, _Held] = {}
_GUARD = threading.Lock()


@contextlib.contextmanager
def locked(folder: Path, seconds: float = _LOOK_SECONDS) -> Iterator[None]:
    """Lock a folder for the duration of the context; a killed process releases it.

    The lock is reentrant within a thread; other threads of the process are excluded. Leftovers of
    killed processes are removed first (`atomic.remove_leftovers`).

    Args:
        folder: The folder; it is created.
        seconds: How long to wait for another process.

    Raises:
        InUseError: If another process or thread holds the lock.
        OSError: If no lock file can be written there.
    """
    key = _take(folder, seconds)
    try:
        yield
    finally:
        with _GUARD:
            held = _HELD[key]
            held.times -= 1
            if not held.times:
                del _HELD[key]
                held.lock.release()


def hold(folder: Path) -> None:
    """Lock a folder until this process ends; a second call does nothing.

    Args:
        folder: The folder; it is created.

    Raises:
        InUseError: If another process holds the lock.
        OSError: If no lock file can be written there.
    """
    if str(folder.resolve()) not in _HELD:
        _take(folder, _LOOK_SECONDS)


def _take(folder: Path, seconds: float) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    key, thread = str(folder.resolve()), threading.get_ident()
    with _GUARD:
        held = _HELD.get(key)
        if held is not None and held.thread == thread:
            held.times += 1
            return key
        if held is not None:
            raise InUseError(
                f"Another thread of this process is using {folder}. Wait for it, or give another "
                "folder."
            )
        held = _HELD[key] = _Held(None, thread)
    try:
        held.lock = _acquired(folder, seconds)
    except BaseException:
        del _HELD[key]
        raise
    remove_leftovers(folder)
    return key


def _acquired(folder: Path, seconds: float) -> Any:
    """The lock of a folder: the system's, or a file with the owner's process id if it has none."""
    # Imported here: `import keras_pdenets` imports this module.
    from filelock import FileLock, SoftFileLock, Timeout

    lock: Any = FileLock(folder / LOCK, thread_local=False)
    said: list[Any] = []
    refused = False
    try:
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                lock.acquire(timeout=seconds)
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                raise
            lock, said = SoftFileLock(folder / _OWNER, thread_local=False), [error]
            lock.acquire(timeout=max(seconds, _LOOK_SECONDS))
    except Timeout:
        refused = True
    without = f"The file system of {folder} does not support locks: a file is used instead."
    if refused:
        hint = f" {without} If no other process is running, remove {lock.lock_file}."
        raise InUseError(
            f"Another process is using {folder}. Wait for it, or give another folder."
            f"{hint if said else ''}"
        )
    if said:
        _LOG.warning("%s If this machine crashes, remove %s by hand.", without, lock.lock_file)
    return lock
