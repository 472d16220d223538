"""Paths of artefacts: checked before the export, written after it."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from keras_pdenets.export.formats import FORMATS
from keras_pdenets.utils.atomic import ASIDE

_SAVED_MODEL = "saved_model.pb"


def check_path(path, row):
    """The path of an artefact, with the suffix of its format, if it can be written.

    Args:
        path: Path of the artefact.
        row: The `Format`.

    Raises:
        ValueError: If it has another suffix.
        OSError: If its folder does not exist or is not writable, or something else is there.
    """
    path = Path(path)
    if not path.suffix:
        path = path.with_suffix(row.suffix)
    suffixes = {other.suffix for other in FORMATS.values()} - {""}
    if path.suffix != row.suffix and (row.suffix or path.suffix in suffixes):
        wanted = f"end in {row.suffix}" if row.suffix else "be a folder, without a suffix"
        raise ValueError(f"`path` of format {row.name} must {wanted}. Received: {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`path` must be in a folder that exists. Received: {str(path)!r}")
    if path.is_dir():
        # Never replace a folder with other content.
        if row.suffix or (any(path.iterdir()) and not (path / _SAVED_MODEL).is_file()):
            raise FileExistsError(f"{path} is a folder with other content: choose another path.")
    elif path.exists() and not row.suffix:
        raise FileExistsError(f"{path} is a file; format {row.name} is a folder.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(error.errno, f"{path.parent} is not writable: {error.strerror}") from error
    return path


def place(sources, targets):
    """Move files or folders to their targets; all of them or none.

    A single file replaces the old one atomically. With several, or a folder, the old ones are
    moved aside first and restored if anything fails.

    Args:
        sources: The new files or folders, on the same disk.
        targets: Their target paths.
    """
    if len(sources) == 1 and sources[0].is_file():
        sources[0].replace(targets[0])
        return
    aside = sources[0].parent / ASIDE
    aside.mkdir()
    olds = [aside / target.name for target in targets]
    moved = []
    try:
        for move in [*zip(targets, olds, strict=True), *zip(sources, targets, strict=True)]:
            if move[0].exists():
                move[0].rename(move[1])
                moved.append(move)
    except BaseException:
        for before, after in reversed(moved):
            with contextlib.suppress(OSError):
                after.rename(before)
        raise
    shutil.rmtree(aside)


def size_of(path):
    """Size in bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
