"""What a training run asks of its devices, and what one device answers."""

import contextlib
import re

_DEVICES = re.compile(r"(?:(cpu|gpu|tpu):)?(\d+|all)")


class DeviceGroup:
    """One device, with nothing to share; the backends' own groups differ in what they must.

    Attributes:
        size: Number of devices.
        first: Whether this process is the one that writes and reports.
    """

    size = 1
    first = True

    def scope(self):
        """Context in which the model and its optimizer are built."""
        return contextlib.nullcontext()

    def average_gradients(self, optimizer):
        """Let an optimizer see the gradient of the whole batch."""

    def split(self, batches):
        """This process's share of `data.Batches`, which are whole."""
        return batches

    def begin(self, model, build, resume):
        """Bring a model to where its run stopped, in all processes.

        Args:
            model: The model.
            build: Function that builds another one like it.
            resume: Function that brings a model there, and returns the log; for the first process.

        Returns:
            The log.
        """
        history = self.share(resume(model) if self.first else None)
        self.start_alike(model)
        return history

    def start_alike(self, model):
        """Give a model and its optimizer the values that they have in the first process."""

    def merge(self, model):
        """Average over the processes what batch norm knows."""

    def share(self, value):
        """A value of the first process."""
        return value

    def mean(self, logs):
        """A dictionary of numbers, averaged over the processes."""
        return logs

    def alone(self):
        """Context in which every process takes whole batches, of any size."""
        return contextlib.nullcontext()

    def to_evaluate(self, model, build):
        """The model to evaluate: itself, or the one of `build` with its weights."""
        return model


def parse_devices(devices):
    """Kind (or None) and number (or None for all) of `devices`.

    Raises:
        ValueError: If it is neither a number nor `"all"`, with or without a kind.

    Example:
    >>> from keras_pdenets.training.distributed.device_group import parse_devices
    >>> parse_devices("cpu:2"), parse_devices("all"), parse_devices(4)
    (('cpu', 2), (None, None), (None, 4))
    """
    match = None if isinstance(devices, bool) else _DEVICES.fullmatch(str(devices))
    if match is None or match[2].strip("0") == "":
        raise ValueError(
            "`devices` must be a positive number, 'all', or one of them after a kind, as in "
            f"'gpu:2', 'gpu:all' or 'cpu:2'. Received: devices={devices!r}"
        )
    return match[1], None if match[2] == "all" else int(match[2])


def take(devices, found, started=False):
    """The first of the devices that were found, as many as are asked for.

    Args:
        devices: What the user asked for.
        found: Names of the devices of that kind.
        started: Whether the backend runs already, so that the CPU cannot be parted any more.

    Raises:
        ValueError: If there are too few.
    """
    kind, count = parse_devices(devices)
    if not found or (count or 0) > len(found):
        if started:
            hint = "the backend runs already: part the CPU at the start of a new process"
        elif kind is None:
            hint = "'cpu:2' makes two of the CPU, for tests"
        else:
            hint = "a number alone takes what there is"
        raise ValueError(
            f"`devices` must be at most what this machine has, which is {len(found)} "
            f"({', '.join(found) or 'none of this kind'}); {hint}. Received: devices={devices!r}"
        )
    return found[:count]
