"""The processes beside the first one: started, watched, and ended with it."""

import collections
import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from keras_pdenets.utils.processes import end_with_parent, start_python

_WORK = "from keras_pdenets.training.distributed.workers import work; work()"
_POLL = 0.1  # seconds between two looks at the processes
_LAST_LINES = 3
# The folder where the processes meet, the number of this one and how many they are, if another
# started it.
joined = None


class WorkerProcess:
    """Another process. What it says on its standard error comes out here too.

    Args:
        worker: Function and its arguments by name, which it calls.
        meeting: What it finds in `joined`.
    """

    def __init__(self, worker, meeting):
        task = pickle.dumps((worker, meeting))
        self.process = start_python(
            ["-c", _WORK],
            {"KERAS_BACKEND": "torch"},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._lines = collections.deque(maxlen=_LAST_LINES)
        self._reader = threading.Thread(target=self._relay, daemon=True)
        self._reader.start()
        with contextlib.suppress(BrokenPipeError):  # it has ended, as `check_alive` will find
            self.process.stdin.write(task)
            self.process.stdin.flush()

    def _relay(self):
        with self.process.stderr as stream:
            for line in stream:
                text = line.decode(errors="replace")
                sys.stderr.write(text)
                if text.strip():
                    self._lines.append(text.strip())

    def last_words(self):
        """The end of what it said."""
        self._reader.join(1.0)  # not for ever: a process of its own may hold the pipe
        return " ".join(self._lines) or "it said nothing"

    def close(self):
        """End it."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


def check_alive(workers, seconds=0.0, may_be_done=False):
    """Raise RuntimeError if a process has ended, or does so within some seconds.

    Args:
        workers: The processes, which are number 1, 2 ... of all.
        seconds: How long to look.
        may_be_done: Whether one may have ended without an error.
    """
    end = time.monotonic() + seconds
    while True:
        for number, worker in enumerate(workers, start=1):
            status = worker.process.poll()
            if status or (status == 0 and not may_be_done):
                raise RuntimeError(
                    f"Process {number} of {len(workers) + 1} ended with status {status}: "
                    f"{worker.last_words()}"
                )
        if time.monotonic() >= end or not workers:
            return
        time.sleep(_POLL)


def meet(folder, rank, workers):
    """Say in a folder that this process is here; the first one waits until all are.

    `torch.distributed` would wait for half an hour for one that has ended, and would not find the
    others at the next call in the same process.

    Args:
        folder: The folder.
        rank: Number of this process.
        workers: The processes that it has started.

    Raises:
        RuntimeError: If one of them ends before it is here.
    """
    Path(folder, f"process{rank}").touch()
    places = [Path(folder, f"process{number}") for number in range(1, len(workers) + 1)]
    while not all(place.exists() for place in places):
        check_alive(workers)
        time.sleep(_POLL)


def work():
    """What such a process does: the worker's call, as long as the first process lives."""
    global joined
    (function, arguments), joined = pickle.load(sys.stdin.buffer)
    end_with_parent()
    try:
        function(**arguments)
    except BaseException:
        # The first process sees the broken connection now; what tears a framework down takes long.
        traceback.print_exc()
        os._exit(1)
