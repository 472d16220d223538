"""Files written atomically, and removal of what killed processes left behind."""

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

# Process id, machine and a random number; no file of the user's has such a name.
_TEMPORARY = re.compile(r"\.keras_pdenets-(\d+)-([0-9a-f]{8})-[0-9a-f]{8}\.part")
# Within a temporary folder: the previous version, to be restored if the write fails.
ASIDE = "old"
# Age at which the leftovers of a process that cannot be probed are removed.
_LONGEST_SECONDS = 86_400.0
# Temporary folders of this process: an earlier process may have had the same id.
_LIVING: set[str] = set()


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically: the old one survives any failure.

    It is written in a temporary folder beside it and then renamed. It gets the permissions that the
    umask allows, if the file system has permissions.

    Args:
        path: The file to create or replace; its folder is created.
        write: Called with the path to write to: the same name in another folder.

    Raises:
        OSError: If the file cannot be written (a full disk, say); the message has its name, and
            the old file, if any, is unchanged.
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
            if stat.S_IMODE(temporary.stat().st_mode) != mode:  # safetensors creates private files
                with contextlib.suppress(OSError):  # some network file systems refuse
                    temporary.chmod(mode)
            temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"{path} was not written: {error.strerror or error}") from error


def write_file(path: Path, data: str | bytes) -> None:
    """Write a string (as UTF-8) or bytes to a file atomically: see `replace_file`."""
    content = data.encode() if isinstance(data, str) else data
    replace_file(Path(path), lambda temporary: temporary.write_bytes(content))


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent` for the duration of the context; leftovers are removed.

    Args:
        parent: An existing folder, on the disk of the final file.
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
    """Remove temporary folders that killed processes of this package left in a folder.

    Those of this machine are removed if their process is dead; those of another machine (on
    Windows: all) once they are a day old.

    Args:
        folder: The folder; nothing happens if it does not exist.
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
    except (OSError, OverflowError):  # another user's process, or not a process id
        return False
    return False


@functools.cache
def _machine() -> str:
    """A hash of machine and container: within them a process id identifies a process."""
    space = 0
    with contextlib.suppress(OSError):
        space = Path("/proc/self/ns/pid").stat().st_ino
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]
