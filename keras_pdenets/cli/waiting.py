"""What a command says while it works and prints nothing else."""

import contextlib
import sys
import threading
import time


@contextlib.contextmanager
def waiting(what, after=2.0):
    """Say on stderr what takes so long, once it has taken some seconds.

    On a terminal the line counts the seconds, and is wiped away at the end; in a file it stands
    once.

    Args:
        what: What is done, such as `"Comparing outputs"`.
        after: Seconds without a word.
    """
    stream, begin, done = sys.stderr, time.monotonic(), threading.Event()
    thread = threading.Thread(target=_tell, args=(what, after, stream, begin, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def waited(what, values):
    """The values of an iterator; what it does before each of them is said as in `waiting`."""
    values, end = iter(values), object()
    while True:
        with waiting(what):
            value = next(values, end)
        if value is end:
            return
        yield value


def _tell(what, after, stream, begin, done):
    if done.wait(after):
        return
    if not stream.isatty():
        print(f"{what} ...", file=stream, flush=True)
        return
    line = ""
    while True:
        line = f"{what} ... {time.monotonic() - begin:.0f} s"
        print(f"\r{line}", end="", file=stream, flush=True)
        if done.wait(1):
            break
    print(f"\r{' ' * len(line)}\r", end="", file=stream, flush=True)
