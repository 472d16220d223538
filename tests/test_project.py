"""The command line, the plots, and what the README says."""

import importlib
import inspect
import re
import runpy
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import build

import keras_pdenets
from keras_pdenets import cli, measure_perturbation, presets
from keras_pdenets.data import load_sample
from keras_pdenets.plots import (
    plot_flow,
    plot_kernels,
    plot_log,
    plot_perturbations,
    plot_predictions,
)
from keras_pdenets.training import Recipe
from keras_pdenets.utils.extras import require

ROOT = Path(__file__).parents[1]


def test_the_page_of_the_weights_has_the_table_of_the_code():
    page = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
    assert presets.markdown_table() in page, "run: keras-pdenets dev models"


def test_the_readme_is_short_and_its_table_is_that_of_the_code():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.split()) <= 700
    row = r"^\| `(\w+)` \| .* \| ([\d.]+) \| [\d.]+ \| ([\d,]+) \| `(\w+)` \| ([\d.]+) % \|$"
    rows = re.findall(row, readme, re.M)
    assert len(rows) == 5
    times = (ROOT / "tuning/results/benchmarks/small_nets/report.md").read_text(encoding="utf-8")
    for builder, time, count, name, accuracy in rows:
        assert re.search(rf"^\| `{builder}\+fold(_keep)?@onnxruntime` .* \| {time} \(", times, re.M)
        preset = keras_pdenets.get_preset(name)
        assert preset.checkpoint.row.builder == builder
        assert f"| {count} | `{name}` | {accuracy} % |" in presets.markdown_table()


@pytest.mark.once
def test_snippets_of_the_readme_print_what_it_says(capsys):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", readme, re.S)
    assert len(snippets) == 3
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})
        said = [line.rpartition("# ")[2].split(":")[0].removesuffix(" sections")
                for line in snippet.splitlines() if line.startswith("print(")]  # fmt: skip
        assert capsys.readouterr().out.splitlines() == said


def test_the_public_names_are_those_of_the_table():
    for row in presets.ARCHITECTURES.values():
        assert callable(getattr(keras_pdenets, row.builder))


def _registers(path):
    return "register_keras_serializable" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_importing_the_package_loads_what_keras_must_know_and_no_more():
    program = "import sys, keras; before = set(sys.modules); import keras_pdenets; "
    program += "print(*sorted(set(sys.modules) - before))"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    new = output.stdout.split()
    heavy = {"tensorflow", "jax", "torch", "tensorflow_datasets", "matplotlib", "sklearn", "httpx",
             "huggingface_hub.errors", "safetensors", "scipy.linalg", "scipy.optimize"}  # fmt: skip
    later = ("analysis", "applications", "data", "export", "presets", "transforms")
    assert not heavy.intersection(new)
    assert not [name for name in new for part in later if f"keras_pdenets.{part}" in name]
    # `kerashub` is imported by those who have KerasHub.
    package = ROOT / "keras_pdenets"
    modules = [path.relative_to(ROOT).with_suffix("").parts for path in package.rglob("*.py")
               if path.parent.name != "kerashub" and _registers(path)]  # fmt: skip
    assert len(modules) > 10
    assert {".".join(parts) for parts in modules} <= set(new)


def test_public_names_are_imported_when_they_are_used():
    assert set(keras_pdenets.__all__) <= set(dir(keras_pdenets))
    assert {row.builder for row in presets.ARCHITECTURES.values()} < set(keras_pdenets.__all__)
    for name in keras_pdenets.__all__:
        value = getattr(keras_pdenets, name)
        assert getattr(value, "__module__", "keras_pdenets").startswith("keras_pdenets")
    assert keras_pdenets.export.export is importlib.import_module("keras_pdenets.export").export
    assert keras_pdenets.verify is keras_pdenets.analysis.verify
    for module in (keras_pdenets, keras_pdenets.training):
        with pytest.raises(AttributeError, match=f"'{module.__name__}' has no attribute 'nothing'"):
            module.nothing  # noqa: B018
    assert {"Recipe", "train", "skip_nonfinite"} <= set(dir(keras_pdenets.training))


def test_a_missing_extra_names_the_command():
    with pytest.raises(ImportError, match=r'pip install "keras-pdenets\[plots\]"'):
        require("matplotlib_that_is_not_there", "plots")


def test_commands_that_list(capsys):
    assert cli.main(["dev", "models"]) == 0
    assert "`PDEResNet50`" in capsys.readouterr().out
    assert cli.main(["dev", "presets"]) == 0
    assert "pde_resnet50_fashion_mnist" in capsys.readouterr().out


