"""The search: spaces, oracles that survive kills, the tuner, and whole searches."""

import csv
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from conftest import BACKEND

from keras_pdenets.analysis import measure_perturbation
from keras_pdenets.data import load_sample
from keras_pdenets.experiments import Sweep, run
from keras_pdenets.experiments.sweep import collect, exponents
from keras_pdenets.plots import plot_search, plot_sweep
from keras_pdenets.search import (
    DepthHyperModel,
    DepthTuner,
    GrowthRules,
    SearchSpace,
    make_oracle,
    run_search,
)
from keras_pdenets.search import launch as launch_module
from keras_pdenets.search.fitting import HoldThenDecay, ShuffledBatches
from keras_pdenets.search.launch import launch
from keras_pdenets.search.oracles import OBJECTIVE, SafeOracle
from keras_pdenets.search.results import best_trial, write_trials
from keras_pdenets.search.run import load_split
from keras_pdenets.utils.locking import InUseError, hold

SPACE = SearchSpace(
    filters=(8, 8, 8), depths=(1, 2), learning_rates=(0.01,), epochs=2, anneal_epochs=1,
    stage_epochs=1, batch_size=64, dataset="sample", image_size=7,
    rules=GrowthRules(start=(1, 1, 1), epsilons=(0.45,), max_blocks=2),
)  # fmt: skip
TREE = Path(__file__).parents[1]
once = pytest.mark.once


# Spaces


def test_a_space_comes_back_from_its_file(tmp_path):
    path = tmp_path / "space.json"
    path.write_text(SPACE.to_json())
    assert SearchSpace.from_file(path) == SPACE


