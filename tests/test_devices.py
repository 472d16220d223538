"""Several devices: the steps of one, one writer, and errors that name what is there."""

import contextlib
import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import BACKEND

from keras_pdenets.data.pipelines import ImageSet
from keras_pdenets.data.sources.arrays import from_arrays
from keras_pdenets.presets import Checkpoint
from keras_pdenets.training import Phase, Recipe, train, trainer
from keras_pdenets.training.distributed import workers
from keras_pdenets.training.distributed.device_group import DeviceGroup, parse_devices, take
from keras_pdenets.training.distributed.devices import use_devices

RECIPE = Recipe(
    "small",
    Checkpoint(
        "preact_resnet20", (28, 28, 1), 10, {"num_blocks": 1, "filters": (4, 4, 4)}, (72.9,),
        (90.0,), tuple("abcdefghij"),
    ),
    "sample", stages=(Phase(2, 7),), batch_size=100, learning_rate=0.05,
    jit_compile=BACKEND == "jax",
)  # fmt: skip

# A process of its own: a backend counts its devices once.
_TWO = """
import json, sys
from pathlib import Path
from test_devices import RECIPE, fit
from keras_pdenets.training import train
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    result = {name: fit("cpu:2", clip) for name, clip in (("free", None), ("clipped", 0.2))}
    result["log"] = train(RECIPE, folder / "run", verbose=0, devices="cpu:2")
    (folder / "result.json").write_text(json.dumps(result))
"""


def fit(devices, clip=None):
    """Loss, accuracy and weights of a net without batch norm after ten steps."""
    rng = np.random.default_rng(0)
    data = rng.uniform(-1, 1, (100, 8, 8, 1)).astype("float32"), rng.integers(0, 10, 100)
    with use_devices(devices, (fit, {"devices": devices, "clip": clip})) as group:
        keras.utils.set_random_seed(0)
        with group.scope():
            model = keras.Sequential(
                [
                    keras.Input((8, 8, 1)),
                    keras.layers.Conv2D(4, 3, 2, activation="relu"),
                    keras.layers.Flatten(),
                    keras.layers.Dense(10),
                ]
            )
            model.compile(
                keras.optimizers.SGD(
                    0.1, momentum=0.9, nesterov=True, weight_decay=0.01, global_clipnorm=clip
                ),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
                jit_compile=BACKEND == "jax",
            )
            model.optimizer.build(model.trainable_variables)
        group.average_gradients(model.optimizer)
        batches = group.split(ImageSet(from_arrays(*data)).batches(20))
        fitted = model.fit(batches, epochs=2, shuffle=False, verbose=0)
        logs = group.mean({key: values[-1] for key, values in fitted.history.items()})
        weights = [keras.ops.convert_to_numpy(v).tolist() for v in model.variables]
    return [logs, weights]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two devices make of it, and the folder of their run."""
    folder = tmp_path_factory.mktemp("two")
    script = folder / "two.py"
    script.write_text(_TWO)
    # The folder of the tests, for the script and for the processes of torch.
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, str(script), str(folder)],
        check=True, timeout=300, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    return json.loads((folder / "result.json").read_text()), folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "clip"), [("free", None), ("clipped", 0.2)])
def test_two_devices_make_the_steps_of_one(two, name, clip):
    logs, weights = fit(None, clip)
    assert two[0][name][0] == pytest.approx(logs, abs=1e-5)
    for other, value in zip(two[0][name][1], weights, strict=True):
        np.testing.assert_allclose(other, value, atol=1e-5)


@pytest.mark.slow
def test_a_run_on_two_devices(two, tmp_path):
    result, folder = two
    assert {p.name for p in folder.iterdir() if not p.name.startswith(".")} == {
        "state.safetensors", "log.csv", "model.safetensors", "recipe.json",
    }  # fmt: skip
    # Not to the last digit: batch norm sees parts of the batches, except on JAX.
    alone = train(RECIPE, tmp_path, verbose=0)
    tolerance = 1e-4 if BACKEND == "jax" else 0.02
    for row, other in zip(alone, result["log"], strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=tolerance)
        assert other["test_loss"] == pytest.approx(row["test_loss"], rel=10 * tolerance)
    # It goes on with another number of devices.
    (folder / "model.safetensors").unlink()
    assert train(RECIPE, folder, verbose=0) == result["log"]
    assert (folder / "model.safetensors").exists()


def test_devices_in_words():
    assert parse_devices(2) == parse_devices("2") == (None, 2)
    assert parse_devices("gpu:all") == ("gpu", None)
    for wrong in (0, -1, "two", "cpu", True, 1.5):
        with pytest.raises(ValueError, match="`devices` must be a positive number"):
            parse_devices(wrong)


def test_too_many_devices(tmp_path):
    assert take("all", ["a", "b"]) == ["a", "b"]
    with pytest.raises(ValueError, match=r"which is 2 \(a, b\); the backend runs already"):
        take("cpu:3", ["a", "b"], started=True)
    for devices in (99, "gpu:99"):
        with pytest.raises(ValueError, match=f"at most what this machine has.*devices={devices!r}"):
            train(RECIPE, tmp_path / "run", verbose=0, devices=devices)
    assert keras.distribution.distribution() is None
    assert not (tmp_path / "run").exists()


def test_a_batch_must_be_divisible(tmp_path, monkeypatch):
    class Three(DeviceGroup):
        size = 3

    monkeypatch.setattr(trainer, "use_devices", lambda *_: contextlib.nullcontext(Three()))
    with pytest.raises(
        ValueError, match=r"`batch_size` of a recipe must be divisible.*which are 3"
    ):
        train(dataclasses.replace(RECIPE, batch_size=100), tmp_path, devices=3)


# What another process calls.
_FAILING = """
from keras_pdenets.training.distributed.devices import use_devices

def fail():
    with use_devices("cpu:2") as group:
        group.share(None)
        raise ValueError("no data is left")
"""


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no such library')", "with status 1: no such library"),
        ("import os; os.kill(os.getpid(), 9)", "with status -9: no output"),
        ("pass", "with status 0"),
        (None, "with status 1: .*ValueError: no data is left"),
    ],
)
def test_a_process_that_ends_ends_the_run(code, message, monkeypatch, tmp_path, capfd):
    (tmp_path / "failing.py").write_text(_FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    if code is not None:
        monkeypatch.setattr(workers, "_WORK", code)
        # Where nobody looks at the others, torch waits for half an hour.
        torch = importlib.import_module("torch")
        monkeypatch.setattr(torch.distributed, "init_process_group", pytest.fail)
    task = importlib.import_module("failing").fail, {}

    def run():
        with use_devices("cpu:2", task) as group:
            while True:
                group.share(None)

    with pytest.raises(RuntimeError, match=f"Process 1 of 2 ended {message}"):
        run()
    assert ("Traceback" in capfd.readouterr().err) == (code is None)
