"""Contracts over the table of models."""

import inspect
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill, to_format

import keras_pdenets
from keras_pdenets.presets import ARCHITECTURES

GOLDEN = Path(__file__).parent / "golden" / "logits.json"
# The smallest net of each family and operator, and one bottleneck net.
GOLDEN_NAMES = [
    *(
        f"{prefix}{name}"
        for name in ("resnet18", "preact_resnet20")
        for prefix in ("", "pde_", "decomposed_")
    ),
    "pde_resnet50",
    "hyperbolic_resnet18",
    "hyperbolic_resnet20",
    "plain_net20",
    "refined_plain_net20",
]
# Golden logits of a row with other options.
GOLDEN_CONFIGS = {
    "quadratic_pde_preact_resnet20": (
        "pde_preact_resnet20",
        {"operator_options": {"form": "quadratic"}},
    ),
}
# The nets of the tests that are no contracts of one family.
SMALL_NAMES = [*GOLDEN_NAMES[:6], "hyperbolic_resnet20", "refined_plain_net20"]  # fmt: skip
# Wide convolutions' gradients take minutes on a CPU without the JIT's optimizations.
NARROW_NAMES = [name for name in SMALL_NAMES if BACKEND == "torch" or name.endswith("20")]
# 24 nets: trainable parameters for 10 classes, small stem, 3 channels (Yin et al., worked out).
SPECIFIED = {
    "resnet18": 11_173_962, "pde_resnet18": 7_512_138, "decomposed_resnet18": 8_028_234,
    "resnet34": 21_282_122, "pde_resnet34": 14_253_386, "decomposed_resnet34": 14_769_482,
    "resnet50": 23_520_842, "pde_resnet50": 19_748_426, "decomposed_resnet50": 19_748_426,
    "resnet101": 42_512_970, "pde_resnet101": 35_398_218, "decomposed_resnet101": 35_398_218,
}  # fmt: skip
IMAGENET_STEM = 7_680
BATCH_NORM_STATISTICS = {"18": 9_600, "34": 17_024, "50": 53_120, "101": 105_344}
# The decomposed nets of the table have mid_filters="output"; this is "input".
NARROW_MIDDLE = {"decomposed_resnet18": 7_254_090, "decomposed_resnet34": 13_995_338}


def _count(variables):
    return sum(math.prod(v.shape) for v in variables)


@pytest.fixture(scope="module")
def models():
    """Models with fixed weights, built once."""
    cache = {}

    def get(name, **options):
        key = (name, *sorted(options.items()))
        if key not in cache:
            cache[key] = fill(build(name, **options))
        return cache[key]

    return get


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", SPECIFIED)
def test_parameters_are_those_of_the_specification(name, stem):
    model = build(name, side=32, config={"stem": stem})
    wanted = SPECIFIED[name] + (IMAGENET_STEM if stem == "imagenet" else 0)
    assert _count(model.trainable_variables) == wanted
    statistics = BATCH_NORM_STATISTICS[name.rpartition("resnet")[2]]
    assert _count(model.non_trainable_variables) == statistics
    assert ARCHITECTURES[name].parameters == SPECIFIED[name]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", NARROW_MIDDLE)
def test_parameters_with_a_narrow_middle(name):
    model = build(name, config={"stem": "cifar", "operator_options": {"mid_filters": "input"}})
    assert _count(model.trainable_variables) == NARROW_MIDDLE[name]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if "preact" in n])
def test_pre_activation_nets_have_6l_plus_2_layers(name):
    row = ARCHITECTURES[name]
    model = build(name, side=32)
    assert _count(model.trainable_variables) == row.parameters
    depth, blocks = int(name.rpartition("resnet")[2]), row.options["num_blocks"]
    assert depth == 6 * blocks + 2
    counted = [
        layer.name
        for layer in model.layers
        if layer.weights and not layer.name.endswith("transition_conv") and "_bn" not in layer.name
    ]
    assert len(counted) == depth
    shapes = [layer.output.shape[1:] for layer in model.layers if layer.name.endswith("_add")]
    assert shapes == [s for s in ((32, 32, 16), (16, 16, 32), (8, 8, 64)) for _ in range(blocks)]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if "plain" in n or "vgg" in n])
