"""The recipes of tuning/ for data that are not here: what they say, and their first steps.

KERAS_PDENETS_ALL_RECIPES=1 takes every net of every file through its first steps, for minutes.
"""

import dataclasses
import json
import math
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_pdenets.cli import main
from keras_pdenets.data import DataSource, class_names
from keras_pdenets.experiments import Entry, Protocol, Sweep, read_results, run
from keras_pdenets.hub.checkpoint_header import read_checkpoint
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.presets import ARCHITECTURES
from keras_pdenets.training import Recipe
from keras_pdenets.training.models import build_model, trainable_parameters
from keras_pdenets.training.peers import checkpoint_of
from keras_pdenets.training.trainer import WEIGHTS

tfds = pytest.importorskip("tensorflow_datasets")

pytestmark = pytest.mark.once
ALL = os.environ.get("KERAS_PDENETS_ALL_RECIPES") == "1"
needs_time = pytest.mark.skipif(not ALL, reason="minutes: KERAS_PDENETS_ALL_RECIPES=1 runs it")

TREE = Path(__file__).parents[1]
PROTOCOLS = sorted(TREE.glob("tuning/zoo/*.json"))
SWEEPS = sorted(TREE.glob("tuning/sweep*.json"))
YIN, LIU = TREE / "tuning/zoo/cifar10_yin.json", TREE / "tuning/zoo/imagenet100_liu.json"
HAUSER = {name: TREE / f"tuning/sweep_{name}.json" for name in ("cifar10", "mnist")}

# Table 1 of Yin et al. 2019: depth, then accuracy of ResNet, PDE-Net, decomposed.
YIN_TABLE = {
    101: (94.89, 93.38, 94.68), 50: (94.23, 93.21, 94.02),
    34: (93.25, 92.97, 93.33), 18: (93.49, 92.84, 94.10),
}  # fmt: skip
# Trainable parameters with 10 classes, worked out from the paper.
YIN_PARAMETERS = {
    18: (11_173_962, 7_512_138, 8_028_234), 34: (21_282_122, 14_253_386, 14_769_482),
    50: (23_520_842, 19_748_426, 19_748_426), 101: (42_512_970, 35_398_218, 35_398_218),
}  # fmt: skip
# Table 1 of Liu et al. 2023 (activation: where it states one), and trainable parameters with 100
# classes, worked out from the paper; its second column is their rounding.
LIU_TABLE = {
    "resnet50": ("23.7M", 84.52, None, 23_712_932),
    "mobilenet_v3_large": ("4.33M", 82.91, None, 4_330_132),
    "eq3_relu_all": ("8.61M", 82.06, "relu@all", 8_608_868),
    "eq3_hardtanh": ("8.61M", 82.34, "hardtanh@ds", 8_608_868),
    "eq3_hardball": ("8.61M", 83.50, "hardball@ds", 8_608_868),
    "eq3": ("8.61M", 83.66, "softball@ds", 8_608_868),
    "eq3_no_ws": ("8.73M", 84.24, "softball@ds", 8_728_100),
    "eq3_no_ws_x6": ("13.0M", 84.58, "softball@ds", 12_971_044),
    "eq4": ("5.70M", 81.88, None, 5_696_612),
    "eq5": ("4.26M", 78.64, "softball@ds", 4_259_556),
    "eq6": ("5.61M", 82.52, None, 5_610_596),
    "eq7_no_ws_x6": ("13.0M", 84.96, None, 12_971_044),
}


def _entries(path):
    return {entry.name: entry for entry in Protocol.from_file(path).entries}


def _recipes():
    for path in PROTOCOLS:
        protocol = Protocol.from_file(path)
        yield protocol.recipe_of(protocol.entries[0], protocol.seeds[0])
    for path in SWEEPS:
        yield Sweep.from_file(path).recipe


# What the files say


