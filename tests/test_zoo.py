"""Nets trained alike: what is missing is run, and only what is comparable stands in a table."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import BACKEND

from keras_pdenets import plots
from keras_pdenets.cli import main
from keras_pdenets.experiments import Entry, Protocol, read_results, run
from keras_pdenets.experiments.results import RESULT
from keras_pdenets.experiments.table import markdown, put_into, rows_of
from keras_pdenets.plots import experiments
from keras_pdenets.utils.locking import LOCK

SMALL = {"num_blocks": 1, "filters": [4, 8, 8]}
CHECKPOINT = {"input_shape": [28, 28, 1], "classes": 10, "mean": [72.9], "std": [90.0],
              "class_names": list("abcdefghij")}  # fmt: skip
PROTOCOL = {
    "entries": [
        {"name": "conv", "architecture": "preact_resnet20", "options": SMALL, "paper": "93.49"},
        {"name": "pde", "architecture": "pde_preact_resnet20", "options": SMALL},
    ],
    "seeds": [0, 1],
    "recipe": {
        "checkpoint": CHECKPOINT, "dataset": "sample", "stages": [{"epochs": 2, "image_size": 7}],
        "batch_size": 100, "warmup_epochs": 0.5, "jit_compile": BACKEND == "jax",
    },
    "reference": "a paper, other data",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All runs of the protocol, the last of them interrupted once."""
    folder = tmp_path_factory.mktemp("zoo")
    protocol = Protocol(**PROTOCOL)
    stopped = list(run(protocol, folder, only=["pde-seed1"], limit_minutes=0))
    assert stopped == [("pde-seed1", None)]
    assert list(dict(run(protocol, folder))) == [
        "conv-seed0", "pde-seed0", "conv-seed1", "pde-seed1"
    ]  # fmt: skip
    return folder


