"""The process of one case: builds it, then runs a step per command.

Lines on the standard input are commands: `step`, `quit`. Lines on the standard output are JSON.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

# Parts of the frameworks' messages when memory has run out.
_OUT_OF_MEMORY = ("out of memory", "resource_exhausted", "resourceexhausted", "can't allocate",
                  "bad_alloc", "oom when", "failed to allocate", "unable to allocate")  # fmt: skip


def main():
    """Serve the commands."""
    # Output of the frameworks must not mix with these lines.
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    try:
        _serve(json.loads(sys.argv[1]), channel)
    except (Exception, KeyboardInterrupt) as error:
        text = f"{type(error).__name__}: {error}"
        memory = isinstance(error, MemoryError) or any(s in text.lower() for s in _OUT_OF_MEMORY)
        print(json.dumps({"error": text, "out_of_memory": memory}), file=channel)
        return 1
    return 0


def _serve(task, channel):
    from keras_pdenets.benchmark import devices
    from keras_pdenets.benchmark.case import Case
    from keras_pdenets.benchmark.runner import Setting
    from keras_pdenets.benchmark.steps import make_step
    from keras_pdenets.utils.machine import accelerator

    setting = Setting(**task["setting"])
    case = Case.parse(task["case"])
    devices.check(setting.device, case)
    if task["memory_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (task["memory_limit"],) * 2)
    before = _resident()
    timed = make_step(case, setting)
    for _ in range(setting.warmup):
        timed.step()
    print(json.dumps({"parameters": timed.parameters}), file=channel)
    for line in sys.stdin:
        if line.strip() != "step":
            break
        begin = time.perf_counter()
        timed.step()
        print(json.dumps({"seconds": time.perf_counter() - begin}), file=channel)
    peak = devices.peak_memory(setting.device, case)
    if peak is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    gpu = None if setting.device == "cpu" else accelerator()
    facts = {"peak_bytes": peak, "operations": timed.count(), "gpu": gpu}
    print(json.dumps(facts), file=channel)


def _resident():
    """Resident memory in bytes before the net is built: that of the libraries."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
