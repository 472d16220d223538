"""The device that a benchmark runs on."""

import re

from keras_pdenets.export.convert import CPU_ONLY
from keras_pdenets.utils.machine import SHARED_GPU

_DEVICE = re.compile(r"cpu|gpu(:\d+)?")


def check_name(device):
    """Raise ValueError unless a device is written `cpu`, `gpu` or `gpu:N`."""
    if not _DEVICE.fullmatch(device):
        raise ValueError(f"`device` must be 'cpu', 'gpu' or 'gpu:N'. Received: device={device!r}")
    return device


def environment(device):
    """Variables that show a process this device and no other, beside other processes."""
    if device == "cpu":
        return CPU_ONLY
    number = device.partition(":")[2]
    return SHARED_GPU | ({"CUDA_VISIBLE_DEVICES": number} if number else {})


def check(device, case):
    """Raise ValueError where the case's framework does not see the device."""
    if device != "cpu" and not _gpus(case.backend):
        raise ValueError(f"`device` {device!r} does not exist for {case.backend} here: cpu.")


def peak_memory(device, case):
    """Largest number of bytes that the framework had on a GPU; None on the CPU."""
    if device == "cpu":
        return None
    if case.backend == "jax":
        import jax

        return jax.devices("gpu")[0].memory_stats()["peak_bytes_in_use"]
    if case.backend == "torch":
        import torch

        return torch.cuda.max_memory_allocated()
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def _gpus(backend):
    if backend == "jax":
        import jax

        try:
            return jax.devices("gpu")
        except RuntimeError:  # JAX's way to say that there is none
            return []
    if backend == "torch":
        import torch

        return range(torch.cuda.device_count())
    import tensorflow as tf

    return tf.config.list_physical_devices("GPU")
