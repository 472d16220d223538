"""The runner: a process for each case, one step at a time."""

import contextlib
import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras

from keras_pdenets.benchmark import devices
from keras_pdenets.benchmark.case import EXPORTED, Case
from keras_pdenets.benchmark.results import Timing
from keras_pdenets.utils.checks import check_choice, check_integer
from keras_pdenets.utils.processes import Child

MODES = ("inference", "training")
DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")
# Threads of the last process may still spin.
_PAUSE = 0.05


@dataclass(frozen=True)
class Setting:
    """The setting of all cases.

    Args:
        mode: `"inference"` or `"training"` (forward, backward, SGD with momentum).
        size: Side of the images in pixels.
        channels: Channels of the images.
        classes: Number of classes.
        batch: Images per batch.
        rounds: Number of timed steps of each case.
        warmup: Number of steps before these.
        device: `"cpu"`, `"gpu"` or `"gpu:N"`.
        dtype: Keras dtype policy.
        seed: Seed of the images.

    Example:
    >>> from keras_pdenets.benchmark import Setting
    >>> Setting(mode="training", size=32, classes=10, batch=128).rounds
    15
    """

    mode: str = "inference"
    size: int = 224
    channels: int = 3
    classes: int = 1000
    batch: int = 8
    rounds: int = 15
    warmup: int = 2
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self):
        """Check every argument."""
        for name in ("size", "channels", "classes", "batch", "rounds", "warmup"):
            check_integer(name, getattr(self, name), 1)
        devices.check_name(self.device)
        check_choice("mode", self.mode, MODES)
        check_choice("dtype", self.dtype, DTYPES)


class OutOfMemory(RuntimeError):
    """A batch does not fit in memory."""


def run_benchmark(cases, setting=None, memory_limit=None, verbose=1):
    """Run steps of all cases alternately, and compare their times round by round.

    Each case has its own process and backend; one runs at a time, in an order that rotates from
    round to round.

    Args:
        cases: List of `Case`s or their words. The first is the reference of the ratios.
        setting: The `Setting` of all cases.
        memory_limit: Largest memory of a process on the CPU, in bytes; None: the free memory.
        verbose: 1 shows a progress bar.

    Returns:
        A list of `Timing`s, in the order of the cases.

    Raises:
        NotImplementedError: On another system than Linux.
        ValueError: If a case does not exist, or cannot run in this setting.
        RuntimeError: If a case fails; if the batch does not fit in memory, the message names the
            largest that does.

    Example:
    >>> from keras_pdenets.benchmark import Setting, run_benchmark
    >>> setting = Setting(size=16, classes=10, batch=1, rounds=2, warmup=1)
    >>> (timing,) = run_benchmark(["PreActResNet20@torch"], setting, verbose=0)
    >>> timing.parameters, len(timing.seconds), timing.ratios
    (296890, 2, (1.0, 1.0))
    """
    if sys.platform != "linux":
        raise NotImplementedError(
            "Benchmarks run on Linux only, since they use its interfaces to measure and limit the "
            f"memory of a process. Received: {sys.platform}"
        )
    setting = Setting() if setting is None else setting
    parsed = [c if isinstance(c, Case) else Case.parse(c) for c in cases]
    if not parsed:
        raise ValueError("`cases` must name at least one. Received: none")
    _check_setting(parsed, setting)
    if memory_limit is None and setting.device == "cpu":
        memory_limit = _free_memory()
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_started(c, setting, memory_limit)) for c in parsed]
        times = _rounds(workers, setting, verbose)
        for worker in workers:
            worker.finish()
    return [
        Timing(
            str(worker.case), worker.facts["parameters"], worker.facts["operations"],
            tuple(seconds), tuple(a / b for a, b in zip(seconds, times[0], strict=True)),
            worker.facts["peak_bytes"], worker.facts["gpu"],
        )
        for worker, seconds in zip(workers, times, strict=True)
    ]  # fmt: skip


