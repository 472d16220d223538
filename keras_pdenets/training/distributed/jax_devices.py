"""JAX on several devices: one program on the whole batch, of one machine or of several."""

import atexit
import contextlib
import functools
import os
import pickle
import sys

import keras
import numpy as np

from keras_pdenets.training import state
from keras_pdenets.training.distributed.device_group import DeviceGroup, parse_devices, take

_ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
# What XLA says where the connection to another process is gone: Gloo on CPUs, NCCL on GPUs.
_LOST = ("Gloo ", "NCCL ", "coordination service", "heartbeat timeout")


def jax_devices(devices):
    """The `JaxDevices`, or `JaxProcesses` where Keras' variables name several machines."""
    return JaxProcesses(devices) if _ADDRESSES in os.environ else JaxDevices(devices)


class JaxDevices(DeviceGroup):
    """`keras.distribution.DataParallel`: one program on the whole batch, cut by the compiler.

    Batch norm sees the whole batch.

    Args:
        devices: As in `use_devices`.
    """

    def __init__(self, devices):
        import jax

        kind, count = parse_devices(devices)
        started = False
        if kind == "cpu" and count is not None:
            try:
                jax.config.update("jax_num_cpu_devices", count)
            except RuntimeError:  # it counted its devices before, or XLA_FLAGS say how many
                started = True
        try:
            found = keras.distribution.list_devices(kind)
        except RuntimeError:  # no such platform
            found = []
        self._set_up(take(devices, found, started))

    def _set_up(self, names):
        # Each process gives its own rows itself.
        self.distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
        self.size = self.distribution.num_model_replicas

    def watch(self):
        """Context that explains errors which come from other processes."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def alone(self):
        """Without the distribution: every device computes all, so that nothing must divide."""
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(self.distribution)


class JaxProcesses(JaxDevices):
    """The same with a process on each of several machines, which Keras' variables name.

    Args:
        devices: As in `use_devices`, of all machines together: all of a kind.

    Raises:
        ValueError: If they are another number than all.
        RuntimeError: If JAX has computed in this process before, or the others are not found.
    """

    def __init__(self, devices):
        import jax

        kind, count = parse_devices(devices)
        _join()
        found = keras.distribution.list_devices(kind)
        if count not in (None, len(found)):
            raise ValueError(
                "`devices` must be 'all', or the number of devices of all machines, which is "
                f"{len(found)}. Received: devices={devices!r}"
            )
        self._set_up(found)
        self._rank, self._processes = jax.process_index(), jax.process_count()
        self.first = self._rank == 0

    @contextlib.contextmanager
    def watch(self):
        """Say in plain words that another process has ended, whatever JAX says."""
        try:
            yield
        except Exception as error:
            if not any(sign in str(error) for sign in _LOST):
                raise
            # At its exit JAX would wait for the other for minutes, and then abort.
            atexit.register(_leave)
            raise RuntimeError(
                f"Another process of the run has ended, so process {self._rank} of "
                f"{self._processes} ends too. Start all of them again: they go on behind the last "
                f"whole epoch ({str(error).splitlines()[0][:200]})"
            ) from error

    def split(self, batches):
        """Rows of every batch: together the batches are those of one device."""
        return batches.part(self._rank, self._processes)

    def begin(self, model, build, resume):
        """The first process resumes with a model of its own: to assign is an act of all."""
        history, values = None, state.capture(model)
        if self.first:
            with self.alone():
                alone = build()
                state.restore(alone, values)
                history, values = resume(alone), state.capture(alone)
        history, values = self.share((history, values))
        state.restore(model, values)
        return history

    def share(self, value):
        from jax.experimental.multihost_utils import broadcast_one_to_all

        data = np.frombuffer(pickle.dumps(value if self.first else None), "uint8")
        size = int(broadcast_one_to_all(np.int32(len(data))))
        data = data if self.first else np.zeros(size, "uint8")
        return pickle.loads(np.asarray(broadcast_one_to_all(data)).tobytes())


@functools.cache
def _join():
    """Meet the other processes, once."""
    import jax

    # With it, JAX would ignore SIGTERM, by which machines are asked to stop.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        keras.distribution.initialize()
    except (RuntimeError, ValueError) as error:
        names = (_ADDRESSES, "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID")
        said = ", ".join(f"{name}={os.environ.get(name)}" for name in names)
        raise RuntimeError(
            f"The processes of {said} did not meet; each needs all three, and to train before JAX "
            f"has computed anything: {error}"
        ) from error


def _leave():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
