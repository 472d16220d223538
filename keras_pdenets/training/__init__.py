"""Training: one recipe, one command, resumed where it was."""

import importlib
from typing import TYPE_CHECKING, Any

from keras_pdenets.training.callbacks import RecoverFromDivergence as RecoverFromDivergence
from keras_pdenets.training.callbacks import penalize_differences as penalize_differences
from keras_pdenets.training.callbacks import skip_nonfinite as skip_nonfinite
from keras_pdenets.training.callbacks import skipped_steps as skipped_steps

if TYPE_CHECKING:
    from keras_pdenets.training.callbacks.perturbation_log import (
        PerturbationLogger as PerturbationLogger,
    )
    from keras_pdenets.training.recipe import Phase as Phase
    from keras_pdenets.training.recipe import Recipe as Recipe
    from keras_pdenets.training.trainer import evaluate as evaluate
    from keras_pdenets.training.trainer import train as train

# Imported when they are first used: they stand on data, analysis, the Hub and transforms, and
# `import keras_pdenets` needs this package for what Keras must know by name.
_LATER = {
    "PerturbationLogger": "callbacks.perturbation_log", "Recipe": "recipe", "Phase": "recipe",
    "evaluate": "trainer", "train": "trainer",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
