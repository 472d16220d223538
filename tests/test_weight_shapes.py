"""Records that ask for more than their file holds, and the shapes that they are compared with."""

import json
import math
import resource

import keras
import numpy as np
import pytest
from conftest import build

import keras_pdenets
from keras_pdenets.hub.files import read_checkpoint, write_weights
from keras_pdenets.hub.weight_shapes import MOST_DEPTH, weight_shapes
from keras_pdenets.presets import ARCHITECTURES, Checkpoint

once = pytest.mark.once
SMALL = {"num_blocks": 1, "filters": [4, 4, 4]}
RESNET = {"num_blocks": [1, 1, 1, 2], "filters": [4, 4, 4, 8], "stem": "imagenet"}
PLAIN = {"num_layers": [1, 2, 1], "filters": [4, 4, 8], "stem": "cifar"}

# Every option that changes what variables there are.
NETS = [
    ("preact_resnet20", {**SMALL, "num_blocks": [2, 1, 3]}),
    ("preact_resnet20", {**SMALL, "scheme": "rk4"}),
    ("preact_resnet20", {**SMALL, "scheme": "backward_euler", "zero_start": True}),
    ("preact_resnet20", {**SMALL, "leak": 0.1, "stochastic_depth": 0.2}),
    ("preact_resnet20", {**SMALL, "operator_options": {"degree": 1}, "remat": True}),
    ("pde_preact_resnet20", {**SMALL, "zero_start": True}),
    ("decomposed_preact_resnet20", {**SMALL, "operator_options": {"mid_filters": 3}}),
    ("resnet50", RESNET),
    ("pde_resnet18", {**RESNET, "leak": "1/depth"}),
    ("plain_net20", PLAIN),
    ("refined_plain_net20", {**PLAIN, "steps": 3, "promote": "conv"}),
    ("refined_plain_net20", {**PLAIN, "promote": None}),
    *(
        ("hyperbolic_resnet20", {**SMALL, "equation": equation, "multiplier": 2})
        for equation in (3, 4, 5, 6, 7, "cp", "full")
    ),
]


@pytest.mark.once
@pytest.mark.parametrize(("name", "options"), NETS)
def test_the_shapes_are_those_of_the_net(name, options):
    model = build(name, side=32, channels=2, config=options)
    shapes = weight_shapes(Checkpoint(name, (32, 32, 2), 10, options))
    assert shapes == {v.path: tuple(v.shape) for v in model.weights}


@pytest.mark.once
@once
@pytest.mark.parametrize(
    "name", [name for name in ARCHITECTURES if not name.endswith(("101", "110", "74", "56"))]
)
def test_the_shapes_have_the_parameters_of_the_table(name):
    row = ARCHITECTURES[name]
    stem = {} if row.family.name == "preact_resnet" else {"stem": "cifar"}
    shapes = weight_shapes(Checkpoint(name, (row.side, row.side, 3), 10, stem))
    fixed = ("moving_mean", "moving_variance")
    count = sum(math.prod(s) for path, s in shapes.items() if not path.endswith(fixed))
    assert count == row.parameters


def test_shapes_of_any_size_take_no_memory():
    """Also on the way: nothing is left behind that another model would have to pay for."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, options in NETS:
        many = len(options["filters"])
        wide = {**options, "filters": [50 if "full" in options.values() else 100_000] * many}
        shapes = weight_shapes(Checkpoint(name, (32, 32, 2), 10**9, wide))
        assert shapes["classifier/kernel"][-1] == 10**9
    with keras.StatelessScope():
        pass  # where Keras gives values to what has none yet
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    # Neither scopes nor automatic names hear of it.
    with keras.name_scope("teacher"):
        assert "stem_conv/kernel" in weight_shapes(Checkpoint("resnet18", (9, 9, 1), 2, RESNET))


@once
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("preact_resnet20", {**SMALL, "num_blocks": MOST_DEPTH // 6 + 1}),
        ("preact_resnet20", {**SMALL, "num_blocks": MOST_DEPTH // 24 + 1, "scheme": "rk4"}),
        ("plain_net20", {**PLAIN, "num_layers": [MOST_DEPTH // 9 + 1] * 3}),
        ("refined_plain_net20", {**PLAIN, "steps": MOST_DEPTH // 4}),
    ],
)
def test_what_is_too_deep_is_not_built(name, options):
    with pytest.raises(ValueError, match="layers in sequence; from a file at most 512"):
        weight_shapes(Checkpoint(name, (8, 8, 1), 3, options))


# --- files that hold less than their records ask for -------------------------------------------


def _file(tmp_path, name="preact_resnet20", options=SMALL):
    checkpoint = Checkpoint(name, (8, 8, 1), 3, options)
    path = tmp_path / "model.safetensors"
    write_weights(build(name, side=8, channels=1, classes=3, config=options), path, checkpoint)
    return path


def _edited(path, record=None, drop=(), extra=None):
    """The file with another record, some tensors taken away, others put in."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8:end]), data[end:]
    words = {**json.loads(header.pop("__metadata__")["keras_pdenets"]), **(record or {})}
    tensors, kept = {}, b""
    for name, entry in header.items():
        if not name.startswith(tuple(drop)):
            piece = body[slice(*entry["data_offsets"])]
            tensors[name] = {**entry, "data_offsets": [len(kept), len(kept) + len(piece)]}
            kept += piece
    for name, shape in (extra or {}).items():
        size = 4 * math.prod(shape)
        places = [len(kept), len(kept) + size]
        tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": places}
        kept += bytes(size)
    text = json.dumps({"__metadata__": {"keras_pdenets": json.dumps(words)}, **tensors}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + kept)
    return path


