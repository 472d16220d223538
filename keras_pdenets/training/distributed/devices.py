"""One training run on several devices, in the way of each backend."""

import contextlib
import functools
import os

import keras

from keras_pdenets.training.distributed.device_group import DeviceGroup, parse_devices, take
from keras_pdenets.training.distributed.jax_devices import jax_devices
from keras_pdenets.training.distributed.processes import torch_devices


@contextlib.contextmanager
def use_devices(devices, worker=None):
    """Train on several devices, for what is in the context.

    Args:
        devices: None: one device, as Keras chooses it. A number or `"all"`: of the accelerators.
            `"gpu:2"`: of this kind. `"cpu:2"`: the CPU as two devices, for tests.
        worker: Function and its arguments by name, which torch's other processes call.

    Yields:
        The `DeviceGroup`.

    Raises:
        ValueError: If there are not so many devices of that kind.
    """
    if devices is None:
        yield DeviceGroup()
    elif keras.backend.backend() == "torch":
        with torch_devices(devices, worker) as group:
            yield group
    elif keras.backend.backend() == "tensorflow":
        yield TensorflowDevices(devices)
    else:
        before = keras.distribution.distribution()
        group = jax_devices(devices)
        keras.distribution.set_distribution(group.distribution)
        try:
            with group.watch():
                yield group
        finally:
            keras.distribution.set_distribution(before)


@functools.cache
def _mirrored(names):
    # Kept: two strategies in one process would give their collective operations the same numbers.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(list(names))


class TensorflowDevices(DeviceGroup):
    """`tf.distribute.MirroredStrategy`, on one machine.

    Batch norm sees a device's own part of the batch; its averages are averaged in every step.

    Args:
        devices: As in `use_devices`.

    Raises:
        NotImplementedError: If TF_CONFIG names several machines.
    """

    def __init__(self, devices):
        if "TF_CONFIG" in os.environ:
            # `fit` of Keras 3.15.1 fails on the values of MultiWorkerMirroredStrategy.
            raise NotImplementedError(
                "`devices` of several machines need torch or JAX: Keras cannot train with "
                f"TensorFlow's strategy for them. Received: devices={devices!r} with TF_CONFIG set"
            )
        import tensorflow as tf

        self._tf = tf
        kind, count = parse_devices(devices)
        started = False
        if kind == "cpu" and count is not None:
            part = [tf.config.LogicalDeviceConfiguration()] * count
            try:
                tf.config.set_logical_device_configuration(
                    tf.config.list_physical_devices("CPU")[0], part
                )
            except RuntimeError:
                started = True
        kinds = [kind.upper()] if kind else ["GPU", "CPU"]
        lists = [tf.config.list_logical_devices(k) for k in kinds]
        found = [device.name for device in next((names for names in lists if names), [])]
        self.strategy = _mirrored(tuple(take(devices, found, started)))
        self.size = self.strategy.num_replicas_in_sync

    def scope(self):
        return self.strategy.scope()

    def average_gradients(self, optimizer):
        """Have the norm of the whole gradient clipped: Keras clips before it adds them up."""
        inner = getattr(optimizer, "inner_optimizer", None)
        if inner is not None and inner.global_clipnorm is not None:
            raise NotImplementedError(
                "`gradient_norm` with mixed_float16 on several devices needs torch or JAX: Keras "
                f"clips every device's part. Received: global_clipnorm={inner.global_clipnorm}"
            )
        if optimizer.global_clipnorm is None:
            return
        # The sum on every device, over the size, comes out of Keras' own sum as it is.
        optimizer.global_clipnorm /= self.size
        apply, tf, size = optimizer.apply, self._tf, self.size

        def apply_sum(grads, trainable_variables=None):
            replica = tf.distribute.get_replica_context()
            total = replica.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
            return apply([g / size for g in total], trainable_variables)

        optimizer.apply = apply_sum

    def to_evaluate(self, model, build):
        """A model outside the strategy, where the last batch may be of any size."""
        twin = build()
        for new, old in zip(twin.variables, model.variables, strict=True):
            new.assign(keras.ops.convert_to_numpy(old))
        return twin
