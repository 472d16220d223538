"""Callbacks that the command takes by a name."""

from pathlib import Path

import keras

from keras_pdenets.training.callbacks.divergence import RecoverFromDivergence
from keras_pdenets.utils.checks import lookup
from keras_pdenets.utils.extras import require

_PATIENCE = 5  # epochs without a smaller loss on the images that the log follows


def _tensorboard(folder):
    require("tensorflow", "tensorflow")  # Keras writes for TensorBoard with it on every backend
    return keras.callbacks.TensorBoard(str(folder / "tensorboard"))


def _wandb(folder):
    logger = require("wandb.integration.keras", "wandb").WandbMetricsLogger
    require("wandb", "wandb").init(dir=str(folder), name=folder.name, resume="allow")
    return logger()


NAMED = {
    "csv": lambda folder: keras.callbacks.CSVLogger(folder / "fit.csv", append=True),
    "early_stopping": lambda folder: keras.callbacks.EarlyStopping("val_loss", patience=_PATIENCE),
    "recover": lambda folder: RecoverFromDivergence(),
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}


def named_callbacks(names, folder):
    """Callbacks by their names, writing into the folder of a run.

    Args:
        names: Of `NAMED`.
        folder: The folder, which is made.

    Raises:
        ImportError: If what one needs is missing; the message says how to get it.
    """
    if names:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return [lookup("callback", name, NAMED)(Path(folder)) for name in dict.fromkeys(names)]
