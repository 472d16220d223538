"""The optimizer of a recipe."""

import keras

_PDE_COEFFICIENTS = {"sigma", "b", "c"}


def make_optimizer(recipe, model, steps_per_epoch):
    """SGD or AdamW with warm-up, cosine schedule and decay of the kernels only."""
    warmup = int(recipe.warmup_epochs * steps_per_epoch)
    total = recipe.epochs * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else recipe.learning_rate,
        decay_steps=total - warmup,
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
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
    if variable.name in _PDE_COEFFICIENTS:
        return decay_pde
    return "kernel" in variable.name
