"""The processes beside the first one: started, watched, and ended with it."""

import os
import pickle
import sys
import time
import traceback
from pathlib import Path

from keras_pdenets.utils.processes import Child, end_with_parent

_WORK = "from keras_pdenets.training.distributed.workers import work; work()"
_POLL = 0.1  # seconds between two looks at the processes
# The folder where the processes meet, the number of this one and how many they are, if another
# started it.
joined = None


def start_worker(worker, meeting):
    """Another process, as a `Child`; what it says on its standard error comes out here too.

    Args:
        worker: Function and its arguments by name, which it calls.
        meeting: What it finds in `joined`.
    """
    child = Child(["-c", _WORK], {"KERAS_BACKEND": "torch"}, relay=True)
    child.tell(pickle.dumps((worker, meeting)))
    return child


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
