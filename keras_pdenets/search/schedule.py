"""The learning rate of a trial."""

import keras


class HoldThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a straight line, stays, and falls to 0 at the end.

    Args:
        learning_rate: The rate.
        warmup_steps: Steps in which it rises: Adam's first steps would undo what a net brings.
        hold_steps: Steps before it falls.
        decay_steps: Steps in which it falls; 0: it does not.
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
