"""The training of a trial: batches, learning rate, state on disk."""

import time

import keras
import keras_tuner
import numpy as np

from keras_pdenets.training import state


class ShuffledBatches(keras.utils.PyDataset):
    """Arrays in a new order in every epoch, reproducible after a resume.

    Keras also calls `on_epoch_end` once before the first step.

    Args:
        x: Images.
        y: Labels.
        batch_size: Images per batch; the last, incomplete batch is left out.
        seed: Seed of the order.
        epoch: Number of completed epochs.
    """

    def __init__(self, x, y, batch_size, seed, epoch):
        super().__init__()
        self.x, self.y = x, y
        self.batch_size = min(batch_size, len(x))
        self.seed, self.epoch = seed, epoch
        self._mix()

    def _mix(self):
        self._order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.x))

    def __len__(self):
        """Number of steps in an epoch."""
        return len(self.x) // self.batch_size

    def __getitem__(self, index):
        """One batch."""
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.x[chosen], self.y[chosen]

    def on_epoch_end(self):
        """Switch to the next epoch's order."""
        self.epoch += 1
        self._mix()


class HoldThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate with linear warm-up, a constant phase, and linear decay to 0.

    Args:
        learning_rate: The peak rate.
        warmup_steps: Steps of warm-up, or Adam's first steps would undo previous training.
        hold_steps: Steps before the decay.
        decay_steps: Steps of the decay; 0: none.
    """

    def __init__(self, learning_rate, warmup_steps, hold_steps, decay_steps):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.hold_steps = hold_steps
        self.decay_steps = decay_steps

    def __call__(self, step):
        """The rate at a step."""
        step = keras.ops.cast(step, "float32")
        share = keras.ops.clip((step + 1.0) / max(self.warmup_steps, 1), 0.0, 1.0)
        if self.decay_steps:
            done = (step - self.hold_steps) / self.decay_steps
            share = share * (1.0 - keras.ops.clip(done, 0.0, 1.0))
        return self.learning_rate * share

    def get_config(self):
        """The arguments."""
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "hold_steps": self.hold_steps,
            "decay_steps": self.decay_steps,
        }


class SaveState(keras.callbacks.Callback):
    """Saves everything that a resume needs, after every epoch."""

    def __init__(self, path, space, history):
        super().__init__()
        self.path, self.space, self.history = path, space, history

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise keras_tuner.errors.FailedTrialError(
                f"The loss is {logs['loss']} after epoch {epoch + 1}: the training diverged."
            )
        row = {key: float(value) for key, value in logs.items()}
        self.history.append(row | {"seconds": time.monotonic() - self.begin})
        state.write_state(self.path, state.capture(self.model), self.history, self.space)
