"""torch on several devices: one process for each, which share their gradients."""

import contextlib
import os
import tempfile
from pathlib import Path

import keras
from keras import ops

from keras_pdenets.training.distributed import workers
from keras_pdenets.training.distributed.device_group import DeviceGroup, parse_devices, take

# Seconds until a process that broke a connection must have ended.
_GRACE = 5.0


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

    Raises:
        ValueError: If there are not so many devices of that kind.
        RuntimeError: If a process that was started here ends with an error; the message has the
            end of what it said.
    """
    import torch

    kind, count = parse_devices(devices)
    accelerators = torch.cuda.device_count()
    on_cpu = kind == "cpu" or (kind is None and not accelerators)
    folder, others = None, []
    with contextlib.ExitStack() as stack:
        if workers.joined is not None:
            folder, rank, size = workers.joined
        elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            if count not in (None, size):
                raise ValueError(
                    f"`devices` must be the number of processes, WORLD_SIZE={size}, or 'all'. "
                    f"Received: devices={devices!r}"
                )
        else:
            rank, size = 0, len(take(devices, _found(kind, count, accelerators)))
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            for other in range(1, size):
                others.append(workers.start_worker(worker, (folder, other, size)))
                stack.callback(others[-1].close)
        place = "cpu"
        if not on_cpu:
            place = f"cuda:{int(os.environ.get('LOCAL_RANK', rank)) % max(accelerators, 1)}"
            torch.cuda.set_device(place)
        method = None
        if folder is not None:
            workers.meet(folder, rank, others)
            method = Path(folder, "group").as_uri()
        torch.distributed.init_process_group(
            "gloo" if on_cpu else "nccl", method, rank=rank, world_size=size
        )
        stack.callback(torch.distributed.destroy_process_group)
        stack.enter_context(keras.device(place))
        try:
            yield TorchDevices(torch, place, rank, size)
        except RuntimeError:  # such as that of a connection that another has closed
            workers.check_alive(others, _GRACE, may_be_done=True)
            raise
        for other in others:
            other.process.wait()
        workers.check_alive(others, may_be_done=True)


def _found(kind, count, accelerators):
    """Names of the devices of a kind on this machine."""
    if kind == "cpu":
        return ["cpu"] * (count or 1)
    if kind == "tpu" or (kind == "gpu" and not accelerators):
        return []
    return [f"gpu:{index}" for index in range(accelerators)] or ["cpu"]


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
        """Rows of every batch: together the batches are those of one device."""
        return batches.part(self._rank, self.size)

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
