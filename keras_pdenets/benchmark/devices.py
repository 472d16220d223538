"""The device of a benchmark."""

import re

from keras_pdenets.export.convert import CPU_ONLY
from keras_pdenets.utils.machine import SHARED_GPU, accelerator

_DEVICE = re.compile(r"cpu|gpu(:\d+)?")


def check_name(device):
    """Return a device, or raise ValueError unless it is `cpu`, `gpu` or `gpu:N`."""
    if not _DEVICE.fullmatch(device):
        raise ValueError(f"`device` must be 'cpu', 'gpu' or 'gpu:N'. Received: device={device!r}")
    return device


def environment(device):
    """Environment variables that restrict a process to this device, shared with others."""
    if device == "cpu":
        return CPU_ONLY
    number = device.partition(":")[2]
    return SHARED_GPU | ({"CUDA_VISIBLE_DEVICES": number} if number else {})


def check(device, case):
    """Raise ValueError if the case's framework does not see the device."""
    if device != "cpu" and accelerator() is None:
        raise ValueError(
            f"`device` must be 'cpu': {case.backend} has no GPU here. Received: device={device!r}"
        )


def peak_memory(device, case):
    """Peak memory of the framework on a GPU, in bytes; None on the CPU."""
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
