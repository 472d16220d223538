"""Files that are either whole or not there, and no litter of processes that were killed."""

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Process, machine and a number; nothing of the user's is named like this.
_TEMPORARY = re.compile(r"\.keras_pdenets-(\d+)-([0-9a-f]{8})-[0-9a-f]{8}\.part")
# What a temporary folder holds under this name was there before, and waits to come back.
ASIDE = "old"
# Of a process that cannot be asked: no write takes so long.
_LONGEST_SECONDS = 86_400.0
# Temporary folders of this process: another one may have had its number before.
_LIVING: set[str] = set()


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file in a temporary folder beside it, so that the old one survives any failure.

    The file gets the permissions that the umask leaves, where the file system can set any.

    Args:
        path: The file to create or replace; its folder is made.
        write: Called with the path to write to, which has the same name in another folder.

    Raises:
        OSError: With the file's name, where it cannot be written (a full disk, say); the old
            file, if any, is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent) as folder:
            temporary = folder / path.name
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            mode = stat.S_IMODE(temporary.stat().st_mode)
            write(temporary)
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            if stat.S_IMODE(temporary.stat().st_mode) != mode:  # safetensors makes private files
                with contextlib.suppress(OSError):  # some network file systems refuse it
                    temporary.chmod(mode)
            temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"{path} was not written: {error.strerror or error}") from error


def write_file(path: Path, data: str | bytes) -> None:
    """Write a text (in UTF-8) or bytes as a file, atomically: see `replace_file`."""
    content = data.encode() if isinstance(data, str) else data
    replace_file(Path(path), lambda temporary: temporary.write_bytes(content))


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent`, which is there as long as the context; leftovers are removed.

    Args:
        parent: A folder that exists, on the disk that the result is to lie on.
    """
    remove_leftovers(parent)
    name = f".keras_pdenets-{os.getpid()}-{_machine()}-{secrets.token_hex(4)}.part"
    folder = parent / name
    _LIVING.add(name)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _LIVING.discard(name)


def remove_leftovers(folder: Path) -> None:
    """Remove what writes of this package left in a folder when their process was killed.

    A process of this machine is asked whether it lives; what another machine left (or any process,
    on Windows) goes when it is a day old.

    Args:
        folder: The folder; nothing happens if there is none.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if (
                match
                and entry.is_dir(follow_symlinks=False)
                and _is_dead(entry, *match.groups())
                and not Path(entry.path, ASIDE).exists()
            ):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_dead(entry: os.DirEntry[str], process: str, machine: str) -> bool:
    if entry.name in _LIVING:
        return False
    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _LONGEST_SECONDS:
        return True
    if machine != _machine() or os.name != "posix":
        return False
    if int(process) == os.getpid():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's process, or no number of one
        return False
    return False


@functools.cache
def _machine() -> str:
    """A word for where the numbers of processes mean the same: machine and container."""
    space = 0
    with contextlib.suppress(OSError):
        space = Path("/proc/self/ns/pid").stat().st_ino
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]
