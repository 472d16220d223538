"""A search shared by several processes of this machine: a chief and its workers."""

import logging
import os
import socket
import subprocess
import time

_LOG = logging.getLogger("keras_pdenets")
_CHIEF = "chief"


def launch(command, workers, gpus=0, restarts=5, poll_seconds=0.5):
    """Run `command` as the chief and as each worker of KerasTuner, until the search ends.

    A worker that dies is started again under its old name, so that it goes on with its trial. If
    the chief dies, everything is started again; trials go on from their last epoch.

    Args:
        command: Arguments of the process, the same for all.
        workers: Number of workers.
        gpus: Number of GPUs, dealt out to the workers in turn; 0: all see what there is.
        restarts: Number of deaths after which it gives up.
        poll_seconds: Time between two looks at the processes.

    Returns:
        Number of restarts that it took.

    Raises:
        RuntimeError: If processes died more than `restarts` times.
        ValueError: If `workers` is not a positive integer.
    """
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"`workers` must be a positive integer. Received: workers={workers!r}")
    deaths = 0
    while True:
        group = _Group(command, workers, gpus)
        try:
            while (status := group.processes[_CHIEF].poll()) is None:
                for name in group.dead_workers():
                    deaths += 1
                    _check(deaths, restarts, name)
                    group.start(name)
                time.sleep(poll_seconds)
            if status == 0:
                group.wait_for_workers()
                return deaths
            deaths += 1
            _check(deaths, restarts, _CHIEF)
        finally:
            group.stop()


def _check(deaths, restarts, name):
    if deaths > restarts:
        raise RuntimeError(
            f"Processes of the search died {deaths} times, the last one was {name}; see its "
            "messages above. The same command goes on with the search."
        )
    _LOG.warning("%s died; starting it again (%d of %d restarts)", name, deaths, restarts)


class _Group:
    """The processes of one search."""

    def __init__(self, command, workers, gpus):
        self.command, self.gpus = command, gpus
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.processes = {}
        for name in (_CHIEF, *(f"worker{index}" for index in range(workers))):
            self.start(name)

    def start(self, name):
        environment = {
            **os.environ,
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(self.port),
        }
        if self.gpus and name != _CHIEF:
            environment["CUDA_VISIBLE_DEVICES"] = str(int(name.removeprefix("worker")) % self.gpus)
        self.processes[name] = subprocess.Popen(self.command, env=environment)

    def dead_workers(self):
        """Workers that ended otherwise than by the end of the search."""
        return [n for n, p in self.processes.items() if n != _CHIEF and p.poll() not in (None, 0)]

    def wait_for_workers(self, seconds=60):
        for process in self.processes.values():
            process.wait(seconds)

    def stop(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
