"""Integers, numbers, shapes and paths wherever one is taken: which are refused, which are taken.

Nothing here depends on the backend.
"""

import json
import os
from pathlib import Path, PurePosixPath

import keras
import numpy as np
import pytest

import keras_pdenets
from keras_pdenets import analysis, data, layers, operators, training, transforms
from keras_pdenets.export import open_exported
from keras_pdenets.operators.flows import increments
from keras_pdenets.utils import checks

pytestmark = pytest.mark.once

NAN, INF, HUGE = float("nan"), float("inf"), 10**30
TEXTS, NONE, CONTAINERS = ["x", ""], [None], [[], {}]
HALF = np.float32(0.5)
NOT_INTEGERS = [NAN, INF, HUGE, True, HALF, *TEXTS, *CONTAINERS]
COUNT = [*NOT_INTEGERS, -1, 0]
NOT_NUMBERS = [NAN, INF, True, *TEXTS, *CONTAINERS]
FLAG = [NAN, INF, -1, 0, HUGE, np.int64(2), HALF, *TEXTS, *CONTAINERS]
PATH = [NAN, INF, -1, 0, HUGE, True, np.int64(2), HALF, "", "a\0b", *CONTAINERS]
CHOICE = [NAN, INF, -1, 0, HUGE, True, np.int64(9), HALF, *TEXTS, *CONTAINERS]
MODEL = [NAN, -1, HUGE, True, *TEXTS, *CONTAINERS, *NONE]
ARRAY = [NAN, INF, -1, HUGE, True, np.int64(2), HALF, "x", *CONTAINERS]

X = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 1)).astype("float32")
Y = np.arange(4) % 3
WEIGHTS = "never.safetensors"
SMALL = {"weights": None, "input_shape": (8, 8, 1), "classes": 3}


@pytest.fixture(scope="module")
def models():
    image = keras.Input((8, 8, 1))
    plain = keras.layers.Conv2D(2, 3, activation="relu", padding="same")(image)
    return {
        "net": keras_pdenets.PreActResNet20(num_blocks=1, **SMALL),
        "pde": keras_pdenets.PDEPreActResNet20(num_blocks=1, **SMALL),
        "plain": keras.Model(image, plain),
        "symmetric": keras_pdenets.HyperbolicResNet20(**SMALL),
    }