@pytest.mark.parametrize("recipe", list(_recipes()), ids=lambda recipe: recipe.dataset)
def test_recipes_fit_their_data(recipe, tmp_path):
    checkpoint = recipe.checkpoint
    with tfds.testing.mock_data(num_examples=1):
        names = class_names(recipe.dataset, str(tmp_path))
    assert checkpoint.classes == len(names)
    if names != tuple(map(str, range(len(names)))):  # some come with the data, as CIFAR-10's
        assert checkpoint.class_names in (names, ())
    assert len(checkpoint.mean) == len(checkpoint.std) == checkpoint.input_shape[-1]
    # Pixels from 0 to 255, not shares.
    assert all(30 < n < 130 for n in checkpoint.mean + checkpoint.std)
    # No paper states another; those of `tuning/gpu_queue.json` and of deep nets are for a GPU.
    on_gpu = recipe.dataset == "fashion_mnist" and recipe.preset in (
        "resnet18",
        "resnet20",
        "pde50",
    )
    assert recipe.dtype == ("mixed_bfloat16" if on_gpu else "float32")


def test_the_protocol_of_yin_is_the_table():
    entries = _entries(YIN)
    assert len(entries) == 12
    for depth, figures in YIN_TABLE.items():
        for kind, prefix, figure, parameters in zip(
            ("resnet", "pde", "decomposed"), ("", "pde_", "decomposed_"), figures,
            YIN_PARAMETERS[depth], strict=True,
        ):  # fmt: skip
            entry = entries[f"{kind}{depth}"]
            assert (entry.architecture, float(entry.paper)) == (f"{prefix}resnet{depth}", figure)
            printed = {"operator_options": {"form": "quadratic"}} if kind == "pde" else {}
            assert entry.options == {"stem": "cifar", **printed}
            assert ARCHITECTURES[entry.architecture].parameters == parameters


def test_the_protocol_of_liu_is_the_table():
    entries = _entries(LIU)
    assert {name: float(entry.paper) for name, entry in entries.items()} == {
        name: row[1] for name, row in LIU_TABLE.items()
    }
    for name, (printed, _, activation, parameters) in LIU_TABLE.items():
        digits = re.search(r"\.(\d+)M", printed)[1]
        assert f"{parameters / 1e6:.{len(digits)}f}M" == printed
        entry = entries[name]
        if activation:
            row = ARCHITECTURES[entry.architecture]
            config = row.config(entry.options)
            place = {"all": "all", "downsampling": "ds"}[config.activation_at]
            assert f"{config.activation}@{place}" == activation


@pytest.mark.slow
def test_the_nets_of_liu_have_as_many_weights_as_the_table():
    protocol = Protocol.from_file(LIU)
    counted = {}
    for entry in protocol.entries:
        options = {k: v for k, v in entry.options.items() if not k.startswith("activation")}
        key = entry.architecture, str(sorted(options.items()))
        if key not in counted:  # activations have no weights
            model = build_model(protocol.recipe_of(entry, 0).checkpoint)
            counted[key] = trainable_parameters(model)
        assert counted[key] == LIU_TABLE[entry.name][3], entry.name
    assert len(counted) == 9


def test_the_schedules_are_those_of_the_papers():
    protocol = Protocol.from_file(LIU)
    recipe = protocol.recipe_of(protocol.entries[0], 0)
    assert (recipe.optimizer, recipe.learning_rate, recipe.warmup_epochs) == ("sgd", 0.3, 5)
    assert (recipe.epochs, recipe.image_size(0)) == (50, 224)
    for name, batches in {
        "cifar10": {2: 256, 28: 256, 30: 128, 58: 128, 60: 64, 100: 64},
        "mnist": {2: 128, 60: 128, 70: 64, 100: 64},
    }.items():
        sweep = Sweep.from_file(HAUSER[name])
        assert sweep.depths == (*range(2, 70, 2), 70, 80, 90, 100)
        assert {n: sweep.recipe_of("ordinary", n).batch_size for n in batches} == batches
    assert Sweep.from_file(HAUSER["cifar10"]).recipe.flip
    assert not Sweep.from_file(HAUSER["mnist"]).recipe.flip
    assert Sweep.from_file(HAUSER["mnist"]).recipe.crop == 0


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_net_of_a_sweep_can_be_described(path):
    sweep = Sweep.from_file(path)
    names = set()
    for start in sweep.starts:
        for depth in sweep.depths:
            recipe = sweep.recipe_of(start, depth)
            row = ARCHITECTURES[recipe.checkpoint.architecture]
            assert row.config(recipe.checkpoint.options).num_blocks == (depth,) * 3
            names.add(recipe.preset)
    assert len(names) == len(sweep.starts) * len(sweep.depths)