def _free_memory():
    """Available memory in bytes, including file caches."""
    text = Path("/proc/meminfo").read_text(encoding="utf-8")
    return 1024 * int(re.search(r"MemAvailable:\s+(\d+) kB", text)[1])


def _check_setting(cases, setting):
    """Raise ValueError if a case cannot run in a setting, or would ignore it."""
    on_cpu, training = setting.device == "cpu", setting.mode == "training"
    for case in cases:
        timm, exported = case.source == "timm", case.runtime in EXPORTED
        options = case.options
        compiled = case.runtime == "torch" and "compile" in options
        for wrong, name, rule in (
            (not on_cpu and (timm or exported or compiled), "device",
             "'cpu' for timm's nets, exported ones and compiled ones on torch"),
            (setting.dtype != "float32" and (timm or exported), "dtype",
             "'float32' for timm's nets and exported ones"),
            (training and (exported or case.folding), "mode",
             "'inference' for folded and exported nets"),
            (not training and "remat" in options, "mode", "'training' for remat"),
        ):  # fmt: skip
            if wrong:
                raise ValueError(
                    f"`{name}` must be {rule}. "
                    f"Received: {name}={getattr(setting, name)!r} for {case}"
                )


def _rounds(workers, setting, verbose):
    """Seconds of each worker's step in each round."""
    times = [[] for _ in workers]
    bar = keras.utils.Progbar(setting.rounds, verbose=verbose, unit_name="round")
    for index in range(setting.rounds):
        for place in range(len(workers)):
            turn = (index + place) % len(workers)
            times[turn].append(workers[turn].step())
            time.sleep(_PAUSE)
        bar.update(index + 1)
    return times


class _Worker:
    """The process of one case."""

    def __init__(self, case, setting, memory_limit):
        self.case = case
        task = {"case": str(case), "setting": asdict(setting),
                "memory_limit": memory_limit}  # fmt: skip
        self._child = Child(
            ["-m", "keras_pdenets.benchmark.worker", json.dumps(task)],
            {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": case.backend,
             **devices.environment(setting.device)},
            relay=False, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.close = self._child.close
        self.facts = {}

    def answer(self):
        """The next answer of the process, or its error."""
        line = self._child.process.stdout.readline()
        if line:
            found = json.loads(line)
            if "error" not in found:
                return found
            if not found["out_of_memory"]:
                raise RuntimeError(f"{self.case} failed: {found['error']}")
            raise OutOfMemory(found["error"])
        status = self._child.process.wait()
        # Killed by the system or by a framework's allocator.
        kind = OutOfMemory if status in (-6, -9, -11, 134, 137) else RuntimeError
        raise kind(
            f"{self.case}: its process ended with status {status}: {self._child.last_words()}"
        )

    def step(self):
        """Seconds of one step."""
        self._child.tell(b"step\n")
        return self.answer()["seconds"]

    def finish(self):
        """Request the facts known at the end: memory and operations."""
        self._child.tell(b"quit\n")
        self.facts |= self.answer()


@contextlib.contextmanager
def _started(case, setting, memory_limit):
    """A worker after its warm-up."""
    with contextlib.closing(_Worker(case, setting, memory_limit)) as worker:
        try:
            worker.facts = worker.answer()
        except OutOfMemory as error:
            worker.close()
            fits = _largest_batch(case, setting, memory_limit)
            which = f"the largest that did is {fits}" if fits else "nor does a batch of 1"
            raise OutOfMemory(
                f"A batch of {setting.batch} does not fit in memory for {case}; {which}. ({error})"
            ) from error
        yield worker


def _largest_batch(case, setting, memory_limit):
    """The largest batch that fits, by repeated halving; None if there is none."""
    batch = setting.batch // 2
    while batch:
        smaller = replace(setting, batch=batch)
        with contextlib.closing(_Worker(case, smaller, memory_limit)) as worker:
            try:
                worker.answer()
            except OutOfMemory:
                batch //= 2
            else:
                return batch
    return None