BUILDER = {
    "include_top": FLAG, "weights": [NAN, -1, HUGE, True, np.int64(2), "", *CONTAINERS],
    "input_tensor": [NAN, -1, True, *TEXTS, *CONTAINERS],
    "input_shape": [NAN, INF, -1, 0, HUGE, True, np.int64(2), HALF, *TEXTS, *CONTAINERS,
                    (8, 8), (8, 8, 0), (8, 8, HUGE), (8, True, 1), (8, "8", 1), (8.0, 8, 1),
                    np.array(8), np.array([8.0, 8.0, 1.0])],
    "pooling": CHOICE, "classes": COUNT, "classifier_activation": CHOICE,
    "name": [NAN, -1, HUGE, True, HALF, "", "a/b", *CONTAINERS], "include_preprocessing": FLAG,
    "dropout": [*NOT_NUMBERS, None, -1, 1, HUGE], "data_format": CHOICE, "dtype": CHOICE,
    "revision": [NAN, -1, HUGE, True, "", *CONTAINERS], "cache_dir": PATH,
    "local_files_only": FLAG, "remat": FLAG, "num_blocks": [*COUNT, "3", (1, 2), (1, 1, 0),
    (1, 1, True), [1, 1, HUGE], {"a": 1, "b": 1, "c": 1}],
    "operator_options": [NAN, -1, HUGE, True, *TEXTS, []],
    "zero_start": FLAG, "step_size": [*NOT_NUMBERS, -1, 0], "scheme": CHOICE,
    "leak": [*NOT_NUMBERS, -1, 0, 1, HUGE],
    "stochastic_depth": [*NOT_NUMBERS, -1, 1, HUGE],
}  # fmt: skip
HYPERBOLIC = {
    "equation": COUNT, "multiplier": COUNT, "activation": CHOICE,
    "shared_stencil": FLAG, "activation_at": CHOICE, "block_norm": CHOICE,
    "boundary": CHOICE, "stem": CHOICE,
}  # fmt: skip
BATCH = {"batch_size": [*COUNT, None]}
IMAGES = {"model": MODEL, "images": [*ARRAY, None]}
# callable, its other arguments, and what is refused of each argument
SWEEP = {
    "builder": (keras_pdenets.PreActResNet20, {"num_blocks": 1, **SMALL}, BUILDER),
    "hyperbolic": (keras_pdenets.HyperbolicResNet20, SMALL, HYPERBOLIC),
    "refined": (keras_pdenets.RefinedPlainNet20, SMALL, {"steps": COUNT, "promote": CHOICE}),
    "stem": (keras_pdenets.ResNet18, SMALL, {"stem": CHOICE}),
    "stopping_rule": (operators.stopping_rule, {"d_scaled": 1.0, "epsilon": 0.1}, {
        "d_scaled": [NAN, INF, -1, True, *TEXTS, None, {}, [NAN], [[1.0]], [None]],
        "epsilon": [*NOT_NUMBERS, None, -1, 0], "max_blocks": [*COUNT, None]}),
    "pde_initial_scales": (operators.pde_initial_scales, {}, {"input_channels": [*COUNT, None]}),
    "increments": (increments, {"time": "linear", "steps": 2},
                   {"time": [*CHOICE, None], "steps": [*COUNT, None]}),
    "load_weights": (keras_pdenets.load_weights, {"model": "net", "path": WEIGHTS}, {
        "path": PATH, "new_head": [*FLAG, None], "allow_nonfinite": [*FLAG, None]}),
    "write_weights": (
        keras_pdenets.write_weights, {"model": "net", "path": WEIGHTS, "checkpoint": None},
        {"path": PATH, "float16": [*FLAG, None]}),
    "list_models": (keras_pdenets.list_models, {}, {"pattern": ARRAY[:7]}),
    "list_presets": (keras_pdenets.list_presets, {}, {"pattern": ARRAY[:7]}),
    "load_dataset": (data.load_dataset, {"name": "sample", "split": "test"}, {
        "name": ARRAY[:7], "split": [NAN, -1, 0, HUGE, True, ""], **BATCH,
        "image_size": COUNT, "flip": [*FLAG, None], "crop": [NAN, INF, -1, HUGE, True, HALF, "x"],
        "seed": NOT_INTEGERS, "epoch": [*NOT_INTEGERS, None, -1], "data_dir": PATH}),
    "RecoverFromDivergence": (training.RecoverFromDivergence, {}, {
        "factor": [*NOT_NUMBERS, None, 0, 1], "retries": [*COUNT, None],
        "explosion": [*NOT_NUMBERS, None, 1]}),
    "PerturbationLogger": (training.PerturbationLogger, {"images": X},
                           {"path": PATH, "every": [*COUNT, None], **BATCH}),
    "penalize_differences": (training.penalize_differences, {"model": "net"},
                             {"strength": [*NOT_NUMBERS, None, 0, -1]}),
    "open_exported": (open_exported, {"path": Path(__file__), "format": "onnx"},
                      {"path": PATH, "threads": COUNT}),
    "measure": (analysis.measure_perturbation, {"model": "net", "images": X}, {**IMAGES, **BATCH}),
    "feature_variance": (analysis.feature_variance, {"model": "net", "images": X},
                         {**IMAGES, **BATCH}),
    "drop_blocks": (analysis.drop_blocks, {"model": "net", "images": X, "labels": Y},
                    {**IMAGES, **BATCH, "labels": [*ARRAY, None]}),
    "trajectories": (analysis.trajectories, {"model": "net", "images": X}, {**IMAGES, **BATCH}),
    "gradient_norms": (analysis.gradient_norms, {"model": "net", "images": X, "labels": Y},
                       {**IMAGES, **BATCH, "labels": [*ARRAY, None]}),
    "jacobian_spectrum": (analysis.jacobian_spectrum, {"model": "net", "images": X}, {
        **IMAGES, **BATCH, "per": [*CHOICE, None], "count": [*COUNT, None],
        "steps": [*COUNT, None], "seed": [*NOT_INTEGERS, None, -1]}),
    "weight_noise": (
        analysis.weight_noise_robustness, {"model": "net", "images": X, "labels": Y},
        {**IMAGES, **BATCH, "levels": [NAN, INF, -1, *TEXTS, *CONTAINERS, None],
         "draws": [*COUNT, None], "seed": [*NOT_INTEGERS, None, -1]}),
    "spectral_norms": (analysis.spectral_norms, {"model": "net"}, {
        "model": MODEL, "steps": [*COUNT, None], "seed": [*NOT_INTEGERS, None, -1]}),
    "path_integral": (analysis.path_integral, {"model": "pde"},
                      {"model": MODEL, "velocity": [*NOT_NUMBERS, None]}),
    "fourier_symbols": (analysis.fourier_symbols, {"layer_or_kernel": np.ones((3, 3))},
                        {"layer_or_kernel": ARRAY, "size": [*COUNT, None]}),
    "fit_exponent": (analysis.fit_exponent, {"depths": [1, 2], "values": [1, 2]},
                     {"depths": ARRAY, "values": ARRAY}),
    "record_golden": (analysis.record_golden, {"model": "net", "images": X}, IMAGES),
    "verify": (analysis.verify, {"model_or_preset": "resnet20_fashion_mnist"}, {
        "model_or_preset": [*MODEL[:4], "", *MODEL[6:]],
        "golden": [NAN, -1, 0, True, HALF, "", *CONTAINERS],
        "tolerance": [*NOT_NUMBERS, -1]}),
    "features": (transforms.features, {"model": "net"},
                 {"model": MODEL, "layers": [NAN, -1, HUGE, True, *TEXTS, *CONTAINERS]}),
    "refine": (transforms.refine, {"model": "plain"}, {
        "model": MODEL, "steps": [*COUNT[:-4], None, -1, 0],
        "max_step": [*NOT_NUMBERS, 0, 1], "data": ARRAY}),
    "fold": (transforms.fold, {"model": "plain"}, {"model": MODEL, "data": ARRAY}),
    "resample": (transforms.resample, {"model": "net", "depth": "double", "data": X}, {
        "model": MODEL, "data": [*ARRAY, None], **BATCH}),
    "sparsify": (transforms.sparsify, {"model": "symmetric", "steps": 1, "verbose": 0}, {
        "model": MODEL, "steps": [*NOT_INTEGERS, None, -1],
        "learning_rate": [*NOT_NUMBERS, None, 0, HUGE], "seed": [*NOT_INTEGERS, -1],
        "smoothing": [*NOT_NUMBERS, None, 0, HUGE]}),
    "transform": (transforms.transform, {"model": "symmetric", "matrices": {}}, {
        "model": MODEL, "matrices": [NAN, -1, True, *TEXTS, [], None], "images": ARRAY,
        "tolerance": [*NOT_NUMBERS, -1]}),
    "prune": (transforms.prune, {"model": "symmetric"},
              {"share": [*NOT_NUMBERS, None, -1, 1]}),
    "Softball": (layers.Softball, {}, {"radius": [*NOT_NUMBERS, 0], "axis": [*NOT_INTEGERS, None]}),
    "HardTanh": (layers.HardTanh, {}, {"min_value": [*NOT_NUMBERS, None],
                                       "max_value": [*NOT_NUMBERS, None]}),
    "ScalarGain": (layers.ScalarGain, {}, {
        "initial": [*NOT_NUMBERS, None], "epsilon": [*NOT_NUMBERS, None, 0],
        "axis": [*NOT_INTEGERS, None], "normalize": [*FLAG, None]}),
    "PDEConv2D": (layers.PDEConv2D, {"filters": 2}, {
        "filters": [*COUNT, None], "strides": [*COUNT, None], "boundary": [*CHOICE, None],
        "normalize": [*FLAG, None], "use_bias": [*FLAG, None], "data_format": CHOICE}),
    "QuasiLinear2D": (layers.QuasiLinear2D, {"filters": 2}, {
        "multiplier": [*COUNT, None], "strides": [*COUNT, None], "equation": [*COUNT, None],
        "use_bias": [*FLAG, None], "train_norm": [*FLAG, None], "boundary": [*CHOICE, None]}),
    "ClipFlowStep": (layers.ClipFlowStep, {"rate": 1.0}, {
        "rate": [*NOT_NUMBERS, None], "low": [*NOT_NUMBERS, None], "high": NOT_NUMBERS}),
    "CarryFlowStep": (layers.CarryFlowStep, {"activation": "relu", "right": 1.0},
                      {"right": [*NOT_NUMBERS, None, 0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", SWEEP)
def test_what_is_refused_is_named(name, models):
    call, others, arguments = SWEEP[name]
    others = {
        key: models[value] if key == "model" and isinstance(value, str) else value
        for key, value in others.items()
    }
    wrong = []
    for argument, values in arguments.items():
        for value in values:
            shown = f"{argument}={value!r}"
            try:
                call(**{**others, argument: value})
            except (ValueError, TypeError, keras_pdenets.WeightsError) as error:
                if argument not in str(error):
                    wrong.append(f"{shown}: {error!r}")
            except Exception as error:
                wrong.append(f"{shown}: {error!r}")
            else:
                wrong.append(f"{shown}: taken")
    assert not wrong, "\n".join(wrong)


class _Dimensions:
    """What TensorFlow's `TensorShape` is: an iterable of integers and None."""

    def __iter__(self):
        return iter((8, 8, 1))


@pytest.mark.parametrize(
    "shape", [[8, 8, 1], np.array([8, 8, 1]), tuple(np.int32([8, 8, 1])), _Dimensions()]
)
def test_shapes_of_every_kind_are_taken(shape):
    net = keras_pdenets.PreActResNet20(weights=None, input_shape=shape, num_blocks=1)
    assert net.input_shape == (None, 8, 8, 1)
    assert all(type(n) is int for n in net.input_shape[1:])


def test_tensorflows_shapes_are_taken():
    tf = pytest.importorskip("tensorflow")
    shape = tf.TensorShape([None, 8, 1])
    assert checks.as_shape(shape) == (None, 8, 1)
    assert checks.as_shape(tf.TensorShape(None)) is None
    net = keras_pdenets.PreActResNet20(weights=None, input_shape=shape, num_blocks=1)
    assert net.input_shape == (None, None, 8, 1)


def test_numpys_numbers_are_taken():
    two, half = np.int64(2), np.float32(0.5)
    net = keras_pdenets.PreActResNet20(
        weights=None, input_shape=(8, 8, 1), classes=two, dropout=half, step_size=half,
        num_blocks=np.array([1, 1, 1]), stochastic_depth=np.float64(0.25), include_top=np.True_,
    )  # fmt: skip
    assert net.output_shape == (None, 2)
    json.dumps(net.get_config(), default=str)
    again = keras.models.clone_model(net)
    assert again.count_params() == net.count_params()
    keras_pdenets.HyperbolicResNet20(
        weights=None, input_shape=(8, 8, 1), equation=np.int64(3), multiplier=two, classes=two
    )
    assert operators.stopping_rule(np.float32(1.0), half, np.int16(9)) == 3
    assert operators.stopping_rule(np.array(1.0), 0.5) == 3
    assert operators.stopping_rule(np.array([1.0, 2.0]), 0.5) == (3, 5)
    assert len(increments("linear", two)[0]) == 2
    assert len(next(iter(data.load_dataset("sample", "test", np.int64(5), two)))[1]) == 5
    assert training.RecoverFromDivergence(half, two, np.int64(7)).retries == 2
    assert analysis.measure_perturbation(net, X, np.uint8(3)).images == 4
    assert layers.PDEConv2D(two, strides=two).filters == 2
    assert layers.Softball(axis=np.int64(-1)).axis == -1


@pytest.mark.parametrize("kind", [str, Path, "pathlike"])
def test_paths_of_every_kind_are_taken(kind, tmp_path, monkeypatch):
    class Pathlike:
        def __init__(self, text):
            self.text = text

        def __fspath__(self):
            return self.text

    kind = Pathlike if kind == "pathlike" else kind
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Path(__file__).parents[1] / "weights" / "plain_net20_fashion_mnist"
    (tmp_path / "net").symlink_to(folder)
    for text in ("~/net", "~/net/model.safetensors", str(folder)):
        assert keras_pdenets.PlainNet20(weights=kind(text)).load_report.loaded
    assert training.PerturbationLogger(X, kind("~/log.csv")).path == tmp_path / "log.csv"
    assert data.DataSource("sample", "test", kind("~/tfds")).data_dir == str(tmp_path / "tfds")


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".safetensors", "a/" * 3000 + "b"])
def test_names_that_are_too_long(name):
    with pytest.raises((ValueError, keras_pdenets.WeightsError), match=r"xxxx|a/a/") as error:
        keras_pdenets.PlainNet20(weights=name)
    assert "weights" in str(error.value) or "preset" in str(error.value)


def test_an_empty_name_is_not_the_working_directory(tmp_path, monkeypatch):
    folder = Path(__file__).parents[1] / "weights" / "plain_net20_fashion_mnist"
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"`weights` must be None, 'hub'.* weights=''"):
        keras_pdenets.PlainNet20(weights="")


def test_a_folder_that_is_closed(tmp_path, monkeypatch):
    def closed(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(keras_pdenets.WeightsError, match=r"`weights`: .*Permission denied"):
        keras_pdenets.PlainNet20(weights=str(tmp_path / "net"))


def test_the_checks_themselves():
    assert checks.check_integer("n", np.int8(-3)) == -3
    assert type(checks.check_integer("n", np.array(3), 1)) is int
    with pytest.raises(ValueError, match=r"`n` must be an integer >= 0. Received: n=-1"):
        checks.check_integer("n", -1, 0)
    with pytest.raises(ValueError, match=r"`n` must be an integer of at most 9. Received: n=10"):
        checks.check_integer("n", 10, most=9)
    assert checks.check_path("p", PurePosixPath("a/b")) == Path("a/b")
    with pytest.raises(ValueError, match=r"`p` must be a path"):
        checks.check_path("p", b"bytes")
    with pytest.raises(ValueError, match=r"`p` must be a path whose home folder"):
        checks.check_path("p", "~nobody-of-this-name/x")
    assert checks.check_path("p", "~") == Path(os.path.expanduser("~"))  # noqa: PTH111
