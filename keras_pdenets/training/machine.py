"""Where a number was measured."""

import os
import platform
from importlib import metadata
from pathlib import Path

import keras


def processor():
    """Name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def machine():
    """Processor, threads and software, in one line."""
    backend = keras.backend.backend()
    cores = os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS")
    return (
        f"{processor()}, {cores} cores{f', {threads} thread(s)' if threads else ''}; "
        f"{backend} {metadata.version(backend)}, keras {keras.__version__}, "
        f"Python {platform.python_version()}"
    )
