"""What a net says about image files."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.applications import load_model
from keras_pdenets.data.resizing import fit_image
from keras_pdenets.data.sources.files import read_image
from keras_pdenets.presets import get_preset
from keras_pdenets.utils.atomic import replace_file
from keras_pdenets.utils.json_files import MOST_BYTES, load_json, parse_json

CLASSES = "classes.json"


def open_classifier(model):
    """A net, the side of its images and the names of its classes.

    Args:
        model: A `.keras` file, which holds the names of its classes where `save_classifier` has
            written it; else `classes.json`, a list, may name them beside it. Or a preset.

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
    return net, side, _read_names(path)


def save_classifier(model, path, class_names):
    """Write a `.keras` file that names its classes, in a member that Keras leaves alone.

    Args:
        model: The model.
        path: The file; it is whole or as before.
        class_names: Names of the classes.
    """

    def write(temporary):
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(CLASSES, json.dumps(list(class_names)))

    replace_file(Path(path), write)


def _read_names(path):
    """Names of the classes in a `.keras` file, or beside it; empty where there are none."""
    beside = path.with_name(CLASSES)
    with zipfile.ZipFile(path) as archive:
        if CLASSES in archive.namelist() and archive.getinfo(CLASSES).file_size <= MOST_BYTES:
            return tuple(map(str, parse_json(archive.read(CLASSES))))
    return tuple(load_json(beside)) if beside.is_file() else ()


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