def test_errors_are_one_line(capsys, tmp_path):
    assert cli.main(["train", "--preset", "pde_resnet50_fashion"]) == 1
    error = capsys.readouterr().err
    assert "nearest are pde_resnet50_fashion_mnist" in error
    assert error.count("\n") == 1
    assert cli.main(["train", "--recipe", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err
    with pytest.raises(ValueError, match="nearest are"):
        cli.main(["--traceback", "evaluate", "--preset", "resnet"])


@pytest.mark.slow
@pytest.mark.once
def test_evaluate_reproduces_the_card(capsys):
    name = "decomposed_resnet20_fashion_mnist"
    assert cli.main(["evaluate", "--preset", name, "--sample"]) == 0
    line = capsys.readouterr().out
    found, claimed = (float(part.split(" %")[0]) for part in _after(line, "accuracy ", "says "))
    # One image of a thousand may lie on the border between two classes.
    assert found == pytest.approx(claimed, abs=0.11), line


def _after(line, *marks):
    return [line.split(mark)[1] for mark in marks]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", keras_pdenets.list_presets())
def test_shipped_checkpoints(name):
    preset = keras_pdenets.get_preset(name)
    folder = ROOT / "weights" / name
    recipe = Recipe.from_file(folder / "recipe.json")
    trained, shipped = (asdict(record.checkpoint) for record in (recipe, preset))
    forms = [record["options"].pop("operator_options", None) for record in (trained, shipped)]
    assert trained == shipped
    # Trained in the form of Eq. 44, and turned into the linear one with the same operators.
    assert forms == ([{"form": "quadratic"}, {"form": "linear"}] if "pde" in name else [None] * 2)
    assert recipe.preset == name
    assert preset.sha256 in (folder / "README.md").read_text(encoding="utf-8")
    builder = getattr(keras_pdenets, presets.ARCHITECTURES[preset.checkpoint.architecture].builder)
    model = builder(weights=name)
    assert len(model.load_report.loaded) == len(model.weights)
    images, labels = load_sample()
    found = 100 * np.mean(model.predict(images, batch_size=250, verbose=0).argmax(1) == labels)
    assert found == pytest.approx(preset.metrics["sample_accuracy"], abs=0.11)
    if name == "pde_resnet50_fashion_mnist":
        # The headline's figure on the sample is that on the whole split, within 0.3 points.
        assert abs(preset.metrics["sample_accuracy"] - preset.metrics["test_accuracy"]) <= 0.3


def test_weights_stay_small():
    total = sum(path.stat().st_size for path in (ROOT / "weights").rglob("*") if path.is_file())
    assert total < 120e6


@pytest.mark.slow
def test_measure_prints_writes_and_draws(tmp_path, capsys):
    net = build("preact_resnet20", 28, 1, config={"num_blocks": 1})
    net.save(tmp_path / "net.keras")
    files = ["--csv", str(tmp_path / "d.csv"), "--plot", str(tmp_path / "d.png")]
    model = ["--model", str(tmp_path / "net.keras")]
    assert cli.main(["dev", "measure", *model, "--epsilon", "0.5", *files]) == 0
    printed = capsys.readouterr().out
    assert "3 residual blocks, 1000 images" in printed
    assert "blocks for a mean below 0.5: " in printed
    assert len((tmp_path / "d.csv").read_text().splitlines()) == 4
    assert (tmp_path / "d.png").exists()
    assert cli.main(["dev", "measure", *model, "--epsilon", "0"]) == 1
    assert "`epsilon` must be positive" in capsys.readouterr().err


@pytest.mark.slow
def test_pictures(tmp_path):
    images, labels = load_sample()
    answers = np.eye(10)[(labels + (np.arange(1000) % 2)) % 10]
    plot_predictions(images[:9], labels[:9], answers[:9], "abcdefghij", tmp_path / "a" / "p.png")
    rows = [{"epoch": i, "accuracy": 0.1 * i, "test_accuracy": 0.1 * i} for i in range(1, 4)]
    plot_log({"run": rows}, tmp_path / "log.png")
    net = build("hyperbolic_resnet20", 28, 1, config={"num_blocks": 1})
    plot_kernels({"a": net, "b": net}, "stage2_block0_product", tmp_path / "k.png")
    plot_perturbations({"net": measure_perturbation(net, images[:8])}, tmp_path / "d.png")
    refined = build("refined_plain_net20", 28, 1, config={"num_layers": 1})
    names = ["stem_relu0", "stage1_layer0_relu0"]
    plot_flow(refined, images[0], names, tmp_path / "f.png", channels=2)
    with pytest.raises(ValueError, match="`layers` must name activations divided into steps"):
        plot_flow(refined, images[0], ["pool"], tmp_path / "f.png")
    for name in ("a/p.png", "log.png", "k.png", "d.png", "f.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


_PUBLIC = runpy.run_path(str(ROOT / "docs" / "reference.py"))["public_names"]()
# Exports five nets and asks npm for their runtime, which takes minutes: tests/test_demo.py does it.
_NOT_RUN = {"write_demo"}


@pytest.mark.once
@pytest.mark.parametrize("module", _PUBLIC)
def test_everything_public_has_an_example_that_runs_and_names_its_arguments(module):
    if module == "keras_pdenets.kerashub":
        pytest.importorskip("keras_hub")
    values = [getattr(importlib.import_module(module), name, None) for name in _PUBLIC[module]]
    own = [v for v in values if callable(v) and v.__module__.startswith("keras_pdenets")]
    examples = {value.__name__: value.__doc__ or "" for value in own}
    assert [name for name, text in examples.items() if ">>> " not in text] == []
    assert {name for name, text in examples.items() if "+SKIP" in text} <= _NOT_RUN
    for function in filter(inspect.isfunction, own):
        for argument in inspect.signature(function).parameters:
            assert re.search(rf"^ +\**{argument}: ", function.__doc__, re.M), function