@pytest.mark.parametrize("batch_sizes", [[[2]], [[4, 8], [2, 8]], [[2, 8], [2, 4]], [[2, 0]]])
def test_bad_batch_sizes_are_refused(batch_sizes):
    sweep = Sweep.from_file(HAUSER["mnist"])
    with pytest.raises(ValueError, match="`batch_sizes` must be"):
        dataclasses.replace(sweep, batch_sizes=batch_sizes)


def test_recipes_of_finished_runs_are_as_they_were():
    paths = sorted(TREE.glob("weights/*/recipe.json"))
    assert paths
    for path in paths:
        before, now = json.loads(path.read_text()), json.loads(Recipe.from_file(path).to_json())
        assert {key: now[key] for key in before} == before, path


# First steps


def _dry_run(path, capsys, *options, images=200):
    """Losses by net, of the command, on images that TFDS makes up."""
    command = ["dev", "sweep", str(path), "--dry-run"]
    if path in PROTOCOLS:
        command = ["dev", "zoo", "dry-run", str(path)]
    with tfds.testing.mock_data(num_examples=images):
        assert main([*command, "--batch", "2", *options]) == 0
    printed = capsys.readouterr().out
    lines = re.findall(r"^(\S+): ([\d,]+) weights; losses ([\d., ]+?)(?:;|$)", printed, re.M)
    return {
        name: (int(count.replace(",", "")), [float(loss) for loss in losses.split(", ")])
        for name, count, losses in lines
    }, printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "names"),
    [
        (YIN, ("pde18", "decomposed18")),
        (LIU, ("mobilenet_v3_large", "eq5")),
        (TREE / "tuning/zoo/fashion_mnist_20.json", ("plain",)),
    ],
    ids=lambda value: getattr(value, "stem", ""),
)
def test_first_steps_of_small_nets(path, names, capsys, tmp_path):
    only = [word for name in names for word in ("--only", name)]
    found, printed = _dry_run(path, capsys, *only, "--data-dir", str(tmp_path))
    assert tuple(found) == names
    protocol = Protocol.from_file(path)
    assert protocol.reference in printed
    for name, (parameters, losses) in found.items():
        assert len(losses) == 2
        # A net that knows nothing, of two images: whatever the draw, no multiple of this.
        assert 0 < losses[0] < 3 * math.log(protocol.recipe["checkpoint"]["classes"])
        if path == LIU:
            assert parameters == LIU_TABLE[name][3]
        assert f"paper: {_entries(path)[name].paper or '-'}" in printed


@pytest.mark.slow
@pytest.mark.parametrize("path", HAUSER.values(), ids=HAUSER)
def test_first_steps_of_a_sweep(path, capsys, tmp_path):
    shallow = tmp_path / "sweep.json"
    shallow.write_text(json.dumps(json.loads(path.read_text()) | {"depths": [4, 3, 2]}))
    found, printed = _dry_run(shallow, capsys, "--steps", "1", "--data-dir", str(tmp_path))
    preset = Sweep.from_file(path).recipe.preset
    assert list(found) == [f"{preset}_ordinary_2", f"{preset}_ordinary_4"]
    assert [len(losses) for _, losses in found.values()] == [1, 1]
    assert "goes as 1/L" in printed


