"""Training of nets that blow up: go back, slow down, go on."""

import logging

import keras
import numpy as np

from keras_pdenets.compat.keras import learning_rate_of
from keras_pdenets.training import state
from keras_pdenets.utils.checks import check_integer, check_number
from keras_pdenets.utils.text import shown

_LOG = logging.getLogger("keras_pdenets")


@keras.saving.register_keras_serializable(package="keras_pdenets")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate schedule times a factor.

    Args:
        schedule: The schedule.
        factor: What its rates are multiplied by.
    """

    def __init__(self, schedule, factor):
        self.schedule = schedule
        self.factor = factor

    def __call__(self, step):
        """The rate at a step."""
        return self.factor * self.schedule(step)

    def get_config(self):
        """The arguments."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "factor": self.factor}

    @classmethod
    def from_config(cls, config):
        """The schedule of a saved optimizer."""
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["factor"])


class RecoverFromDivergence(keras.callbacks.Callback):
    """Goes back to the last good state when the loss is not finite, and cuts the learning rate.

    Section 3, Liu et al. 2023, arXiv 2308.01621: hyperbolic nets fail at some step, with a NaN
    that they cannot recover from; resuming with a smaller rate gets around it. The state is kept
    in memory (weights, moving averages, optimizer) when training starts and after every epoch
    that the next batch's loss shows to be good. Not together with `LearningRateScheduler`, which
    sets the rate anew in every epoch: give the optimizer a schedule.

    Args:
        factor: What the learning rate is multiplied by, in (0, 1).
        retries: Number of recoveries before it gives up.
        explosion: A loss above this many times the first one counts as diverged too.
        monitor: Name of the loss in the logs: what a `train_step` of your own returns it under.

    Attributes:
        recoveries: Number of recoveries so far.

    Raises:
        ValueError: If an argument is out of range; in `fit`, after the first step, if training
            does not log `monitor` as a number.
        ArithmeticError: In `fit`, when the loss diverges once more after all retries; the model
            is back in its last good state.

    Example:
    >>> import keras_pdenets
    >>> guard = keras_pdenets.training.RecoverFromDivergence(factor=0.5, retries=3)
    >>> guard.recoveries
    0
    """

    def __init__(self, factor=0.5, retries=5, explosion=1e3, monitor="loss"):
        super().__init__()
        if not isinstance(monitor, str) or not monitor:
            raise ValueError(
                f"`monitor` must be a name in the logs. Received: monitor={shown(monitor)}"
            )
        self.monitor = monitor
        self.factor = check_number("factor", factor, "in (0, 1)", lambda f: 0 < f < 1)
        self.retries = check_integer("retries", retries, 1)
        self.explosion = check_number("explosion", explosion, "above 1", lambda e: e > 1)
        self._before = 0
        self._start()

    def _start(self):
        self.recoveries = 0
        # The state at the end of an epoch is good only when the next batch's loss says so.
        self._good = self._candidate = self._first_loss = self._schedule = None
        self._loss_is_empty = False

    @property
    def total(self):
        """Number of recoveries in all trainings of this callback, and in those it goes on with."""
        return self._before + self.recoveries

    def resume(self, model, recoveries):
        """Cut the learning rate of a training that goes on, as often as it was cut before.

        Args:
            model: The compiled model, with a schedule: a variable comes back by itself.
            recoveries: Number of recoveries before.
        """
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        base = learning_rate_of(optimizer)
        if isinstance(base, keras.optimizers.schedules.LearningRateSchedule):
            optimizer.learning_rate = ScaledSchedule(base, self.factor**recoveries)
        self._before = recoveries

    def on_train_begin(self, logs=None):
        """Start again."""
        self._before += self.recoveries
        self._start()

    def on_train_batch_begin(self, batch, logs=None):
        """Keep the state before the first step, when all variables exist."""
        if self._good is None:
            self.model.optimizer.build(self.model.trainable_variables)
            self._good = self._capture()

    def on_train_batch_end(self, batch, logs=None):
        """Recover if the loss is not finite."""
        loss = self._logged(logs)
        if self._first_loss is None and np.isfinite(loss):
            self._first_loss = abs(loss)
        if not np.isfinite(loss) or loss > self.explosion * max(self._first_loss, 1e-6):
            self._recover(f"the {self.monitor} is {loss:.3g} at batch {batch}")
            return
        self._loss_is_empty = False
        if self._candidate is not None:
            self._good, self._candidate = self._candidate, None

    def on_epoch_end(self, epoch, logs=None):
        """Take the state for good until the next loss says otherwise."""
        if self._loss_is_empty:  # recovered at the last batch: Keras would report 0
            if logs is not None:
                logs[self.monitor] = float("nan")
            return
        values = self._capture()
        if all(np.isfinite(v).all() for v in values.values() if v.dtype.kind not in "iub"):
            self._candidate = values
        else:  # the last step of the epoch did it
            self._recover(f"weights are not finite after epoch {epoch + 1}")

    def _logged(self, logs):
        """The monitored loss of a batch; a guard that watches nothing would look like one."""
        try:
            return float(np.asarray(keras.ops.convert_to_numpy(logs[self.monitor])).reshape(()))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                "`monitor` must be the name of a number that every training step logs. Received: "
                f"monitor={self.monitor!r}; logged: {', '.join(sorted(logs or {})) or 'nothing'}"
            ) from error

    def _capture(self):
        self._sync()
        return state.capture(self.model)

    def _sync(self):
        # JAX keeps the state outside the variables while it trains.
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()

    def _recover(self, reason):
        self._sync()
        optimizer = self.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        rate = float(inner.learning_rate)
        counters = [v for v in optimizer.variables if v.name == "skipped_steps"]
        counts = [np.array(keras.ops.convert_to_numpy(v)) for v in counters]
        state.restore(self.model, self._good)
        for variable, value in zip(counters, counts, strict=True):
            variable.assign(value)
        self._candidate = None
        # Else the running mean of the loss stays NaN for the rest of the epoch.
        self.model.reset_metrics()
        self._loss_is_empty = True
        if self.recoveries == self.retries:
            raise ArithmeticError(
                f"Training diverged {self.retries + 1} times, the last time because {reason}; the "
                "model is back in its last good state. Try a smaller learning rate, clipped "
                "gradients (global_clipnorm), an activation such as softball, or look for "
                "non-finite values in the data."
            )
        self.recoveries += 1
        self._cut(inner, rate)
        _LOG.warning(
            "%s: back to the last good state, learning rate times %.3g (%d of %d retries)",
            reason, self.factor**self.recoveries, self.recoveries, self.retries,
        )  # fmt: skip

    def _cut(self, optimizer, rate):
        """Cut the learning rate: a variable, a schedule or a function without arguments."""
        if isinstance(learning_rate_of(optimizer), keras.Variable):
            optimizer.learning_rate = rate * self.factor
            return
        self._schedule = base = self._schedule or learning_rate_of(optimizer)
        factor = self.factor**self.recoveries
        if isinstance(base, keras.optimizers.schedules.LearningRateSchedule):
            optimizer.learning_rate = ScaledSchedule(base, factor)
        else:
            optimizer.learning_rate = lambda: factor * base()
        self.model.make_train_function(force=True)
