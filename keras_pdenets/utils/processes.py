"""Child Python processes: what they import, and that they end with their parent."""

import collections
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_LAST_LINES = 3


def start_python(
    arguments: Iterable[str], environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen:
    """Start a Python process with this one's import path, without the working directory.

    Python puts the working directory, which may be any folder of downloads, before all packages;
    `-P` keeps it out, and `PYTHONSAFEPATH` does so for the processes that this one starts.

    Args:
        arguments: Arguments of the interpreter: `-m` and a module, or `-c` and a program, and
            theirs.
        environment: Environment variables to add to those of this process.
        **options: Arguments of `subprocess.Popen`.

    Returns:
        The process.
    """
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        env={**os.environ, **(environment or {}), "PYTHONSAFEPATH": "1", "PYTHONPATH": _places()},
        **options,
    )


class Child:
    """A Python process with a pipe to its standard input; keeps the end of its standard error.

    Args:
        arguments: As in `start_python`.
        environment: As in `start_python`.
        relay: Whether to copy its standard error to that of this process.
        **options: Arguments of `subprocess.Popen`.
    """

    def __init__(
        self, arguments: Iterable[str], environment: Mapping[str, str], relay: bool, **options: Any
    ) -> None:
        pipe = subprocess.PIPE
        self.process = start_python(arguments, environment, stdin=pipe, stderr=pipe, **options)
        self._lines: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self._reader = threading.Thread(target=self._listen, args=(relay,), daemon=True)
        self._reader.start()

    def _listen(self, relay: bool) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                text = line.decode(errors="replace")
                if relay:
                    sys.stderr.write(text)
                if text.strip():
                    self._lines.append(text.strip())

    def tell(self, data: bytes) -> None:
        """Write to its standard input; that it has ended shows at the next poll."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def last_words(self) -> str:
        """The last lines of its standard error."""
        self._reader.join(1.0)  # with a limit: a grandchild may hold the pipe open
        return " ".join(self._lines) or "no output"

    def close(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        for stream in filter(None, (self.process.stdin, self.process.stdout)):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _places() -> str:
    """The import path of this process; an empty entry would be the working directory."""
    return os.pathsep.join(os.path.abspath(place) for place in sys.path if place)  # noqa: PTH100


def run_program(command: list[str], folder: Path, seconds: float) -> tuple[int, str]:
    """Run a program that is not Python to its end.

    Args:
        command: Its path and its arguments.
        folder: Where it works.
        seconds: The most that it may take.

    Returns:
        Its exit status, and the last lines of what it said.

    Raises:
        TimeoutError: If it takes longer; it is killed.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace",
            timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{command[0]} took longer than {seconds:g} s.") from error
    lines = (done.stderr or done.stdout).strip().splitlines()[-_LAST_LINES:]
    return done.returncode, " ".join(lines)


def end_with_parent() -> None:
    """End this process soon after the one that holds the other end of its standard input.

    Process ids are not compared: on Windows the Python of a virtual environment is a launcher, so
    the parent is not the process that started this one.
    """
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    while os.read(0, 1):  # empty once the pipe is closed
        pass
    os._exit(1)
