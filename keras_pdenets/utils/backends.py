"""Which backend Keras will use, and what to do if it is missing, without importing Keras."""

import difflib
import json
import os
from pathlib import Path

from keras_pdenets.utils.extras import installed

BACKENDS = ("tensorflow", "jax", "torch")
HOW_TO_CHOOSE = (
    "Keras computes with TensorFlow, JAX or PyTorch. The environment variable KERAS_BACKEND "
    "(tensorflow, jax or torch) says which; without it the file ~/.keras/keras.json, or else "
    'tensorflow; pip install "keras-pdenets[torch]" (or [tensorflow], [jax]) installs it.'
)


def chosen_backend() -> str:
    """Name of the backend that Keras will use, by the rules of `keras.config`."""
    name = os.environ.get("KERAS_BACKEND")
    if name:
        return name
    folder = Path(os.environ.get("KERAS_HOME") or Path("~", ".keras")).expanduser()
    try:
        return str(json.loads((folder / "keras.json").read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def missing_backend() -> str | None:
    """What is wrong with the chosen backend and how to fix it, or None if it is installed."""
    name = chosen_backend()
    if name in BACKENDS and installed(name):
        return None
    there = ", ".join(filter(installed, BACKENDS)) or "none"
    if name in BACKENDS:
        wrong = f"Keras' backend {name} is not installed."
    else:
        near = difflib.get_close_matches(name.lower(), BACKENDS, n=1, cutoff=0.0)[0]
        wrong = (
            f"Keras' backend must be one of {', '.join(BACKENDS)}; the nearest is {near}. "
            f"Received: {name!r}."
        )
    return f"{wrong} Installed here: {there}. {HOW_TO_CHOOSE}"