@pytest.mark.parametrize(
    "path", sorted(p for p in TREE.glob("tuning/*.json") if p.stem != "gpu_queue"),
    ids=lambda path: path.stem,
)  # fmt: skip
def test_the_files_in_tuning_are_valid(path):
    (Sweep if path.stem.startswith("sweep") else SearchSpace).from_file(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"architecture": "preact_resnet21"}, "preact_resnet20"),
        ({"architecture": "hyperbolic_resnet20"}, "`architecture` must be of a family"),
        ({"architecture": "resnet18"}, "every block can be measured"),
        ({"depths": ()}, "`depths`"), ({"depths": (0,)}, "`depths`"),
        ({"operators": ()}, "`operators`"), ({"widths": (-1.0,)}, "`widths`"),
        ({"learning_rates": (0.0,)}, "`learning_rates`"), ({"start": "one"}, "`start`"),
        ({"epochs": 0}, "`epochs`"), ({"anneal_epochs": 3}, "`anneal_epochs`"),
        ({"rules": {"start": (1, 1)}}, "`rules.start`"), ({"rules": {"growth": 1}}, "`growth`"),
    ],
)  # fmt: skip
def test_a_space_names_what_is_wrong(change, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(SPACE, **change)


@pytest.mark.parametrize("text", ["{", '{"depht": [1]}', '{"rules": {"strat": [1]}}'])
def test_a_file_that_is_no_space_is_refused(text, tmp_path):
    (tmp_path / "space.json").write_text(text)
    with pytest.raises(ValueError, match=r"space\.json is not a"):
        SearchSpace.from_file(tmp_path / "space.json")


def test_choices_reach_the_model():
    space = dataclasses.replace(SPACE, filters=None)
    values = {"depth_0": 1, "depth_1": 2, "depth_2": 3, "operator": "pde", "width": 0.5}
    model = space.build(values, (8, 8, 1), 5)
    names = [layer.name for layer in model.layers]
    assert [sum(f"stage{s}_block{b}_add" in names for b in range(4)) for s in range(3)] == [1, 2, 3]
    assert model.get_layer("stem_conv").filters == 8
    assert any(type(layer).__name__ == "PDEConv2D" for layer in model.layers)
    assert model.output_shape == (None, 5)


# Oracles, with a measured law in place of a training


class LawTuner(DepthTuner):
    """A trial takes no time: d(L) is a law, accuracy grows with depth."""

    distances = (1.0, 2.0, 0.4)
    trained = ()

    def run_trial(self, trial, verbose=0):
        values = trial.hyperparameters.values
        self.trained += (trial.trial_id,)
        if values["learning_rate"] > 1:
            raise ArithmeticError("diverged")
        depths = [values.get(f"depth_{s}", values.get("depth")) for s in range(3)]
        result = {"val_accuracy": 1 - values["learning_rate"] - 0.1 / sum(depths)}
        result["block_epochs"] = sum(depths) / 3
        for section, (d, depth) in enumerate(zip(self.distances, depths, strict=True)):
            result |= {f"d_scaled_s{section}": d, f"largest_s{section}": d / depth}
        return result


def law_tuner(oracle, folder, space=None):
    model = DepthHyperModel(space or SPACE, (7, 7, 1), 10)
    return LawTuner(oracle, model, directory=str(folder), project_name="trials")


@once
def test_the_depth_oracle_finds_the_depths_of_a_law(tmp_path):
    space = dataclasses.replace(
        SPACE, learning_rates=(0.1, 0.01, 0.3), rules=GrowthRules(epsilons=(0.5, 0.2))
    )
    oracle = make_oracle("depth", space)
    law_tuner(oracle, tmp_path).search(verbose=0)
    best = best_trial(oracle, space).hyperparameters.values
    assert best["learning_rate"] == 0.01, "the best start does not grow"
    assert [best[f"depth_{s}"] for s in range(3)] == [int(d / 0.18) + 1 for d in (1.0, 2.0, 0.4)]
    # The two other rates were tried once, at the smallest depth.
    others = [
        t.hyperparameters.values["depth_0"] for t in oracle.trials.values()
        if t.hyperparameters.values["learning_rate"] != 0.01
    ]  # fmt: skip
    assert others == [2, 2]


@once
def test_two_tracks_grow_side_by_side(tmp_path):
    space = dataclasses.replace(SPACE, learning_rates=(0.1, 0.01), tracks=2)
    oracle = make_oracle("depth", space)
    law_tuner(oracle, tmp_path).search(verbose=0)
    assert [results[-1].proposal.kind for _, results in oracle.results()] == ["anneal", "anneal"]


@once
@pytest.mark.parametrize("kind", ["depth", "grid", "random", "bayesian", "hyperband"])
def test_a_trial_that_fails_ends_nothing(kind, tmp_path):
    space = dataclasses.replace(
        SPACE, learning_rates=(5.0, 0.1, 0.2), depths=(1, 2, 3), epochs=3,
        rules=GrowthRules(start=(1, 1, 1), epsilons=(0.5,)),
    )  # fmt: skip
    oracle = make_oracle(kind, space, max_trials=6 if kind in ("random", "bayesian") else None)
    law_tuner(oracle, tmp_path).search(verbose=0)
    states = [trial.status for trial in oracle.trials.values()]
    assert set(states) <= {"COMPLETED", "FAILED"}
    assert "COMPLETED" in states
    assert best_trial(oracle, space).hyperparameters.values["learning_rate"] < 1
    write_trials(oracle, space, tmp_path / "trials.csv")
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == len(states) + 1


@once
def test_a_search_in_which_everything_fails_ends_and_says_so(tmp_path):
    space = dataclasses.replace(SPACE, learning_rates=(5.0,), depths=tuple(range(1, 20)))
    oracle = make_oracle("grid", space)
    law_tuner(oracle, tmp_path).search(verbose=0)  # returns: no lock is held
    assert len(oracle.trials) == 10
    with pytest.raises(RuntimeError, match="No trial of the search succeeded"):
        best_trial(oracle, space)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of KerasTuner catches it."""


@pytest.mark.slow
@once
@pytest.mark.parametrize("kind", ["depth", "grid", "hyperband"])
@pytest.mark.parametrize("place", ["_save_trial", "save", "run_trial"])
def test_a_kill_at_any_write_loses_and_repeats_nothing(kind, place, tmp_path, monkeypatch):
    space = dataclasses.replace(
        SPACE, depths=(1, 2, 3, 4), epochs=3, learning_rates=(0.1, 0.2),
        rules=GrowthRules(start=(1, 1, 1), epsilons=(0.3,)),
    )  # fmt: skip

    def search(folder):
        oracle = make_oracle(kind, space)
        tuner = law_tuner(oracle, folder)
        tuner.search(verbose=0)
        return oracle, tuner

    def table(oracle):
        return [(i, t.hyperparameters.values, t.score) for i, t in oracle.trials.items()]

    whole, _ = search(tmp_path / "whole")
    owner = LawTuner if place == "run_trial" else SafeOracle
    original = getattr(owner, place)
    kills = 0
    for kill_at in range(1, 40):
        folder, calls = tmp_path / str(kill_at), []

        def counting(self, *args, kill_at=kill_at, calls=calls, **kwargs):
            calls.append(0)
            if len(calls) == kill_at:
                raise Killed
            return original(self, *args, **kwargs)

        monkeypatch.setattr(owner, place, counting)
        try:
            search(folder)
        except Killed:
            kills += 1
        else:
            break  # every call of the whole search was hit once
        monkeypatch.setattr(owner, place, original)
        # A real kill takes KerasTuner's locks with it.
        keras_tuner.src.engine.oracle.LOCKS.clear()
        keras_tuner.src.engine.oracle.THREADS.clear()
        done = {
            path.parent.name
            for path in folder.glob("trials/trial_*/trial.json")
            if json.loads(path.read_text())["status"] == "COMPLETED"
        }
        oracle, tuner = search(folder)
        assert not {f"trial_{i}" for i in tuner.trained} & done, "a finished trial ran again"
        assert all(trial.status == "COMPLETED" for trial in oracle.trials.values())
        assert table(oracle) == table(whole)
    assert kills >= 6


@once
def test_the_grid_is_complete_and_in_order(tmp_path):
    space = dataclasses.replace(SPACE, depths=(1, 2, 4), operators=("conv", "pde"))
    oracle = make_oracle("grid", space)
    law_tuner(oracle, tmp_path).search(verbose=0)
    seen = [(t.hyperparameters["depth"], t.hyperparameters["operator"])
            for t in oracle.trials.values()]  # fmt: skip
    assert seen == [(n, o) for n in (1, 2, 4) for o in ("conv", "pde")]


def test_bad_oracles_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 5 choices for Hyperband"):
        make_oracle("hyperband", dataclasses.replace(SPACE, epochs=3))
    with pytest.raises(ValueError, match="`max_trials` must be None for Hyperband"):
        make_oracle("hyperband", dataclasses.replace(SPACE, epochs=3), max_trials=3)
    with pytest.raises(ValueError, match="`max_trials` must be given"):
        make_oracle("random", SPACE)
    with pytest.raises(ValueError, match="`kind` must be one of"):
        make_oracle("annealing", SPACE)
    model = DepthHyperModel(SPACE, (7, 7, 1), 10)
    with pytest.raises(ValueError, match="`oracle` must be one of keras_pdenets"):
        DepthTuner(keras_tuner.oracles.GridSearchOracle(objective=OBJECTIVE), model)


class ManyErrors(LawTuner):
    """Fails in every way but the last."""

    errors = ()

    def run_trial(self, trial, verbose=0):
        number = int(trial.trial_id)
        if number < len(self.errors):
            raise self.errors[number]
        return super().run_trial(trial, verbose)


class Speechless(Exception):
    """Has no text at all."""

    def __str__(self):
        raise RuntimeError("no text")


@once
def test_a_trial_fails_alone_whatever_it_says(tmp_path, caplog):
    errors = (
        ValueError("a lone surrogate: \udcff"), ValueError("\x1b[2Jcleared\r\x00\u2028"),
        OSError("x" * 10_000_000), ValueError(""), ValueError("\n \n"), Speechless(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), KeyError("größer"),
        keras_tuner.errors.FailedTrialError("\ud800"),
    )  # fmt: skip
    rates = tuple(0.01 + 0.001 * number for number in range(len(errors) + 1))
    space = dataclasses.replace(SPACE, depths=(1,), learning_rates=rates)
    oracle = make_oracle("grid", space)
    oracle.max_consecutive_failed_trials = 100
    model = DepthHyperModel(space, (7, 7, 1), 10)
    tuner = ManyErrors(oracle, model, directory=str(tmp_path), project_name="trials")
    tuner.errors = errors
    tuner.search(verbose=0)
    states = [trial.status for trial in oracle.trials.values()]
    assert states == ["FAILED"] * len(errors) + ["COMPLETED"]
    for number in range(len(errors)):
        text = (tmp_path / "trials" / f"trial_{number:04d}" / "error.txt").read_bytes().decode()
        assert text.startswith("Traceback")
        assert len(text) < 21_000
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) >= len(errors)
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    again = make_oracle("grid", space)  # what was written can be read
    law_tuner(again, tmp_path, space)
    assert [trial.status for trial in again.trials.values()] == states
    write_trials(again, space, tmp_path / "trials.csv")


def _from_another_thread(call):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(60)


@once
def test_no_error_leaves_the_lock_of_an_oracle_held(tmp_path, monkeypatch):
    space = dataclasses.replace(SPACE, learning_rates=(0.01, 0.02, 0.03))
    oracle = make_oracle("grid", space)
    law_tuner(oracle, tmp_path, space)
    locks, threads = keras_tuner.src.engine.oracle.LOCKS, keras_tuner.src.engine.oracle.THREADS
    trial = oracle.create_trial("worker0")
    trial.status = "COMPLETED"
    oracle.end_trial(trial)  # it has no score
    assert oracle.trials[trial.trial_id].status == "INVALID"  # it is tried again
    assert "reported no val_accuracy" in oracle.trials[trial.trial_id].message
    assert not oracle.ongoing_trials
    second = _from_another_thread(lambda: oracle.create_trial("worker1"))
    with pytest.raises(ValueError, match="Objective value missing"):
        oracle.update_trial(second.trial_id, {"loss": 1.0})
    assert not locks[oracle].locked()
    assert threads[oracle] is None
    _from_another_thread(lambda: oracle.update_trial(second.trial_id, {"val_accuracy": 0.5}))
    with monkeypatch.context() as patch:
        patch.setattr(oracle, "save", lambda: os.close(-1))
        with pytest.raises(OSError, match="Bad file"):
            oracle.end_trial(second)
        with pytest.raises(OSError, match="Bad file"):
            oracle.create_trial("worker2")
    assert not locks[oracle].locked()
    _from_another_thread(lambda: oracle.end_trial(second))


@once
def test_the_chief_is_reached_past_a_proxy(tmp_path, monkeypatch):
    grpc, own = pytest.importorskip("grpc"), "no_grpc_proxy"
    for name, value in {
        "http_proxy": "http://127.0.0.1:9", "grpc_proxy": "http://127.0.0.1:9",  # nobody is there
        own: "intranet.example", "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_TUNER_ID": "worker0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    server = grpc.server(ThreadPoolExecutor(1))
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(server.add_insecure_port("127.0.0.1:0")))
    server.start()
    try:
        tuner = law_tuner(make_oracle("grid", SPACE), tmp_path)
        assert os.environ[own] == "intranet.example,127.0.0.1"
        monkeypatch.setattr(keras_tuner.src.distribute.oracle_client, "TIMEOUT", 30)
        with pytest.raises(grpc.RpcError) as failure:
            tuner.oracle.get_space()
        # The server has been asked, and knows no such question.
        assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED
    finally:
        server.stop(None).wait()


@once
def test_waiting_workers_do_not_spin(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    model = DepthHyperModel(SPACE, (7, 7, 1), 10)
    tuner = DepthTuner(make_oracle("depth", SPACE), model, directory=str(tmp_path))
    for _ in range(10):
        tuner.pre_create_trial()
    assert waits == sorted(waits)
    assert waits[0] < 0.5
    assert waits[-1] == 5.0


# Training


def test_the_rate_rises_stays_and_falls():
    schedule = HoldThenDecay(0.1, warmup_steps=2, hold_steps=4, decay_steps=4)
    rates = [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(9)]
    np.testing.assert_allclose(rates, [0.05, 0.1, 0.1, 0.1, 0.1, 0.075, 0.05, 0.025, 0], atol=1e-7)
    assert HoldThenDecay(**schedule.get_config()).get_config() == schedule.get_config()


def test_batches_are_those_of_their_epoch():
    x, y = np.arange(10.0)[:, None], np.arange(10)
    running = ShuffledBatches(x, y, 4, seed=3, epoch=0)
    first = running[0][1]
    running.on_epoch_end()
    resumed = ShuffledBatches(x, y, 4, seed=3, epoch=1)
    assert len(running) == 2
    np.testing.assert_array_equal(running[1][1], resumed[1][1])
    assert not np.array_equal(first, resumed[0][1])
    np.testing.assert_array_equal(resumed[0][0][:, 0], resumed[0][1])


def test_jax_compiles_a_search_that_does_without_xla(tmp_path):
    space = dataclasses.replace(SPACE, jit_compile=False)
    hypermodel = DepthHyperModel(space, (7, 7, 1), 10)
    tuner = DepthTuner(make_oracle("depth", space), hypermodel, directory=str(tmp_path))
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    tuner._compile(net, {"learning_rate": 0.1}, epochs=1, steps=1)
    assert net.jit_compile == (BACKEND == "jax")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return run_search("depth", SPACE, folder), folder


@pytest.mark.slow
def test_a_depth_search(found):
    result, folder = found
    assert result.failed == 0
    # It grew, and what it says of its net is what a new measurement says.
    assert sum(result.depths) > 3
    tuner = DepthTuner(
        make_oracle("depth", SPACE), DepthHyperModel(SPACE, (7, 7, 1), 10),
        directory=str(folder), project_name="trials",
    )  # fmt: skip
    images = load_split(SPACE, "test")[0]
    report = measure_perturbation(tuner.get_best_models()[0], images)
    np.testing.assert_allclose([s.mean for s in report.sections], result.means, rtol=1e-4)
    assert result.satisfied == (max(s.mean for s in report.sections) <= 0.45)
    assert result.test_accuracy > 0.2
    rows = (folder / "trials.csv").read_text().splitlines()
    assert len(rows) == result.trials + 1
    assert json.loads((folder / "result.json").read_text())["trial"] == result.trial
    assert not list(folder.glob("trials/*/state.safetensors"))
    plot_search(folder / "trials.csv", folder / "search.png")
    assert (folder / "search.png").stat().st_size > 1000
    assert "block-epochs" in str(result)


@pytest.mark.slow
def test_the_same_search_again_trains_nothing(found, monkeypatch):
    result, folder = found
    monkeypatch.setattr(DepthTuner, "run_trial", None)
    again = run_search("depth", SPACE, folder)
    assert again == result


@pytest.mark.once
@pytest.mark.slow
def test_another_space_or_oracle_in_the_folder_is_refused(found):
    _, folder = found
    other = dataclasses.replace(SPACE, seed=5)
    with pytest.raises(ValueError, match=r"holds another search \(seed 0, not 5\).*to resume"):
        run_search("depth", other, folder)
    with pytest.raises(ValueError, match="oracle DepthOracle, not ListOracle"):
        run_search("grid", SPACE, folder)


@pytest.mark.slow
@pytest.mark.once
def test_a_folder_is_not_shared(tmp_path):
    program = "import time; from pathlib import Path; from keras_pdenets.utils import locking; "
    program += f"locking.hold(Path({str(tmp_path)!r})); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InUseError, match="Another process is using"):
            hold(tmp_path)
        other.kill()
    hold(tmp_path)  # the dead hold nothing
    hold(tmp_path)  # nor does this process stand in its own way


@pytest.mark.slow
@once
def test_a_search_on_arrays_returns_the_annealed_net(tmp_path):
    images, labels = load_sample()
    small = images[:300, ::4, ::4].astype("float32"), labels[:300]
    space = dataclasses.replace(SPACE, rules=GrowthRules(start=(1, 1, 1), epsilons=(5.0,)))
    result = run_search("depth", space, tmp_path, data=(small, small, small))
    assert result.depths == (1, 1, 1), "nothing makes it grow"
    assert result.satisfied
    tuner = DepthTuner(
        make_oracle("depth", space), DepthHyperModel(space, (7, 7, 1), 10),
        directory=str(tmp_path), project_name="trials",
    )  # fmt: skip
    (model,) = tuner.get_best_models()
    accuracy = (model.predict(small[0], verbose=0).argmax(-1) == small[1]).mean()
    assert accuracy == pytest.approx(result.test_accuracy, abs=0.01)
    with pytest.raises(ValueError, match="`num_models`"):
        tuner.get_best_models(2)


@pytest.mark.slow
@once
def test_a_trial_that_kills_its_process_is_given_up(tmp_path, monkeypatch):
    """As an out-of-memory killer would: the process dies in every attempt."""
    small = np.full((64, 7, 7, 1), 9.0, "float32"), np.zeros(64, int)

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "fit", die)
        for _ in range(3):
            with pytest.raises(Killed):
                run_search("grid", SPACE, tmp_path, data=(small, small, small))
            keras_tuner.src.engine.oracle.LOCKS.clear()
            keras_tuner.src.engine.oracle.THREADS.clear()
    result = run_search("grid", SPACE, tmp_path, data=(small, small, small))
    assert (result.trials, result.failed) == (2, 1)
    assert "killed each time" in (tmp_path / "trials" / "trial_0000" / "error.txt").read_text()


def test_what_the_space_decides_is_not_taken_by_the_tuner(tmp_path):
    model = DepthHyperModel(SPACE, (7, 7, 1), 10)
    with pytest.raises(ValueError, match="`executions_per_trial` is set by the search space"):
        DepthTuner(make_oracle("grid", SPACE), model, executions_per_trial=2)


@pytest.mark.slow
def test_growing_keeps_what_was_learnt(found, tmp_path):
    """The weights of a proposal are those of its parent, before its first step."""
    _, folder = found
    images, _ = load_sample()
    model = DepthHyperModel(SPACE, (7, 7, 1), 10)
    oracle = make_oracle("depth", SPACE)
    tuner = DepthTuner(oracle, model, directory=str(folder), project_name="trials")
    parent = oracle.get_trial("0000")
    deeper = SPACE.build(
        parent.hyperparameters.values | {f"depth_{s}": 3 for s in range(3)}, (7, 7, 1), 10
    )
    tuner._start_from(deeper, "0000")
    small = images[:8, ::4, ::4].astype("float32")
    np.testing.assert_allclose(
        deeper.predict(small, verbose=0),
        tuner.load_model(parent).predict(small, verbose=0),
        atol=1e-5,
    )


@pytest.mark.once
@pytest.mark.slow
def test_a_loss_that_is_not_finite_fails_the_trial_alone(tmp_path):
    space = dataclasses.replace(SPACE, learning_rates=(1e30, 0.01), depths=(1,), epochs=1)
    result = run_search("grid", space, tmp_path)
    assert result.failed == 1
    assert result.choice["learning_rate"] == 0.01
    (error,) = tmp_path.glob("trials/*/error.txt")
    assert "diverged" in error.read_text() or "finite" in error.read_text()


# Processes


def _command(space, folder, *more):
    path = folder / "space.json"
    path.write_text(space.to_json())
    command = [sys.executable, "-m", "keras_pdenets.cli", "search", str(path)]
    return [*command, "--out", str(folder / "out"), *more]


def _rows(folder):
    with (folder / "trials.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
@once
def test_kills_in_the_middle_of_a_search_change_nothing(found, tmp_path):
    command = _command(SPACE, tmp_path)
    trials = tmp_path / "out" / "trials"
    random.seed(time.time_ns())  # any moment must do
    killed, starts = 0, {}
    for finished in (0, 1, 2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.time() + 300
        while process.poll() is None and time.time() < deadline:
            if len(list(trials.glob("*/result.json"))) >= finished and trials.exists():
                break
            time.sleep(0.01)
        time.sleep(random.uniform(0, 1.5))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        starts |= {
            path: path.with_name("starts.txt").read_text() for path in trials.glob("*/result.json")
        }
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert killed >= 2
    for path, text in starts.items():
        assert path.with_name("starts.txt").read_text() == text, "a finished trial ran again"
    for row, whole in zip(_rows(tmp_path / "out"), _rows(found[1]), strict=True):
        for key, value in whole.items():
            try:
                assert float(row[key]) == pytest.approx(float(value), abs=0.03), key
            except ValueError:
                assert row[key] == value, key


@pytest.mark.slow
@once
def test_two_workers_share_a_search_and_survive_a_death(tmp_path):
    space = dataclasses.replace(SPACE, depths=(1, 2, 3, 4))
    command = _command(space, tmp_path, "--oracle", "grid", "--workers", "2")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    trials = tmp_path / "out" / "trials"
    deadline = time.time() + 300
    while not list(trials.glob("*/state.safetensors")) and time.time() < deadline:
        time.sleep(0.02)
    os.kill(_worker(process.pid, "worker1"), signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "killed 1 times" in output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["trials"], result["failed"]) == (4, 0)
    workers = {path.stem for path in trials.glob("worker*.json")}
    assert workers == {"worker0", "worker1"}, "one worker did everything"


def _worker(parent, name):
    """Process number of a worker, by its environment."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "status").read_text()
            environment = (path / "environ").read_text()
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and f"KERASTUNER_TUNER_ID={name}\0" in environment:
            return int(path.name)
    raise AssertionError(f"no process is {name}")


def test_the_launcher_gives_up_on_what_cannot_start():
    command = ["-c", "import sys; sys.exit(3)"]
    with pytest.raises(RuntimeError, match="ended with an error"):
        launch(command, workers=1, restarts=1, poll_seconds=0.01)
    command = ["-c", "import os; os.kill(os.getpid(), 9)"]
    with pytest.raises(RuntimeError, match=r"killed 2 times.*resumes the search"):
        launch(command, workers=1, restarts=1, poll_seconds=0.01)
    with pytest.raises(ValueError, match="`workers` must be a positive integer"):
        launch(command, workers=0)


@once
def test_only_what_the_launcher_started_follows_it(monkeypatch):
    followed = []
    monkeypatch.setattr(launch_module, "end_with_parent", lambda: followed.append(True))
    monkeypatch.setenv(launch_module.LAUNCHED, "1")
    launch_module.follow_launcher()
    assert followed == [True]
    launch_module.follow_launcher()  # as a process of that process would
    assert followed == [True]


# Sweep


@pytest.mark.slow
@once
def test_a_sweep_measures_every_net_and_goes_on(tmp_path):
    recipe = {
        "preset": "tiny", "dataset": "sample", "stages": [{"epochs": 1, "image_size": 7}],
        "checkpoint": {"architecture": "preact_resnet20", "input_shape": [28, 28, 1],
                       "classes": 10, "options": {"filters": [8, 8, 8]}},
        "optimizer": "adamw", "learning_rate": 0.005, "warmup_epochs": 0.0,
    }  # fmt: skip
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"recipe": recipe, "depths": [1, 2], "starts": ["zero"]}))
    sweep = Sweep.from_file(path)
    half = dataclasses.replace(sweep, depths=(1,))
    done = dict(run(half, tmp_path / "out", verbose=0))
    assert [len(blocks) for blocks in done.values()] == [3]
    first = tmp_path / "out" / "tiny_zero_1" / "blocks.csv"
    written = first.stat().st_mtime_ns
    assert list(dict(run(sweep, tmp_path / "out", verbose=0))) == ["tiny_zero_1", "tiny_zero_2"]
    rows = collect(sweep, tmp_path / "out")
    assert len(rows) == 3 + 6
    assert first.stat().st_mtime_ns == written
    lines = exponents(rows)
    assert len(lines) == 3
    assert lines[2].startswith("start zero, section 3: mean change ~ L^(")
    plot_sweep(rows, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    with pytest.raises(ValueError, match="`starts`"):
        dataclasses.replace(sweep, starts=("one",))