@pytest.mark.once
@pytest.mark.slow
def test_finished_runs_are_not_run_again(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.safetensors")}
    again = dict(run(Protocol(**PROTOCOL), folder))
    assert len(before) == 8
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*/*.safetensors")}
    assert all(result.images == 1000 for result in again.values())
    assert again["pde-seed0"].parameters < again["conv-seed0"].parameters
    assert again["conv-seed0"].accuracy != again["conv-seed1"].accuracy


@pytest.mark.once
@pytest.mark.slow
def test_a_run_from_scratch_gives_the_result_again(folder, tmp_path):
    first = dict(run(Protocol(**PROTOCOL), folder, only=["pde-seed1"]))["pde-seed1"]
    second = dict(run(Protocol(**PROTOCOL), tmp_path, only=["pde-seed1"]))["pde-seed1"]
    assert second.loss == pytest.approx(first.loss, rel=1e-2)
    assert second.accuracy == pytest.approx(first.accuracy, abs=1.0)


def test_the_table_is_that_of_the_runs(folder):
    results, unfinished = read_results(folder)
    assert not unfinished
    rows = {row["net"]: row for row in rows_of(results, Protocol(**PROTOCOL))}
    assert list(rows) == ["conv", "pde"]
    by_run = {(r.entry, r.seed): r.accuracy for r in results}
    conv, pde = ([by_run[name, seed] for seed in (0, 1)] for name in ("conv", "pde"))
    assert rows["pde"]["accuracy"] == pytest.approx(sum(pde) / 2)
    assert rows["pde"]["spread"] == pytest.approx(abs(pde[0] - pde[1]) / np.sqrt(2))
    assert rows["pde"]["difference"] == pytest.approx((sum(pde) - sum(conv)) / 2)
    text = markdown(results, ["pde-seed2"], Protocol(**PROTOCOL))
    assert "| 93.49 |" in text
    assert "Not finished: pde-seed2" in text
    assert "a paper, other data" in text


def test_half_written_runs_are_named_and_left_out(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "runs")
    (tmp_path / "runs" / "pde-seed1" / RESULT).unlink()
    (tmp_path / "runs" / "pde-seed2").mkdir()
    results, unfinished = read_results(tmp_path / "runs")
    assert len(results) == 3
    assert unfinished == ["pde-seed1", "pde-seed2"]
    (tmp_path / "runs" / "conv-seed0" / RESULT).write_text('{"entry": ')
    with pytest.raises(ValueError, match=r"result\.json is not a JSON file"):
        read_results(tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match="There is no run in"):
        read_results(tmp_path)


def test_mixed_recipes_are_refused(folder, tmp_path):
    results, _ = read_results(folder)
    for result, changed in zip(
        results, [{}, {"batch_size": 50}, {"seed": 5}, {"preset": "x"}], strict=True
    ):
        path = tmp_path / f"{result.entry}-seed{result.seed}"
        path.mkdir()
        dataclasses.replace(result, recipe=result.recipe | changed).write(path / RESULT)
    with pytest.raises(ValueError, match="batch_size 100 and 50"):
        read_results(tmp_path)
    newer = dataclasses.replace(results[1], recipe=results[1].recipe | {"mixup": 0.2})
    newer.write(tmp_path / f"{newer.entry}-seed{newer.seed}" / RESULT)
    with pytest.raises(ValueError, match=r"mixup None and 0\.2"):
        read_results(tmp_path)
    shutil.copytree(folder, tmp_path / "runs")
    other = PROTOCOL | {"recipe": PROTOCOL["recipe"] | {"batch_size": 50}}
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        list(run(Protocol(**other), tmp_path / "runs"))


def test_a_net_may_have_a_recipe_of_its_own(folder, tmp_path):
    """As in an ablation: between nets only the fields it names may differ, within one none."""
    own = PROTOCOL["entries"][1] | {"recipe": {"learning_rate": 0.2}}
    protocol = Protocol(**PROTOCOL | {"entries": [PROTOCOL["entries"][0], own]})
    rates = [protocol.recipe_of(entry, 0).learning_rate for entry in protocol.entries]
    assert rates == [Protocol(**PROTOCOL).recipe_of(protocol.entries[0], 0).learning_rate, 0.2]
    results, _ = read_results(folder)
    for result in results:
        path = tmp_path / f"{result.entry}-seed{result.seed}"
        path.mkdir()
        rate = rates[result.entry == "pde"]
        changed = dataclasses.replace(result, recipe=result.recipe | {"learning_rate": rate})
        changed.write(path / RESULT)
    with pytest.raises(ValueError, match=r"learning_rate .* and 0\.2"):
        read_results(tmp_path)
    alike, _ = read_results(tmp_path, protocol.varied)
    text = markdown(alike[::-1], protocol=protocol)
    assert "Of its own, `pde`: learning_rate 0.2." in text
    assert f"peak rate {rates[0]:g}," in text, "of all nets, whichever was read first"
    dataclasses.replace(changed, recipe=result.recipe).write(path / RESULT)
    with pytest.raises(ValueError, match=r"learning_rate 0\.2 and"):
        read_results(tmp_path, protocol.varied)
    with pytest.raises(ValueError, match="`recipe` of pde must not hold seed"):
        Entry("pde", "pde_preact_resnet20", recipe={"seed": 1})
    with pytest.raises(ValueError, match="must hold the fields of a recipe"):
        Protocol(**PROTOCOL | {"entries": [own | {"recipe": {"rate": 1}}]})


def test_the_command_writes_table_pictures_and_section(folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "small.json").write_text(json.dumps(PROTOCOL))
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- zoo small -->\nold\n<!-- /zoo -->\nafter\n")
    where = ["--protocol", str(tmp_path / "small.json"), "--out", str(tmp_path / "out")]
    assert main(["dev", "zoo", "table", str(folder), *where, "--readme", str(readme)]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert readme.read_text() == f"before\n<!-- zoo small -->\n{table}<!-- /zoo -->\nafter\n"
    names = {path.name for path in (tmp_path / "out").iterdir()} - {LOCK}
    assert names == {"table.md", "table.csv", "learning_curves.png", "sizes.png"}
    with pytest.raises(ValueError, match="have one section from `<!-- zoo other -->`"):
        put_into(readme, "other", table)
    assert main(["dev", "zoo", "run", str(tmp_path / "small.json"), "--out", str(folder)]) == 0
    assert "conv-seed0: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 1]}, "`seeds` must not be empty or contain duplicates"),
        ({"entries": []}, "`entries` must not be empty"),
        ({"recipe": {"dataset": "sample"}}, "`recipe` must hold the fields of a recipe"),
        ({"recipe": PROTOCOL["recipe"] | {"seed": 1}}, "`recipe` must leave seed to the runs"),
        ({"recipe": PROTOCOL["recipe"] | {"colour": 1}}, "colour"),
    ],
)
def test_bad_protocols(change, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**PROTOCOL | change)


def test_bad_entries():
    with pytest.raises(ValueError, match="`name` must match"):
        Entry("../up", "preact_resnet20")
    with pytest.raises(ValueError, match="`architecture` must be one of"):
        Entry("net", "resnet19")
    with pytest.raises(ValueError, match="`only` must name runs"):
        list(run(Protocol(**PROTOCOL), "nowhere", only=["conv-seed7"]))


@pytest.mark.once
def test_the_picture_of_terms_shows_the_nets_that_differ_by_these_alone(tmp_path):
    pytest.importorskip("matplotlib")
    root = Path(__file__).parents[1] / "tuning"
    protocol = Protocol.from_file(root / "zoo" / "fashion_mnist_20_pde.json")
    results, _ = read_results(root / "results" / "zoo" / "fashion_mnist_20_pde", protocol.varied)
    drawn = {run.entry for run in results if experiments._terms(run) is not None}
    assert {"linear", "terms_5", "resnet"} <= drawn
    assert not any(name.startswith("pde") for name in drawn)  # Eq. 44
    assert plots.plot_terms(results, tmp_path / "terms.png")
    assert (tmp_path / "terms.png").stat().st_size > 5000
    six = [run for run in results if run.entry == "linear"]
    assert not plots.plot_terms(six, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
