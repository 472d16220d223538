"""Everything that trains or reads data runs where TensorFlow is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BACKEND

from keras_pdenets.data import load_sample

pytestmark = pytest.mark.skipif(BACKEND == "tensorflow", reason="is TensorFlow")

_PROGRAM = """
import json, sys


class Without:
    "A finder of modules that does not find TensorFlow."

    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras"):
            return None
        return self._finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self._finder, name)


sys.meta_path[:] = map(Without, sys.meta_path)
import keras_pdenets.cli

for arguments in json.loads(sys.argv[1]):
    status = keras_pdenets.cli.main(arguments)
    assert status == 0, (arguments, status)
assert "tensorflow" not in sys.modules
try:
    import tensorflow
except ModuleNotFoundError:
    print("no TensorFlow")
"""
SMALL = {"num_blocks": 1, "filters": [4, 8, 8]}
MODEL = {"input_shape": [28, 28, 1], "classes": 10, "mean": [72.9], "std": [90.0]}
TRAINING = {"dataset": "sample", "stages": [{"epochs": 1, "image_size": 7}], "batch_size": 100,
            "warmup_epochs": 0.0}  # fmt: skip
NET = {"architecture": "preact_resnet20", "options": SMALL}
PRESET = "pde_resnet20_fashion_mnist"


def _write(path, value):
    path.write_text(json.dumps(value))
    return str(path)


def _run(commands):
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(commands)],
        capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.rstrip().endswith("no TensorFlow")
    return run.stdout


def _pictures(folder):
    """Boots and shirts, a folder for each."""
    image = pytest.importorskip("PIL.Image")
    images, labels = load_sample()
    for name, label in (("boot", 9), ("shirt", 6)):
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(images[labels == label][:10, ..., 0]):
            image.fromarray(pixels).save(folder / name / f"{number}.png")
    return str(folder)


def test_the_commands_that_train(tmp_path):
    recipe = {"preset": "small", "checkpoint": {**NET, **MODEL}, **TRAINING}
    protocol = {"entries": [{"name": "conv", **NET}], "seeds": [0],
                "recipe": {"checkpoint": MODEL, **TRAINING}}  # fmt: skip
    space = {"dataset": "sample", "image_size": 7, "filters": [4, 8, 8], "depths": [1],
             "train_split": "train", "validation_split": "train", "test_split": "train",
             "epochs": 1, "anneal_epochs": 1}  # fmt: skip
    out = [str(tmp_path / name) for name in ("train", "zoo", "search", "finetune")]
    trained, pictures = str(tmp_path / "train" / "model.safetensors"), _pictures(tmp_path / "own")
    said = _run([
        ["train", "--recipe", _write(tmp_path / "r.json", recipe), "--out", out[0]],
        ["evaluate", "--preset", PRESET, "--sample"],
        ["dev", "zoo", "run", _write(tmp_path / "p.json", protocol), "--out", out[1]],
        ["search", _write(tmp_path / "s.json", space), "--oracle", "grid", "--out", out[2]],
        ["verify", PRESET],
        ["finetune", trained, pictures, "--out", out[3], "--epochs", "1", "1", "--size", "14",
         "--no-onnx"],
    ])  # fmt: skip
    assert "the card says 9" in said
    assert Path(out[0], "model.safetensors").exists()
    assert {"model.keras", "report.json", "confusion.png"} <= {
        path.name for path in Path(out[3]).iterdir()
    }
