"""The optimizer of a recipe."""

import keras

from keras_pdenets.blocks.operators import OPERATORS
from keras_pdenets.layers.flow_step import FLOW_KERNELS

_COEFFICIENTS = {name for row in OPERATORS.values() for name in row.coefficients}


class RestartedCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A first schedule, then one cosine after the other (Keras' own restarts have no warm-up).

    Args:
        first: Schedule of the first cycle.
        cycles: Steps and relative peak of each cycle, the first included.
        learning_rate: Rate that the peaks are relative to.
    """

    def __init__(self, first, cycles, learning_rate):
        self.first = first
        self.cycles = cycles
        self.learning_rate = learning_rate

    def __call__(self, step):
        """The rate at a step."""
        rate, begin = self.first(step), self.cycles[0][0]
        for steps, peak in self.cycles[1:]:
            cosine = keras.optimizers.schedules.CosineDecay(peak * self.learning_rate, steps)
            later = cosine(keras.ops.maximum(step - begin, 0))
            rate = keras.ops.where(step < begin, rate, later)
            begin += steps
        return rate

    def get_config(self):
        """The arguments."""
        return {"first": self.first, "cycles": self.cycles, "learning_rate": self.learning_rate}


def make_optimizer(recipe, model, steps_per_epoch):
    """SGD or AdamW with warm-up, cosine schedule and decay of the kernels only."""
    warmup = int(recipe.warmup_epochs * steps_per_epoch)
    cycles = [(epochs * steps_per_epoch, rate) for epochs, rate in recipe.cycles]
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else recipe.learning_rate,
        decay_steps=cycles[0][0] - warmup,
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    if len(cycles) > 1:
        schedule = RestartedCosine(schedule, cycles, recipe.learning_rate)
    common = {
        "learning_rate": schedule,
        "weight_decay": recipe.weight_decay,
        "global_clipnorm": recipe.gradient_norm,
        "use_ema": recipe.ema is not None,
        "ema_momentum": recipe.ema or 0.99,
    }
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=True, **common)
    else:
        optimizer = keras.optimizers.AdamW(**common)
    kept = [v for v in model.trainable_variables if not _decays(v, recipe.decay_pde)]
    optimizer.exclude_from_weight_decay(var_list=kept)
    return optimizer


def _decays(variable, decay_pde):
    if variable.name in _COEFFICIENTS:
        return decay_pde
    return "kernel" in variable.name and variable.name not in FLOW_KERNELS