@needs_time
@pytest.mark.parametrize("path", [*PROTOCOLS, *HAUSER.values()], ids=lambda path: path.stem)
def test_first_steps_of_every_net(path, capsys, tmp_path):
    found, _ = _dry_run(path, capsys, "--data-dir", str(tmp_path))
    assert len(found) == (len(_entries(path)) if path in PROTOCOLS else 2)
    if path == YIN:
        wanted = {
            f"{kind}{depth}": count
            for depth, counts in YIN_PARAMETERS.items()
            for kind, count in zip(("resnet", "pde", "decomposed"), counts, strict=True)
        }
        assert {name: count for name, (count, _) in found.items()} == wanted
    if path == LIU:
        wanted = {name: row[3] for name, row in LIU_TABLE.items()}
        assert {name: count for name, (count, _) in found.items()} == wanted


@pytest.mark.slow
def test_a_dry_run_says_what_is_wrong(capsys, tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        assert main(["dev", "zoo", "dry-run", str(YIN), "--data-dir", str(tmp_path)]) == 1
        assert "`batch_size` must leave 2 batches of the 3 images" in capsys.readouterr().err
        assert main(["dev", "zoo", "dry-run", str(YIN), "--only", "resnet19"]) == 1
        assert "`only` must name nets: resnet18, pde18" in capsys.readouterr().err


# Nets of keras.applications

PEER = {"architecture": "keras:MobileNet", "options": {"alpha": 0.25, "dropout": 0.0}}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"architecture": "keras:MobileNet9"}, "must name a net of keras.applications"),
        ({"architecture": "keras:mobilenet"}, "must name a net of keras.applications"),
        ({"options": {"alhpa": 1.0}}, r"`options` of keras:MobileNet must be of .*alpha"),
    ],
)
def test_unknown_peers_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        Entry("peer", **PEER | change)


@pytest.mark.slow
def test_a_peer_is_trained_and_measured_on_some_classes_of_photographs(tmp_path):
    recipe = Protocol.from_file(LIU).recipe | {
        "checkpoint": {"input_shape": [32, 32, 3], "classes": 100}, "batch_size": 8,
        "stages": [{"epochs": 1, "image_size": 32}], "warmup_epochs": 0.0, "jit_compile": False,
    }  # fmt: skip
    protocol = Protocol(entries=[{"name": "peer", **PEER}], seeds=[0], recipe=recipe)
    with tfds.testing.mock_data(num_examples=200):
        result = dict(run(protocol, tmp_path, data_dir=str(tmp_path)))["peer-seed0"]
        images = DataSource("imagenet2012[::10]", "validation", str(tmp_path)).num_examples
    assert 8 < result.images == images < 50
    model = keras.applications.MobileNet((32, 32, 3), 0.25, weights=None, classes=100)
    assert result.parameters == trainable_parameters(model)
    assert result.operations > 2 * result.parameters
    assert read_results(tmp_path)[0] == [result]
    with pytest.raises(WeightsError, match="keras:MobileNet"):
        read_checkpoint(tmp_path / "peer-seed0" / WEIGHTS)


def test_pixels_of_a_peer_are_normalised_by_its_checkpoint():
    fields = {"input_shape": (32, 32, 3), "classes": 7, "mean": (10, 20, 30), "std": (1, 2, 4)}
    model = build_model(checkpoint_of(fields | PEER), "mixed_bfloat16")
    assert model.output.dtype == "float32"
    assert model.get_layer("conv1").compute_dtype == "bfloat16"
    pixels = np.array([[[[12.0, 20.0, 34.0]]]], "float32")
    normalised = model.get_layer("preprocessing")(pixels)
    np.testing.assert_allclose(normalised.cpu().numpy().ravel(), [2.0, 0.0, 1.0])
