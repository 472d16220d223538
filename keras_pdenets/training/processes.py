"""torch on several devices: one process for each, which share their gradients."""

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import keras
from keras import ops

from keras_pdenets.data.extras import require
from keras_pdenets.training.device_group import DeviceGroup, parse_devices, take

_WORK = "from keras_pdenets.training.processes import work; work()"
# Where the processes meet, the number of this one and how many they are, if another started it.
_joined = None


@contextlib.contextmanager
def torch_devices(devices, worker=None):
    """A process group, for what is in the context.

    Where `torchrun` (or anything else that sets RANK and WORLD_SIZE) started this process, it
    joins the others, on any number of machines. Else it is the first and starts the others itself.

    Args:
        devices: As in `devices.use_devices`; of all machines together.
        worker: Function and its arguments by name, which the other processes call.

    Yields:
        The `TorchDevices`.
    """
    torch = require("torch", "torch")
    kind, count = parse_devices(devices)
    accelerators = torch.cuda.device_count()
    on_cpu = kind == "cpu" or (kind is None and not accelerators)
    others = []
    with contextlib.ExitStack() as stack:
        if _joined is not None:
            method, rank, size = _joined
        elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            method, rank, size = None, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            if count not in (None, size):
                raise ValueError(
                    f"`devices` must be the number of processes, WORLD_SIZE={size}, or 'all'. "
                    f"Received: devices={devices!r}"
                )
        else:
            rank, size = 0, len(take(devices, _found(kind, count, accelerators)))
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            method = Path(folder, "meet").as_uri()
            for other in range(1, size):
                others.append(stack.enter_context(_started(worker, (method, other, size))))
        place = "cpu"
        if not on_cpu:
            place = f"cuda:{int(os.environ.get('LOCAL_RANK', rank)) % max(accelerators, 1)}"
            torch.cuda.set_device(place)
        torch.distributed.init_process_group(
            "gloo" if on_cpu else "nccl", method, rank=rank, world_size=size
        )
        stack.callback(torch.distributed.destroy_process_group)
        stack.enter_context(keras.device(place))
        yield TorchDevices(torch, place, rank, size)
        for number, process in enumerate(others, start=1):
            if process.wait():
                raise RuntimeError(f"Process {number} of {size} ended with {process.returncode}.")


def _found(kind, count, accelerators):
    """Names of the devices of a kind on this machine."""
    if kind == "cpu":
        return ["cpu"] * (count or 1)
    if kind == "tpu" or (kind == "gpu" and not accelerators):
        return []
    return [f"gpu:{index}" for index in range(accelerators)] or ["cpu"]


@contextlib.contextmanager
def _started(worker, joined):
    """Another process; it ends with this one, however that ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WORK],
        stdin=subprocess.PIPE,
        env={
            **os.environ,
            "KERAS_BACKEND": "torch",
            # Where this process found its modules, its others must.
            "PYTHONPATH": os.pathsep.join(place for place in sys.path if place),
        },
    )
    try:
        pickle.dump((worker, joined), process.stdin)
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def work():
    """What such a process does: the worker's call, as long as the first process lives."""
    global _joined
    (function, arguments), _joined = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function(**arguments)


def _end_with_parent():
    while os.read(0, 1):  # empty when the pipe is closed
        pass
    os._exit(1)


class TorchDevices(DeviceGroup):
    """The processes of `torch.distributed`, each with its part of every batch.

    Batch norm sees a device's own part of the batch; its averages are averaged after every epoch.

    Args:
        torch: The module.
        place: Device of this process.
        rank: Number of this process.
        size: Number of processes.
    """

    def __init__(self, torch, place, rank, size):
        self._torch = torch
        self._place = place
        self._rank = rank
        self.size = size
        self.first = rank == 0

    def average_gradients(self, optimizer):
        """Average the gradients before the optimizer clips or scales them."""
        apply = optimizer.apply

        def apply_mean(grads, trainable_variables=None):
            self._average([g for g in grads if g is not None])
            return apply(grads, trainable_variables)

        optimizer.apply = apply_mean

    def _average(self, tensors):
        """Average tensors in place, those of one type in one message."""
        for dtype in {t.dtype for t in tensors}:
            same = [t for t in tensors if t.dtype == dtype]
            flat = self._torch.cat([t.reshape(-1) for t in same])
            self._torch.distributed.all_reduce(flat)
            flat /= self.size
            parts = flat.split([t.numel() for t in same])
            with self._torch.no_grad():
                for tensor, part in zip(same, parts, strict=True):
                    tensor.copy_(part.reshape(tensor.shape))

    def split(self, batches):
        """Rows of every batch. Every process reads all: the batches are those of one device."""

        def part(images, labels):
            length = len(images) if images.shape[0] is None else images.shape[0]
            rows = slice(self._rank * length // self.size, (self._rank + 1) * length // self.size)
            return images[rows], labels[rows]

        return batches.map(part)

    def start_alike(self, model):
        with self._torch.no_grad():
            for variable in model.variables + model.optimizer.variables:
                self._torch.distributed.broadcast(variable.value, 0)

    def merge(self, model):
        state = [v.value for v in model.non_trainable_variables]
        with self._torch.no_grad():
            self._average([t for t in state if t.is_floating_point()])

    def share(self, value):
        box = [value]
        self._torch.distributed.broadcast_object_list(box, 0, device=self._place)
        return box[0]

    def mean(self, logs):
        values = ops.convert_to_tensor([float(v) for v in logs.values()], "float64")
        self._average([values])
        return dict(zip(logs, values.tolist(), strict=True))
