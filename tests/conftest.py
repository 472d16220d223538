"""What every test needs: a named backend, and no network."""

import os

if "KERAS_BACKEND" not in os.environ:
    raise RuntimeError("Set KERAS_BACKEND to tensorflow, jax or torch before running the tests.")
# Before huggingface_hub is imported: no test may depend on a remote server.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

from keras_pdenets.builders import ModelOptions
from keras_pdenets.operators import pde_initial_scales
from keras_pdenets.presets import ARCHITECTURES

BACKEND = keras.backend.backend()
# TensorFlow has no channels-first convolutions on a CPU.
DATA_FORMATS = ["channels_last"] + ["channels_first"] * (BACKEND != "tensorflow")


def pytest_collection_modifyitems(config, items):
    """What is marked `once` runs on torch alone, which is the backend of the default tier."""
    again = [item for item in items if BACKEND != "torch" and item.get_closest_marker("once")]
    config.hook.pytest_deselected(items=again)
    items[:] = [item for item in items if item not in set(again)]


@pytest.fixture(params=DATA_FORMATS)
def data_format(request):
    return request.param


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype("float32")


NUMPY_PADDING = {"zero": "constant", "replicate": "edge", "reflect": "reflect", "periodic": "wrap"}


def shifted(images, boundary):
    """u(x + j, y + i) for i, j in -1, 0, 1, by padding in NumPy."""
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], mode=NUMPY_PADDING[boundary])
    h, w = images.shape[1:3]
    return {
        (i, j): padded[:, 1 + i : 1 + i + h, 1 + j : 1 + j + w]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    }


def to_format(images, data_format):
    return images if data_format == "channels_last" else np.moveaxis(images, -1, 1)


def build(name, side=16, channels=3, classes=10, config=None, **options):
    """A row of the table with logits as output."""
    row = ARCHITECTURES[name]
    options = {"classifier_activation": None, **options}
    shape = (side, side, channels)
    if options.get("data_format") == "channels_first":
        shape = (channels, side, side)
    return row.build(config or {}, ModelOptions(shape, name=name, classes=classes, **options))


def fill(model):
    """Fixed weights, drawn from the path of each variable: the same on every backend."""
    for variable in model.weights:
        seed = sum(ord(c) * (i + 1) for i, c in enumerate(variable.path))
        draw = np.random.default_rng(seed).normal(size=tuple(variable.shape))
        name = variable.path.rsplit("/", 1)[-1]
        if name == "gamma":
            value = 0.5 + 0.1 * np.abs(draw)
        elif name == "moving_variance":
            value = 1.0 + 0.1 * np.abs(draw)
        elif name in ("beta", "moving_mean", "bias"):
            value = 0.1 * draw
        elif name in ("sigma", "b", "c"):
            scales = pde_initial_scales(variable.shape[1])
            value = draw * scales[("sigma", "b", "c").index(name)]
        else:
            gain = 1.0 if name == "row_kernel" else 2.0
            value = draw * (gain / np.prod(variable.shape[:-1])) ** 0.5
        variable.assign(value.astype("float32"))
    return model