HEAD = ("classifier/",)
WIDE = {"num_blocks": 1, "filters": [30_000] * 3}
LIES = [
    ("classes without a classifier", {"record": {"classes": 10**9}, "drop": HEAD}, "classes with"),
    ("fewer of them", {"record": {"classes": 2 * 10**7}, "drop": HEAD}, "classes without"),
    ("an empty tensor for a width", {"record": {"options": WIDE}, "extra": {"x": [0, 10**6]}},
     "an invalid shape"),
    ("a vector for a width", {"record": {"options": WIDE}, "extra": {"x": [30_000]}}, "of shape"),
    ("the right vectors", {"record": {"options": {**SMALL, "filters": [4, 4, 30_000]}},
                           "drop": ("head_",), "extra": {"head_bn0/gamma": [30_000]}}, "of shape"),
    ("a bias without its kernel", {"drop": ("classifier/kernel",)}, "classifier/kernel of shape"),
    ("more blocks than there are", {"record": {"options": {**SMALL, "num_blocks": [1, 2, 1]}}},
     "stage1_block1"),
    ("many more", {"record": {"options": {**SMALL, "num_blocks": 13}}}, "39 blocks, more than the"),
    ("fewer", {"extra": {"stage9_block0_conv0/kernel": [1]}}, "stage9_block0"),
    ("a wider operator", {"record": {"options": {**SMALL, "operator_options": {"degree": 1}}}},
     "kernel_x"),
    ("no such block", {"record": {"architecture": "resnet18", "options": {**RESNET, "block": "x",
                                  "filters": [4] * 4}}}, "give no net"),
]  # fmt: skip


@once
@pytest.mark.parametrize(("edit", "message"), [row[1:] for row in LIES], ids=[r[0] for r in LIES])
def test_a_record_asks_for_what_its_file_holds(edit, message, tmp_path):
    path = _edited(_file(tmp_path), **edit)
    with pytest.raises(keras_pdenets.WeightsError, match=message):
        read_checkpoint(path)


@once
@pytest.mark.parametrize(
    ("name", "options", "more"),
    [
        ("decomposed_preact_resnet20", SMALL, {"operator_options": {"mid_filters": 12}}),
        ("hyperbolic_resnet20", {**SMALL, "multiplier": 2}, {"multiplier": 12}),
        ("refined_plain_net20", {**PLAIN, "promote": "channel"}, {"promote": "conv"}),
        ("refined_plain_net20", {**PLAIN, "promote": "channel"}, {"steps": 12}),
        ("plain_net20", PLAIN, {"num_layers": [1, 9, 1]}),
        ("preact_resnet20", SMALL, {"leak": 0.5}),
    ],
)
def test_every_option_that_costs_is_compared(name, options, more, tmp_path):
    path = _file(tmp_path, name, options)
    assert read_checkpoint(path).options == {**options}
    with pytest.raises(keras_pdenets.WeightsError, match="in the file and"):
        read_checkpoint(_edited(path, record={"options": {**options, **more}}))


@pytest.mark.once
def test_files_without_a_classifier_still_load(tmp_path):
    path = _edited(_file(tmp_path), drop=HEAD)
    checkpoint = read_checkpoint(path)
    model = keras_pdenets.PreActResNet20(weights=path, include_top=False)
    assert len(model.load_report.loaded) == len(model.weights)
    with pytest.raises(keras_pdenets.WeightsError, match="belongs to another model"):
        keras_pdenets.PreActResNet20(weights=path)
    new = keras_pdenets.PreActResNet20(weights=path, classes=5)
    assert new.load_report.initialised == ["classifier/kernel", "classifier/bias"]
    assert checkpoint.classes == 3
    assert np.isfinite(keras.ops.convert_to_numpy(new.weights[0])).all()
