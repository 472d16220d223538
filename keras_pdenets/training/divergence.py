"""Training of nets that blow up: go back, slow down, go on."""

import logging
import math

import keras
import numpy as np

from keras_pdenets.training import state

_LOG = logging.getLogger("keras_pdenets")


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
        return {"schedule": self.schedule, "factor": self.factor}


def skip_nonfinite(optimizer):
    """An optimizer that leaves out every step whose gradients are not finite.

    It is Keras' `LossScaleOptimizer` with the scale 1, which a skipped step halves: it serves to
    count them (`skipped_steps`). The averages of batch norm take in such a batch all the same:
    where the data hold NaN, use `RecoverFromDivergence` as well.

    Args:
        optimizer: A Keras optimizer.

    Returns:
        The optimizer to compile with.

    Example:
    >>> import keras
    >>> import keras_pdenets
    >>> optimizer = keras_pdenets.training.skip_nonfinite(keras.optimizers.SGD(0.1))
    """
    # It would double the scale again after this many finite steps.
    never = 2**31 - 1
    return keras.optimizers.LossScaleOptimizer(
        optimizer, initial_scale=1.0, dynamic_growth_steps=never
    )


def skipped_steps(optimizer):
    """Number of steps that an optimizer out of `skip_nonfinite` left out."""
    return round(-math.log2(float(optimizer.dynamic_scale)))


class RecoverFromDivergence(keras.callbacks.Callback):
    """Goes back to the last good state when the loss is not finite, and cuts the learning rate.

    Section 3, Liu et al. 2023, arXiv 2308.01621: hyperbolic nets fail at some step, with a NaN
    that they cannot recover from; resuming with a smaller rate gets around it. The state is kept
    in memory (weights, moving averages, optimizer) when training starts and after every epoch.

    Args:
        factor: What the learning rate is multiplied by, in (0, 1).
        retries: Number of recoveries before it gives up.
        explosion: A loss above this many times the first one counts as diverged too.

    Attributes:
        recoveries: Number of recoveries so far.

    Raises:
        ValueError: If an argument is out of range.
        ArithmeticError: In `fit`, when the loss diverges once more after all retries; the model
            is back in its last good state.

    Example:
    >>> import keras_pdenets
    >>> guard = keras_pdenets.training.RecoverFromDivergence(factor=0.5, retries=3)
    >>> guard.recoveries
    0
    """

    def __init__(self, factor=0.5, retries=5, explosion=1e3):
        super().__init__()
        if not 0 < factor < 1:
            raise ValueError(f"`factor` must be in (0, 1). Received: factor={factor}")
        if not isinstance(retries, int) or retries < 1:
            raise ValueError(f"`retries` must be a positive integer. Received: retries={retries}")
        if not explosion > 1:
            raise ValueError(f"`explosion` must be above 1. Received: explosion={explosion}")
        self.factor = factor
        self.retries = retries
        self.explosion = explosion
        self.recoveries = 0
        self._good = self._first_loss = self._schedule = None

    def on_train_begin(self, logs=None):
        """Start again."""
        self.recoveries = 0
        self._good = self._first_loss = self._schedule = None

    def on_train_batch_begin(self, batch, logs=None):
        """Keep the state before the first step, when all variables exist."""
        if self._good is None:
            self.model.optimizer.build(self.model.trainable_variables)
            self._good = self._capture()

    def on_train_batch_end(self, batch, logs=None):
        """Recover if the loss is not finite."""
        loss = float(logs["loss"])
        if self._first_loss is None and np.isfinite(loss):
            self._first_loss = abs(loss)
        if not np.isfinite(loss) or loss > self.explosion * max(self._first_loss, 1e-6):
            self._recover(f"the loss is {loss:.3g} at batch {batch}")

    def on_epoch_end(self, epoch, logs=None):
        """Keep the state, if all of it is finite."""
        values = self._capture()
        if all(np.isfinite(v).all() for v in values.values() if v.dtype.kind == "f"):
            self._good = values
        else:  # the last step of the epoch did it
            self._recover(f"weights are not finite after epoch {epoch + 1}")

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
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        rate = float(optimizer.learning_rate)
        state.restore(self.model, self._good)
        # Else the running mean of the loss stays NaN for the rest of the epoch.
        self.model.reset_metrics()
        if self.recoveries == self.retries:
            raise ArithmeticError(
                f"Training diverged {self.retries + 1} times, the last time because {reason}; the "
                "model is back in its last good state. Try a smaller learning rate, clipped "
                "gradients (global_clipnorm), an activation such as softball, or look for "
                "non-finite values in the data."
            )
        self.recoveries += 1
        try:
            optimizer.learning_rate = rate * self.factor
        except TypeError:  # a schedule cannot be set to a number, only replaced
            self._schedule = self._schedule or optimizer._learning_rate
            scaled = ScaledSchedule(self._schedule, self.factor**self.recoveries)
            optimizer.learning_rate = scaled
            self.model.make_train_function(force=True)
        _LOG.warning(
            "%s: back to the last good state, learning rate times %.3g (%d of %d retries)",
            reason, self.factor**self.recoveries, self.recoveries, self.retries,
        )  # fmt: skip
