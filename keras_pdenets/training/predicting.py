"""What a net says about image files."""

from pathlib import Path

import keras
import numpy as np

from keras_pdenets.applications import load_model
from keras_pdenets.data.resizing import fit_image
from keras_pdenets.data.sources.files import read_image
from keras_pdenets.presets import get_preset
from keras_pdenets.utils.json_files import load_json

CLASSES = "classes.json"


def open_classifier(model):
    """A net, the side of its images and the names of its classes.

    Args:
        model: A `.keras` file, beside which `classes.json`, a list, may name the classes; or a
            preset.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such preset, or the net does not say its images' size.
    """
    path = Path(model)
    if path.suffix != ".keras":
        checkpoint = get_preset(str(model)).checkpoint
        return load_model(str(model)), checkpoint.input_shape[0], checkpoint.class_names
    if not path.is_file():
        raise FileNotFoundError(f"`model` must be a preset or a .keras file. There is no {path}")
    net = keras.saving.load_model(path, compile=False)
    side = net.input_shape[1]
    if side is None:
        raise ValueError(f"`model` must take images of one size. Received: {net.input_shape}")
    names = path.with_name(CLASSES)
    return net, side, tuple(load_json(names)) if names.is_file() else ()


def predict(model, paths):
    """Probabilities of the classes for image files.

    Args:
        model: As in `open_classifier`.
        paths: The files.

    Yields:
        The path, and pairs of the name (or the number) of a class and its probability, the most
        probable first.

    Raises:
        ValueError: If a file cannot be read; the message names it.
    """
    net, side, names = open_classifier(model)
    for path in paths:
        image = fit_image(read_image(path, net.input_shape[-1]), (side, side))
        scores = np.asarray(net.predict(image, verbose=0)[0], "float64")
        if scores.min() < 0 or abs(scores.sum() - 1) > 1e-2:  # logits
            scores = np.exp(scores - scores.max())
        scores = scores / scores.sum()
        order = np.argsort(-scores)
        known = names or tuple(str(i) for i in range(len(scores)))
        yield path, [(known[i], float(scores[i])) for i in order]