def test_plain_nets_have_as_many_layers_as_their_names_say(name):
    row = ARCHITECTURES[name]
    model = build(name, side=32, config={"stem": "cifar"})
    assert _count(model.trainable_variables) == row.parameters
    layers = [x for x in model.layers if isinstance(x, keras.layers.Conv2D | keras.layers.Dense)]
    # The first 16-layer net of VGG ends in three dense layers; those for small images in one.
    assert len(layers) == int(name[-2:]) - 2 * ("vgg" in name)
    shape = model.get_layer("pool").input.shape[1:]
    sides = {"vgg": 1, "20": 8, "56": 8}
    side = next((s for key, s in sides.items() if key in name), 4)
    assert shape == (side, side, row.options.get("filters", (512,))[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps` must be a positive integer"),
        ({"promote": "full"}, "`promote` must be one of None, channel, depthwise, conv"),
        ({"steps": None, "promote": "conv"}, "`promote` must be None without"),
        ({"downsampling": "mean"}, "`downsampling` must be one of stride, pool"),
        ({"num_layers": (1, 2)}, "`num_layers` must be one integer or 3"),
    ],
)
def test_errors_of_plain_nets(options, message):
    with pytest.raises(ValueError, match=message):
        build("refined_plain_net20", config=options)


@pytest.mark.slow
def test_a_refined_plain_net_is_what_refine_makes(images):
    plain = fill(build("plain_net20"))
    refined, _ = keras_pdenets.transforms.refine(plain, steps=2, promote="depthwise")
    built = build("refined_plain_net20")
    assert {v.path for v in refined.weights} == {v.path for v in built.weights}
    new = keras_pdenets.transforms.deepen(plain, built)
    assert (len(new), new[0]) == (2 * 19, "stem_relu0_flow0")
    before = plain.predict(images, verbose=0)
    np.testing.assert_allclose(built.predict(images, verbose=0), before, rtol=1e-5, atol=1e-5)
    bare = keras_pdenets.RefinedPlainNet20(weights=None, promote=None, steps=3)
    assert bare.get_layer("stem_relu0_flow2").promote is None


def test_sections_may_differ():
    model = build("pde_preact_resnet20", config={"num_blocks": (1, 2, 3)})
    adds = [layer.name for layer in model.layers if layer.name.endswith("_add")]
    assert [sum(f"stage{i}" in name for name in adds) for i in range(3)] == [1, 2, 3]


@pytest.mark.golden
@pytest.mark.parametrize("name", [*GOLDEN_NAMES, *GOLDEN_CONFIGS])
def test_logits_are_the_golden_ones(name, models, images, data_format):
    if name in GOLDEN_CONFIGS:
        row, config = GOLDEN_CONFIGS[name]
        model = fill(build(row, config=config, data_format=data_format))
    else:
        model = models(name, data_format=data_format)
    found = np.asarray(model.predict(to_format(images, data_format), verbose=0))
    golden = json.loads(GOLDEN.read_text())[name]
    assert found.std() > 0.01
    np.testing.assert_allclose(found, golden, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NARROW_NAMES)
def test_keras_file_round_trip_is_exact(name, models, images, tmp_path):
    model = models(name, data_format="channels_last")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert [v.path for v in again.variables] == [v.path for v in model.variables]
    np.testing.assert_array_equal(
        again.predict(images, verbose=0), model.predict(images, verbose=0)
    )


def _toy_problem():
    """Two classes that one sees: bright above or bright below."""
    rng = np.random.default_rng(1)
    labels = np.arange(32) % 2
    images = rng.uniform(0, 100, (32, 8, 8, 1)).astype("float32")
    images[labels == 0, :4] += 120
    images[labels == 1, 4:] += 120
    return images, labels


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", NARROW_NAMES)
def test_one_fit_lowers_the_loss(name, dtype):
    keras.utils.set_random_seed(3)
    images, labels = _toy_problem()
    model = build(name, side=8, channels=1, classes=2, dtype=dtype)
    assert model.output.dtype == "float32"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # The JIT of a whole net takes longer than the test.
    model.compile(keras.optimizers.SGD(1e-2), loss, jit_compile=BACKEND == "jax")
    history = model.fit(images, labels, batch_size=32, epochs=4, verbose=0).history["loss"]
    assert history[-1] < history[0], history
    assert np.isfinite(history).all()


def test_every_variable_gets_a_gradient():
    images, labels = _toy_problem()
    for name in ("pde_preact_resnet20", "decomposed_preact_resnet20", "hyperbolic_resnet20"):
        model = build(name, side=8, channels=1, classes=2, config={"num_blocks": 1})
        for variable in model.trainable_variables:
            if variable.path.endswith("norm/gain"):  # from 0 nothing behind it would move
                variable.assign(1.0)
        before = [np.array(keras.ops.convert_to_numpy(v)) for v in model.trainable_variables]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=BACKEND == "jax")
        model.fit(images, labels, batch_size=32, verbose=0)
        for old, variable in zip(before, model.trainable_variables, strict=True):
            assert np.abs(old - keras.ops.convert_to_numpy(variable)).max() > 0, variable.path


@pytest.mark.once
def test_the_documentation_says_what_the_default_weights_are():
    assert "(the default: `pde_resnet50_fashion_mnist`)" in keras_pdenets.PDEResNet50.__doc__
    assert "(an error: this architecture has no checkpoint yet)" in keras_pdenets.ResNet18.__doc__
    assert "random weights, the default: there is no checkpoint." in keras_pdenets.ResNet18.__doc__
    for name, default in (("ResNet18", None), ("PDEResNet50", "hub")):
        parameters = inspect.signature(getattr(keras_pdenets, name)).parameters
        assert parameters["weights"].default == default


def test_a_builder_without_a_checkpoint_is_random_and_says_so(caplog):
    options = {"input_shape": (8, 8, 3), "classes": 2, "num_blocks": 1}
    assert keras_pdenets.PreActResNet32(**options).output_shape == (None, 2)
    assert "PreActResNet32 has no checkpoint yet: its weights are random." in caplog.text
    caplog.clear()
    keras_pdenets.PreActResNet32(weights=None, **options)
    keras_pdenets.PreActResNet32(True, None, **options)
    assert not caplog.text
    with pytest.raises(ValueError, match=r"it has no checkpoint yet\. Use weights=None"):
        keras_pdenets.PreActResNet32(weights="hub", **options)


def test_preprocessing_normalizes_and_leaves_the_input_alone(images):
    model = build("preact_resnet20", config={"num_blocks": 1})
    normalized = keras.Model(model.input, model.get_layer("preprocessing").output)
    before = images.copy()
    found = normalized.predict(images, verbose=0)
    np.testing.assert_allclose(found, (images - 127.5) / 127.5, atol=1e-6)
    np.testing.assert_array_equal(images, before)
    whole = images.astype("uint8")
    np.testing.assert_allclose(
        model.predict(whole, verbose=0), model.predict(whole.astype("float32"), verbose=0)
    )


def test_signature_is_that_of_keras_applications():
    reference = list(inspect.signature(keras.applications.ResNet50).parameters)
    for row in ARCHITECTURES.values():
        builder = getattr(keras_pdenets, row.builder)
        assert builder.__name__ == row.builder
        names = list(inspect.signature(builder).parameters)
        assert names[: len(reference)] == reference
        for argument in names:
            assert f"{argument}:" in builder.__doc__
        offered = [n for n in names if n in row.family.options]
        assert offered == list(row.family.options)


@pytest.mark.once
@pytest.mark.slow
def test_type_checkers_see_every_argument(tmp_path):
    """What an editor shows is what `inspect.signature` says."""
    firsts = {row.family.name: row for row in ARCHITECTURES.values()}
    builders = [row.builder for row in firsts.values()]
    script = tmp_path / "shown.py"
    lines = [f"reveal_type(keras_pdenets.{name})" for name in (*builders, "load_model")]
    script.write_text("\n".join(["import keras_pdenets", *lines]) + "\n")
    root = Path(keras_pdenets.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml"), str(script)],
        capture_output=True, text=True, cwd=root, env={**os.environ, "MYPYPATH": str(root)},
    )  # fmt: skip
    shown = [line for line in run.stdout.splitlines() if "Revealed type" in line]
    assert len(shown) == len(lines), run.stdout + run.stderr
    for name, line in zip((*builders, "load_model"), shown, strict=True):
        parameters = inspect.signature(getattr(keras_pdenets, name)).parameters.values()
        for parameter in parameters:
            assert parameter.annotation is not parameter.empty
            assert f"{parameter.name}: " in line
        assert line.count(" =") == sum(p.default is not p.empty for p in parameters)


def test_a_model_is_built_by_its_weights(tmp_path):
    name = "pde_resnet20_fashion_mnist"
    model = keras_pdenets.load_model(name, classes=3, dropout=0.5)
    assert model.output_shape == (None, 3)
    assert model.get_layer("dropout").rate == 0.5
    path = model.load_report.path
    again = keras_pdenets.load_model(path.parent, include_top=False)  # a folder
    assert again.load_report.path == path
    assert again.name == model.name == "pde_preact_resnet20"
    for wrong in ("pde_resnet20", "hub", ""):
        with pytest.raises(ValueError, match=r"nearest are|`weights` must be"):
            keras_pdenets.load_model(wrong)
    with pytest.raises(ValueError, match="`weights` must be"):
        keras_pdenets.load_model(None)
    with pytest.raises(TypeError, match="has no argument 'clases'; the nearest is 'classes'"):
        keras_pdenets.load_model(name, clases=3)
    with pytest.raises(keras_pdenets.WeightsError, match="There is no weight file"):
        keras_pdenets.load_model(tmp_path / "none.safetensors")


def test_options_of_the_builders():
    builder = keras_pdenets.PDEPreActResNet20
    common = {"weights": None, "num_blocks": 1}
    assert builder(input_shape=(28, 30, 1), classes=7, **common).output_shape == (None, 7)
    assert builder(**common).input_shape == (None, 32, 32, 3)
    assert builder(**common).output_shape == (None, 1000)
    top = {"include_top": False, "input_shape": (None, None, 2)}
    assert builder(**top, **common).output_shape == (None, None, None, 64)
    assert builder(**top, pooling="avg", **common).output_shape == (None, 64)
    assert builder(**top, pooling="max", **common).output_shape == (None, 64)
    tensor = keras.Input((16, 16, 3))
    assert builder(input_tensor=tensor, **common).input is tensor
    assert builder(dropout=0.5, name="mine", **common).get_layer("dropout").rate == 0.5
    periodic = builder(operator_options={"boundary": "periodic"}, **common)
    assert periodic.get_layer("stage0_block0_conv0").boundary == "periodic"
    plain = keras_pdenets.PreActResNet20(operator_options={"boundary": "replicate"}, **common)
    layer = plain.get_layer("stage0_block0_conv0")
    assert (layer.boundary, layer.degree) == ("replicate", 0)
    assert plain.count_params() == keras_pdenets.PreActResNet20(**common).count_params()
    slow = builder(step_size="1/L", weights=None, num_blocks=(1, 2, 4))
    steps = [s.scale for s in slow.layers if s.name.endswith("_step")]
    assert steps == [1.0] + 2 * [0.5] + 4 * [0.25]
    raw = builder(include_preprocessing=False, **common)
    assert "preprocessing" not in [layer.name for layer in raw.layers]


def test_the_users_own_layers_stay_before_an_input_tensor(images):
    inputs = keras.Input((16, 16, 3))
    doubled = keras.layers.Rescaling(2.0, name="mine")(inputs)
    builder = keras_pdenets.PreActResNet20
    common = {"weights": None, "num_blocks": 1, "input_tensor": doubled}
    model = builder(**common)
    assert model.input is inputs
    assert model.get_layer("mine").scale == 2.0
    with pytest.raises(ValueError, match="`input_shape` must be that of `input_tensor`"):
        builder(**common, input_shape=(32, 32, 3))


def test_the_stem_follows_the_size_of_the_input():
    small = keras_pdenets.ResNet18(weights=None, input_shape=(64, 64, 3), classes=2)
    large = keras_pdenets.ResNet18(weights=None, input_shape=(65, 64, 3), classes=2)
    assert small.get_layer("stem_conv").kernel_size == (3, 3)
    assert large.get_layer("stem_conv").kernel_size == (7, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "`classes` must be a positive integer. Received: classes=0"),
        ({"input_shape": (32, 32)}, "`input_shape` must be three positive integers"),
        ({"input_shape": (32, 32, None)}, "`input_shape` must be three positive integers"),
        ({"pooling": "sum", "include_top": False}, "`pooling` must be one of None, avg, max"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
        ({"data_format": "NCHW"}, "`data_format` must be"),
        ({"num_blocks": (1, 2)}, "`num_blocks` must be one integer or 3"),
        ({"num_blocks": 0}, "`num_blocks` must be a positive integer"),
        ({"step_size": 0}, "`step_size` must be a positive number, '1/L' or None"),
        ({"zero_start": 1}, "`zero_start` must be True or False"),
        ({"operator_options": {"boundary": "open"}}, "`boundary` must be one of"),
        ({"operator_options": {"strides": 2}}, "may hold boundary, normalize"),
        ({"num_blocks": 2.0}, "`num_blocks` must be"),
        ({"input_shape": 32}, "`input_shape` must be three positive integers"),
        ({"input_tensor": np.zeros((1, 8, 8, 3))}, "`input_tensor` must be a symbolic"),
        ({"weights": "hub", "revision": "main"}, "`revision` must be None except for"),
        ({"weights": "pde_resnet20_fashion"}, "nearest are pde_resnet20_fashion_mnist"),
        ({"weights": True}, "`weights` must be None, 'hub', the name of a preset"),
        ({"weights": "hf://only-one-part"}, "`weights` must be 'hf://organisation/repo'"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(ValueError, match=message):
        keras_pdenets.PDEPreActResNet20(**{"weights": None, **options})


def test_other_errors_of_the_builders():
    with pytest.raises(ValueError, match="`stem` must be one of None, cifar, imagenet"):
        keras_pdenets.ResNet18(weights=None, stem="small")
    with pytest.raises(ValueError, match="operator='conv' may hold boundary, degree"):
        keras_pdenets.ResNet18(weights=None, operator_options={"normalize": True})
    with pytest.raises(ValueError, match="`weights` cannot be 'hub' for ResNet18"):
        keras_pdenets.ResNet18(weights="hub")
    with pytest.raises(TypeError, match=r"has no argument 'stems'; the nearest is 'stem'"):
        keras_pdenets.ResNet18(weights=None, stems="cifar")
    with pytest.raises(ValueError, match=r"(?i)dtype|policy"):
        keras_pdenets.ResNet18(weights=None, dtype="float12")


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("operator", ["", "pde_", "decomposed_"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "preact_resnet20"])
def test_blocks_that_start_at_zero_are_their_shortcuts(name, operator, images):
    if BACKEND == "jax" and (name != "preact_resnet20" or operator == "decomposed_"):
        pytest.skip("compile time; nothing here depends on the backend")
    model = build(f"{operator}{name}", config={"zero_start": True})
    blocks = keras_pdenets.measure_perturbation(model, images).blocks
    changes = [b.scaled for b in blocks if b.kind == "identity"]
    assert len(changes) >= 5
    assert changes == [0.0] * len(changes)
    # and they can leave zero
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=BACKEND == "jax")
    model.fit(images, np.ones((4, 10)), epochs=2, verbose=0)
    blocks = keras_pdenets.measure_perturbation(model, images).blocks
    assert min(b.scaled for b in blocks if b.kind == "identity") > 0


@pytest.mark.parametrize("operator", ["", "pde_"])
def test_a_grown_net_is_the_old_one_and_can_learn_more(operator, images):
    def net(num_blocks):
        return build(
            f"{operator}preact_resnet20", config={"num_blocks": num_blocks, "zero_start": True}
        )

    shallow, deep = fill(net(1)), net((1, 2, 3))
    new = keras_pdenets.transforms.deepen(shallow, deep)
    assert new == ["stage1_block1", "stage2_block1", "stage2_block2"]
    before = shallow.predict(images, verbose=0)
    np.testing.assert_allclose(deep.predict(images, verbose=0), before, atol=1e-6)
    deep.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=BACKEND == "jax")
    deep.fit(images, np.ones((4, 10)), verbose=0)
    blocks = keras_pdenets.measure_perturbation(deep, images).blocks
    assert min(block.scaled for block in blocks) > 0
    with pytest.raises(
        ValueError, match=r"must have all variables of .*; only blocks may be added"
    ):
        keras_pdenets.transforms.deepen(deep, shallow)
    headless = build(f"{operator}preact_resnet20", include_top=False, config={"num_blocks": 1})
    with pytest.raises(ValueError, match=r"flow steps only\. Received: classifier/kernel"):
        keras_pdenets.transforms.deepen(headless, build(f"{operator}preact_resnet20"))


def _trainable(model):
    return {v.path.split("/")[0] for v in model.trainable_variables}


def test_freeze():
    model = build("preact_resnet20")
    assert _trainable(keras_pdenets.freeze(model)) == {"classifier"}
    keras_pdenets.freeze(model, "stage1_block1")
    assert "stage1_block1_conv1" not in _trainable(model)
    assert {"stage1_block2_conv0", "stage2_block0_conv0"} <= _trainable(model)
    assert not any("_bn" in name for name in _trainable(model))
    keras_pdenets.freeze(model, "stage1", batchnorm=False)
    assert {"stage2_block0_bn0", "head_bn0"} <= _trainable(model)
    with pytest.raises(ValueError, match="`until` must be or begin the name of a layer"):
        keras_pdenets.freeze(model, "stage7")


def test_freeze_takes_whole_names_only():
    model = build("preact_resnet20", config={"num_blocks": 11})
    keras_pdenets.freeze(model, "stage1_block1")
    assert "stage1_block2_conv0" in _trainable(model)


def test_freeze_reaches_into_nested_models_and_keeps_their_averages(images):
    backbone = build("preact_resnet20", config={"num_blocks": 1}, include_top=False, pooling="avg")
    outputs = keras.layers.Dense(2, activation="softmax", name="classifier")(backbone.output)
    nested = keras.layers.Dense(2, activation="softmax", name="classifier")
    inputs = keras.Input((16, 16, 3))
    for model in (
        keras.Model(backbone.input, outputs),
        keras.Model(inputs, nested(backbone(inputs))),
    ):
        keras_pdenets.freeze(model)
        keras_pdenets.freeze(model, "")
        norms = [v for v in backbone.variables if "moving" in v.path]
        before = [np.array(keras.ops.convert_to_numpy(v)) for v in norms]
        model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=BACKEND == "jax")
        model.fit(images, np.arange(4) % 2, verbose=0)
        for old, variable in zip(before, norms, strict=True):
            np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(variable))
    with pytest.raises(ValueError, match="must leave some weights"):
        keras_pdenets.freeze(backbone)


def test_features_come_from_fine_to_coarse(images):
    model = build("preact_resnet20", config={"num_blocks": 1})
    maps = keras_pdenets.features(model).predict(images, verbose=0)
    assert list(maps) == ["stage0", "stage1", "stage2"]
    assert [m.shape[1:] for m in maps.values()] == [(16, 16, 16), (8, 8, 32), (4, 4, 64)]
    one = keras_pdenets.features(model, ["stem_conv"])
    assert one.output["stem_conv"].shape == (None, 16, 16, 16)
    with pytest.raises(ValueError, match="`layers` must be names of layers"):
        keras_pdenets.features(model, ["stem"])
