"""Training: the recipe, the optimizer, and a run that survives any kill."""

import csv
import dataclasses
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import BACKEND
from safetensors.numpy import load_file

from keras_pdenets import WeightsError
from keras_pdenets.data import DataSource
from keras_pdenets.presets import Checkpoint, read_presets
from keras_pdenets.publishing import card, release
from keras_pdenets.training import Phase, Recipe, evaluate, phases, train
from keras_pdenets.training.models import build_model, compiled_model
from keras_pdenets.training.optimizers import make_optimizer
from keras_pdenets.utils import machine
from keras_pdenets.utils.locking import LOCK, InUseError, locked

CHECKPOINT = Checkpoint(
    "pde_preact_resnet20", (28, 28, 1), 10, {"num_blocks": 1, "filters": (8, 16, 16)},
    (72.9,), (90.0,), tuple("abcdefghij"),
)  # fmt: skip
RECIPE = Recipe(
    "small", CHECKPOINT, "sample", stages=(Phase(3, 7), Phase(3, 14)), batch_size=100,
    optimizer="adamw", learning_rate=0.02, jit_compile=False,
)  # fmt: skip


def _log(folder):
    with (folder / "log.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def _same_logs(a, b):
    assert len(a) == len(b) == RECIPE.epochs
    for first, second in zip(a, b, strict=True):
        assert first == pytest.approx(second, rel=1e-3, abs=1e-3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("run")
    history = train(RECIPE, folder, verbose=0)
    return folder, history


def test_jax_compiles_a_recipe_that_does_without_xla():
    model = compiled_model(RECIPE, DataSource("sample", "train"))
    assert model.jit_compile == (BACKEND == "jax")


_CUDA = SimpleNamespace(get_device_name=lambda: "GPU X")
_CONFIG = SimpleNamespace(
    get_visible_devices=lambda kind: ["/gpu"],
    experimental=SimpleNamespace(get_device_details=lambda gpu: {"device_name": "GPU X"}),
)
_JAX_GPU = SimpleNamespace(platform="gpu", device_kind="GPU X")
_JAX_CPU = SimpleNamespace(platform="cpu", device_kind="cpu")
_TENSORS = {
    ("jax", "GPU X"): SimpleNamespace(devices=lambda: [_JAX_GPU]),
    ("jax", None): SimpleNamespace(devices=lambda: [_JAX_CPU]),
    ("torch", "GPU X"): SimpleNamespace(device=SimpleNamespace(type="cuda")),
    ("torch", "mps"): SimpleNamespace(device=SimpleNamespace(type="mps")),
    ("torch", None): SimpleNamespace(device=SimpleNamespace(type="cpu")),
    ("tensorflow", "GPU X"): SimpleNamespace(device="/job:localhost/task:0/device:GPU:0"),
    ("tensorflow", None): SimpleNamespace(device="/job:localhost/task:0/device:CPU:0"),
}


@pytest.mark.parametrize(("backend", "name"), _TENSORS)
def test_a_machine_is_named_after_the_gpu_that_keras_computes_on(backend, name, monkeypatch):
    framework = SimpleNamespace(cuda=_CUDA, config=_CONFIG)
    monkeypatch.setattr(machine.keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(machine.keras.ops, "convert_to_tensor", lambda x: _TENSORS[backend, name])
    monkeypatch.setitem(sys.modules, backend, framework)
    assert machine.accelerator() == name
    assert machine.machine().startswith(f"{name}, {machine.processor()}, " if name else
                                        machine.processor())  # fmt: skip


def test_a_machine_is_named_after_what_the_backend_computes_on():
    assert machine.machine().startswith(machine.accelerator() or machine.processor())


def test_a_run_learns_and_logs(finished):
    folder, history = finished
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert [row["image_size"] for row in history] == [7, 7, 7, 14, 14, 14]
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert [row["loss"] for row in _log(folder)] == pytest.approx([r["loss"] for r in history])
    result = evaluate(CHECKPOINT, folder / "model.safetensors", "sample")
    assert result["images"] == 1000
    assert result["accuracy"] > 20


def _kill_once(command, log, rows):
    """Start the run, kill it at a random moment after `rows` rows of its log; was it killed?"""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 300
    while process.poll() is None and time.time() < deadline:
        if rows == 0 or (log.exists() and len(log.read_text().splitlines()) > rows):
            break
        time.sleep(0.01)
    # The first kill falls anywhere in starting up and in the first epochs.
    time.sleep(random.uniform(0, 12 if rows == 0 else 0.4))
    process.kill()
    return process.wait() == -signal.SIGKILL


@pytest.mark.once
@pytest.mark.slow
def test_three_kills_change_nothing(finished, tmp_path):
    recipe, log = tmp_path / "recipe.json", tmp_path / "run" / "log.csv"
    recipe.write_text(RECIPE.to_json())
    command = [sys.executable, "-m", "keras_pdenets.cli", "train", "--recipe", str(recipe)]
    command += ["--out", str(tmp_path / "run")]
    random.seed(time.time_ns())  # any moment must do
    killed = [_kill_once(command, log, rows) for rows in (0, 1, 3)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert sum(killed) >= 2, killed  # the last may come too late on a fast machine
    _same_logs(_log(tmp_path / "run"), _log(finished[0]))
    left = {path.name for path in (tmp_path / "run").iterdir()}
    # What the kills have left is gone.
    assert left == {"state.safetensors", "log.csv", "model.safetensors", "recipe.json", LOCK}


def test_one_training_at_a_time_in_a_folder(finished):
    """Not the recipe of one and the weights of the other: the second is refused, as is `pin`."""
    folder, _ = finished
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with locked(folder), ThreadPoolExecutor(1) as elsewhere:
        other = dataclasses.replace(RECIPE, stages=(Phase(2, 7),))
        for work in (
            lambda: train(other, folder, verbose=0),
            lambda: release.pin(folder, "a test", weights_folder=folder / "weights"),
        ):
            with pytest.raises(InUseError, match=r"is using "):
                elsewhere.submit(work).result()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


SEVERAL = {"steps_per_execution": 4, "ema": 0.9}  # of the 10 of an epoch


@pytest.mark.parametrize(
    "change",
    [
        {},
        pytest.param({"dtype": "mixed_float16", "ema": 0.9}, marks=pytest.mark.slow),
        pytest.param(SEVERAL, marks=pytest.mark.skipif(BACKEND == "torch", reason="refused")),
    ],
)
def test_a_run_that_failed_in_its_second_epoch_goes_on(change, tmp_path, monkeypatch):
    recipe = dataclasses.replace(RECIPE, stages=(Phase(2, 7),), **change)
    one_by_one = dataclasses.replace(recipe, steps_per_execution=1)
    whole = train(one_by_one, tmp_path / "whole", verbose=0)

    def fail(callback, batch, logs=None):
        if len(callback._run.history) == 1 and batch > 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(phases.Record, "on_train_batch_end", fail, raising=False)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "cut", verbose=0)
    assert len(_log(tmp_path / "cut")) == 1
    history = train(recipe, tmp_path / "cut", verbose=0)
    for first, second in zip(history, whole, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-3)
        assert first["test_loss"] == pytest.approx(second["test_loss"], rel=1e-2)
    # Once more after the end: the same weights, the average where there is one.
    before = load_file(tmp_path / "cut" / "model.safetensors")
    (tmp_path / "cut" / "model.safetensors").unlink()
    (tmp_path / "cut" / "log.csv").unlink()
    train(recipe, tmp_path / "cut", verbose=0)
    after = load_file(tmp_path / "cut" / "model.safetensors")
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-5, atol=1e-7)
    assert len(_log(tmp_path / "cut")) == 2


@pytest.mark.once
@pytest.mark.slow
def test_a_run_can_start_from_a_trained_net(finished, tmp_path):
    folder, _ = finished
    deeper = dataclasses.replace(
        CHECKPOINT, options={**CHECKPOINT.options, "num_blocks": (1, 2, 1), "zero_start": True}
    )
    recipe = dataclasses.replace(
        RECIPE, checkpoint=deeper, stages=(Phase(1, 14),), start=str(folder / "model.safetensors"),
        learning_rate=1e-6, warmup_epochs=0.0,
    )  # fmt: skip
    train(recipe, tmp_path / "run", verbose=0)
    before = load_file(folder / "model.safetensors")
    after = load_file(tmp_path / "run" / "model.safetensors")
    for name, value in before.items():
        if "moving" not in name:
            np.testing.assert_allclose(after[name], value, atol=2e-5)
    assert any(name.startswith("stage1_block1_") for name in after)
    assert "From the weights of" in card.beginning(recipe)
    for start, error, message in (
        ("nowhere.safetensors", WeightsError, "There is no weight file"),
        ("nowhere", ValueError, "must be one of"),  # no path: a preset that does not exist
    ):
        with pytest.raises(error, match=message):
            train(dataclasses.replace(recipe, start=start), tmp_path / "other", verbose=0)
    assert [path.name for path in (tmp_path / "other").iterdir()] == [LOCK]


@pytest.mark.slow
@pytest.mark.once
def test_a_time_limit_stops_before_an_epoch(tmp_path):
    recipe = dataclasses.replace(RECIPE, stages=(Phase(2, 7),))
    assert train(recipe, tmp_path, limit_minutes=0, verbose=0) == []
    assert not (tmp_path / "model.safetensors").exists()
    assert len(train(recipe, tmp_path, limit_minutes=10, verbose=0)) == 2


def test_the_next_epoch_is_expected_to_grow_with_its_pixels():
    history = [{"seconds": 10.0, "image_size": 7}] * 3
    assert phases.expected_seconds(RECIPE, history) == pytest.approx(40.0)


def test_a_run_goes_on_with_its_own_recipe_only(finished):
    other = dataclasses.replace(RECIPE, learning_rate=0.1)
    with pytest.raises(WeightsError, match="was started with another recipe"):
        train(other, finished[0], verbose=0)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_average_of_the_weights(tmp_path, optimizer):
    recipe = dataclasses.replace(
        RECIPE, ema=0.9, optimizer=optimizer, stages=(Phase(2, 7),), gradient_norm=1.0
    )
    history = train(recipe, tmp_path / "whole", verbose=0)
    assert np.isfinite([row["loss"] for row in history]).all()
    # Training goes on from the weights themselves, not from their average.
    plain = train(dataclasses.replace(recipe, ema=None), tmp_path / "plain", verbose=0)
    assert history[1]["loss"] == pytest.approx(plain[1]["loss"], rel=1e-3)
    assert history[1]["test_loss"] != pytest.approx(plain[1]["test_loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(tmp_path, dtype):
    recipe = dataclasses.replace(RECIPE, dtype=dtype, stages=(Phase(2, 7),))
    history = train(recipe, tmp_path, verbose=0)
    assert history[-1]["loss"] < history[0]["loss"]


def test_decay_leaves_norms_and_the_quadratic_form_alone():
    model = build_model(CHECKPOINT)

    def decayed(**options):
        recipe = dataclasses.replace(RECIPE, optimizer="sgd", weight_decay=0.5, **options)
        optimizer = make_optimizer(recipe, model, 10)
        optimizer.build(model.trainable_variables)
        return {v.name for v in model.trainable_variables if optimizer._use_weight_decay(v)}

    assert decayed() == {"kernel", "kernel_coordinates"}
    options = {**CHECKPOINT.options, "operator_options": {"form": "quadratic"}}
    model = build_model(dataclasses.replace(CHECKPOINT, options=options))
    assert decayed() == {"kernel"}
    assert decayed(decay_pde=True) == {"kernel", "sigma", "b", "c"}


def test_the_schedule_warms_up_and_ends_at_zero():
    model = build_model(CHECKPOINT)
    for warmup, first in ((1.0, 0.0), (0.0, RECIPE.learning_rate)):
        recipe = dataclasses.replace(RECIPE, warmup_epochs=warmup)
        schedule = make_optimizer(recipe, model, 10)._learning_rate
        rates = [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(61)]
        assert rates[0] == pytest.approx(first)
        assert max(rates) == pytest.approx(RECIPE.learning_rate)
        assert rates[60] == pytest.approx(0, abs=1e-8)


@pytest.mark.once
def test_a_restart_begins_a_new_cosine():
    model = build_model(CHECKPOINT)
    stages = (Phase(2, 7), Phase(1, 14), Phase(2, 14, restart=0.5))
    recipe = dataclasses.replace(RECIPE, stages=stages)
    assert recipe.cycles == [(3, 1.0), (2, 0.5)]
    short = dataclasses.replace(RECIPE, stages=stages[:2])
    whole, first = (make_optimizer(r, model, 10)._learning_rate for r in (recipe, short))
    for step in range(30):
        assert float(keras.ops.convert_to_numpy(whole(step))) == pytest.approx(
            float(keras.ops.convert_to_numpy(first(step)))
        )
    rates = [float(keras.ops.convert_to_numpy(whole(step))) for step in range(30, 51)]
    assert rates[0] == pytest.approx(0.5 * RECIPE.learning_rate)
    assert rates[10] == pytest.approx(0.25 * RECIPE.learning_rate)
    assert rates[20] == pytest.approx(0, abs=1e-8)


def test_recipes_in_files(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(RECIPE.to_json())
    assert Recipe.from_file(path).to_json() == RECIPE.to_json()
    path.write_text('{"epoch": 3}')
    with pytest.raises(ValueError, match="a recipe has no field epoch"):
        Recipe.from_file(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not a JSON file"):
        Recipe.from_file(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "`stages` must hold at least one phase"),
        ({"stages": (Phase(0),)}, r"`stages.epochs` must be a positive integer"),
        ({"optimizer": "adam"}, "`optimizer` must be 'sgd' or 'adamw'"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive"),
        ({"warmup_epochs": 6.0}, r"`warmup_epochs` must be in \[0, epochs of the first cosine\)"),
        ({"stages": (Phase(2, None, 0.5),)}, "`stages` must begin with a phase without `restart`"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must be in"),
        ({"ema": 1.0}, "`ema` must be None or in"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"steps_per_execution": 0}, "`steps_per_execution` must be a positive integer"),
    ],
)
def test_errors_of_a_recipe(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **change)


@pytest.mark.slow
@pytest.mark.once
def test_a_finished_run_becomes_a_preset(finished, tmp_path):
    table = tmp_path / "presets.json"
    table.write_text("[]")
    preset = release.pin(finished[0], "a test", "As told.", None, tmp_path / "weights", table)
    assert read_presets(table) == {"small": preset}
    folder = tmp_path / "weights" / "small"
    assert {p.name for p in folder.iterdir()} - {LOCK} == {
        "model.safetensors", "golden.safetensors", "recipe.json", "log.csv", "README.md",
    }  # fmt: skip
    card = (folder / "README.md").read_text()
    for part in (
        preset.sha256,
        "a test",
        "seed 0",
        "As told.",
        f"{preset.metrics['test_accuracy']:.2f} %",
    ):
        assert part in card
    assert preset.size == (folder / "model.safetensors").stat().st_size


@pytest.mark.once
@pytest.mark.slow
def test_an_unfinished_run_does_not(tmp_path):
    train(RECIPE, tmp_path, limit_minutes=1e-9, verbose=0)
    recipe = dataclasses.replace(RECIPE, stages=(Phase(2, 7),))
    train(recipe, tmp_path, verbose=0)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="`run` must be finished before it is pinned"):
        release.pin(tmp_path, "a test", weights_folder=tmp_path / "weights")
