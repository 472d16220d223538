"""The machine and software that a measurement was made on."""

import os
import platform
from importlib import metadata
from pathlib import Path

import keras

# Lets several processes share a GPU: none of them reserves all its memory.
SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def processor():
    """Name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def accelerator():
    """Name of the accelerator that Keras computes on; None on a CPU."""
    backend = keras.backend.backend()
    tensor = keras.ops.convert_to_tensor(0.0)
    if backend == "jax":
        device = next(iter(tensor.devices()))
        return None if device.platform == "cpu" else device.device_kind
    if backend == "torch":
        import torch

        kind = tensor.device.type
        return torch.cuda.get_device_name() if kind == "cuda" else None if kind == "cpu" else kind
    if "CPU:" in tensor.device:
        return None
    import tensorflow as tf

    gpu = tf.config.get_visible_devices("GPU")[0]
    return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")


def machine():
    """GPU (if any), processor, threads and software versions, in one line."""
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
