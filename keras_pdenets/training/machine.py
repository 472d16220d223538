"""Where a number was measured."""

import os
import platform
from importlib import metadata
from pathlib import Path

import keras

from keras_pdenets.data.extras import require


def processor():
    """Name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def accelerator(backend=None):
    """Name of the GPU that a backend, or Keras' own, computes on; None on a CPU."""
    backend = backend or keras.backend.backend()
    framework = require(backend, backend)
    if backend == "jax":
        device = framework.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    if backend == "torch":
        return framework.cuda.get_device_name() if framework.cuda.is_available() else None
    gpus = framework.config.list_physical_devices("GPU")
    details = framework.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return details.get("device_name", "GPU") if gpus else None


def machine():
    """GPU, where there is one, processor, threads and software, in one line."""
    backend = keras.backend.backend()
    cores = os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS")
    gpu = accelerator()
    return (
        f"{f'{gpu}, ' if gpu else ''}"
        f"{processor()}, {cores} cores{f', {threads} thread(s)' if threads else ''}; "
        f"{backend} {metadata.version(backend)}, keras {keras.__version__}, "
        f"Python {platform.python_version()}"
    )
