"""The folder of a search: whose it is, and that nobody else works in it."""

import contextlib
import importlib
import json
from typing import Any

# Windows has none: there a folder is not locked.
fcntl = None
with contextlib.suppress(ImportError):
    fcntl = importlib.import_module("fcntl")
# Open lock files of this process, by folder.
_HELD: dict[str, Any] = {}


def lock(folder):
    """Take the folder for this process until it ends.

    Args:
        folder: The folder; it is made.

    Raises:
        RuntimeError: If another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder.resolve())
    if fcntl is None or path in _HELD:
        return
    file = (folder / "lock").open("w")
    try:
        # The system frees it when the process dies, however that happens.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise RuntimeError(
            f"Another process searches in {folder} now. Wait for it, or give another folder."
        ) from error
    _HELD[path] = file


def describe(oracle, space):
    """What decides a search, as JSON text."""
    kind = type(oracle).__name__
    return json.dumps({"oracle": kind, "space": json.loads(space.to_json())}, indent=1) + "\n"


def check_folder(folder, oracle, space):
    """Refuse to go on with another search.

    Raises:
        ValueError: If the folder holds one.
    """
    path = folder / "space.json"
    if not path.exists():
        raise ValueError(f"{folder} holds a search of another program. Give another folder.")
    old, new = json.loads(path.read_text()), json.loads(describe(oracle, space))
    if old == new:
        return
    if old["oracle"] != new["oracle"]:
        difference = f"oracle {old['oracle']}, not {new['oracle']}"
    else:
        fields = [k for k in new["space"] if old["space"].get(k) != new["space"][k]]
        difference = ", ".join(
            f"{k} {old['space'].get(k)!r}, not {new['space'][k]!r}" for k in fields
        )
    raise ValueError(
        f"{folder} holds another search ({difference}). Give it the old space to go on, or "
        "another folder to start anew."
    )
