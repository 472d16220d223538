"""Other Python processes: what they import, and that they end with the one that started them."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any


def start_python(
    arguments: Iterable[str], environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen:
    """Start another Python that imports what this one can, and nothing from where it is run.

    Python puts the working directory, which may be anybody's folder of downloads, before all
    packages; `-P` and `PYTHONSAFEPATH`, for the processes of that process, keep it out.

    Args:
        arguments: Of the interpreter: `-m` and a module, or `-c` and a program, and theirs.
        environment: Variables beside those of this process.
        **options: Of `subprocess.Popen`.

    Returns:
        The process.
    """
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        env={**os.environ, **(environment or {}), "PYTHONSAFEPATH": "1", "PYTHONPATH": _places()},
        **options,
    )


def _places() -> str:
    """Where this process finds its modules; an empty place would be the working directory."""
    return os.pathsep.join(os.path.abspath(place) for place in sys.path if place)  # noqa: PTH100


def end_with_parent() -> None:
    """End this process soon after the one that holds the other end of its standard input.

    No number of a process is compared: the Python of a virtual environment on Windows is a
    launcher, so that the parent is another process than the one that started this.
    """
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    while os.read(0, 1):  # empty when the pipe is closed
        pass
    os._exit(1)
