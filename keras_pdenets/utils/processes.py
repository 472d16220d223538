"""Other Python processes: what they import, and that they end with the one that started them."""

import collections
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any

_LAST_LINES = 3


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


class Child:
    """Another Python with a pipe to its standard input, and the end of what it says.

    Args:
        arguments: As in `start_python`.
        environment: As in `start_python`.
        relay: Whether what it says on its standard error comes out here too.
        **options: Of `subprocess.Popen`.
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
        """Write to its standard input; whether it has ended, the next look at it will say."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def last_words(self) -> str:
        """The end of what it said."""
        self._reader.join(1.0)  # not for ever: a process of its own may hold the pipe
        return " ".join(self._lines) or "it said nothing"

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        for stream in filter(None, (self.process.stdin, self.process.stdout)):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


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
