"""A search by several processes on this machine: a chief and its workers."""

import logging
import os
import signal
import socket
import sys
import threading
import time

from keras_pdenets.utils.checks import check_integer
from keras_pdenets.utils.machine import SHARED_GPU
from keras_pdenets.utils.processes import Child, end_with_parent

_LOG = logging.getLogger("keras_pdenets")
_CHIEF = "chief"
# Set for the processes of a search, whose standard input is a pipe from the launcher.
LAUNCHED = "KERAS_PDENETS_LAUNCHED"


def launch(arguments, workers, gpus=0, restarts=5, poll_seconds=0.5):
    """Run a Python program as the chief and as each worker of KerasTuner, until the search ends.

    A worker that is killed is restarted under its old name, so that it resumes its trial. If the
    chief is killed, everything is restarted; trials continue after their last epoch. A process
    that ends with an error of its own is not restarted: the error would recur.

    Args:
        arguments: Of the interpreter, such as `-m` and a module; the same for all processes.
        workers: Number of workers.
        gpus: Number of GPUs of those in `CUDA_VISIBLE_DEVICES`, assigned to the workers in turn;
            0: all workers see all devices.
        restarts: Largest number of restarts.
        poll_seconds: Time between two checks of the processes.

    Returns:
        Number of restarts.

    Raises:
        RuntimeError: If processes were killed more than `restarts` times, or one ended with an
            error.
        ValueError: If `workers` is not a positive integer.
    """
    workers = check_integer("workers", workers, 1)
    if threading.current_thread() is threading.main_thread():
        # `kill` and job systems send SIGTERM, which must not leave the processes behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    deaths = 0
    while True:
        group = _Group(arguments, workers, gpus)
        try:
            while (status := group.status(_CHIEF)) is None:
                for name in group.processes:
                    if name != _CHIEF and group.status(name) not in (None, 0):
                        deaths += 1
                        _check(deaths, restarts, name, group)
                        group.start(name)
                time.sleep(poll_seconds)
            if status == 0:
                group.let_workers_end()
                return deaths
            deaths += 1
            _check(deaths, restarts, _CHIEF, group)
        finally:
            group.stop()


def follow_launcher():
    """End this process soon after its launcher, if it has one."""
    # Not for child processes, which have no such pipe.
    if os.environ.pop(LAUNCHED, None):
        end_with_parent()


def _check(deaths, restarts, name, group):
    if group.status(name) > 0:
        words = group.processes[name].last_words()
        raise RuntimeError(f"The {name} of the search ended with an error: {words}")
    if deaths > restarts:
        raise RuntimeError(
            f"Processes of the search were killed {deaths} times, the last one was {name}. "
            "The same command resumes the search."
        )
    _LOG.warning("%s was killed; restarting it (%d of %d)", name, deaths, restarts)


class _Group:
    """The processes of one search."""

    def __init__(self, arguments, workers, gpus):
        self.arguments = arguments
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.gpus = visible.split(",") if visible else [str(index) for index in range(gpus)]
        self.gpus = self.gpus[:gpus]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.processes = {}
        for name in (_CHIEF, *(f"worker{index}" for index in range(workers))):
            self.start(name)

    def start(self, name):
        if name in self.processes:
            self.processes[name].close()
        environment = {
            **{name: os.environ.get(name, value) for name, value in SHARED_GPU.items()},
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(self.port),
            LAUNCHED: "1",
        }
        if self.gpus and name != _CHIEF:
            index = int(name.removeprefix("worker")) % len(self.gpus)
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[index]
        self.processes[name] = Child(self.arguments, environment, relay=True)

    def status(self, name):
        return self.processes[name].process.poll()

    def let_workers_end(self, seconds=10.0):
        """Wait briefly; a worker that starts after the chief's end would wait an hour for it."""
        deadline = time.monotonic() + seconds
        while any(self.status(name) is None for name in self.processes):
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)

    def stop(self):
        for process in self.processes.values():
            process.close()
