"""Folding: the same outputs from Keras' own layers alone."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import BACKEND, DATA_FORMATS, build, fill, to_format
from keras import layers

from keras_pdenets import layers as own
from keras_pdenets.presets import ARCHITECTURES
from keras_pdenets.transforms import fold, refine
from keras_pdenets.transforms.copying import largest_difference
from keras_pdenets.transforms.fold import _folded
from keras_pdenets.transforms.fusion.choosing import Choice

RNG = np.random.default_rng(0)
# One row of the table for each family and operator: depth is a number of equal blocks.
ROWS = {(row.family.name, row.operator, "vgg" in name, row.options.get("block")): name
        for name, row in ARCHITECTURES.items()}  # fmt: skip
# JAX compiles every shape: seconds a net.
FOLDED = [n for n in ROWS.values() if BACKEND != "jax" or n in ("hyperbolic_resnet74",)]
LARGE = [name for name in ROWS.values() if "vgg" in name]


def short(name):
    """A net of one block in each stage, with weights."""
    key = "num_layers" if "plain" in name or "vgg" in name else "num_blocks"
    return {key: 1} if name not in LARGE else {key: 1, "filters": (8, 8, 16, 16, 16)}


def is_plain(model):
    """Whether a model needs nothing but Keras to open."""
    return all(
        is_plain(layer) if hasattr(layer, "layers") else
        type(layer).__module__.startswith("keras.") for layer in model.layers
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDED)
def test_every_family_folds(name, images, data_format):
    if BACKEND == "jax" and data_format == "channels_first":
        pytest.skip("compile time; torch has them")
    model = fill(build(name, data_format=data_format, config=short(name)))
    data = to_format(images, data_format)
    folded, report = fold(model, decomposed="keep", data=data)
    assert report.difference < 1e-5
    assert not report.left
    assert is_plain(folded)
    kinds = [type(layer) for layer in folded.layers]
    # Before its first ReLU a pre-activation block has no convolution that the norm could go into.
    if "preact" not in name:
        assert layers.BatchNormalization not in kinds
    assert report.merged
    assert "difference" in str(report)


@pytest.mark.parametrize("equation", [3, 4, 5, 6, 7, "cp", "full"])
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_products_fold(equation, boundary, images):
    if BACKEND != "torch" and (boundary == "zero" or equation in (4, 5, 6)):
        pytest.skip("compile time; the products do not depend on the backend")
    layer = own.QuasiLinear2D(6, equation, 2, strides=2, boundary=boundary, seed=1)
    inputs = keras.Input((16, 16, 3))
    model = fill(keras.Model(inputs, own.Softball()(layer(inputs))))
    folded, report = fold(model, data=images / 255)
    assert report.difference < 1e-5
    assert is_plain(folded)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("boundary", ["zero", "replicate", "reflect", "periodic"])
def test_layers_fold_with_their_borders(boundary, data_format, images, tmp_path):
    if BACKEND == "jax" and (boundary, data_format) != ("periodic", "channels_last"):
        pytest.skip("compile time")
    common = {"boundary": boundary, "data_format": data_format}
    data = to_format(images / 255, data_format)
    inputs = x = keras.Input(data.shape[1:])
    x = own.PDEConv2D(8, strides=2, name="pde", **common)(x)
    x = own.DecomposedConv2D(8, mid_filters=5, strides=2, name="decomposed", **common)(x)
    x = own.PolynomialConv2D(6, degree=1, name="polynomial", **common)(x)
    x = own.DepthwiseStencil2D(2, shared=True, name="stencil", **common)(x)
    x = own.ScalarGain(initial=1.5, name="gain")(x)
    x = own.ScalarGain(normalize=True, axis=1 if data_format == "channels_first" else -1)(x)
    x = own.Hardball(axis=1 if data_format == "channels_first" else -1)(x)
    model = fill(keras.Model(inputs, own.HardTanh()(x)))
    for decomposed in ("keep", "merge"):
        folded, report = fold(model, decomposed, data)
        assert report.difference < 1e-5
        assert is_plain(folded)
        assert report.merged == {"gain": "stencil"}
        names = [layer.name for layer in folded.layers]
        assert ("decomposed" in names) == (decomposed == "merge")
        assert ("decomposed_row" in names) == (decomposed == "keep")
    folded.save(tmp_path / "folded.keras")
    again = keras.saving.load_model(tmp_path / "folded.keras")
    np.testing.assert_array_equal(again.predict(data, verbose=0), folded.predict(data, verbose=0))


def test_norms_gains_and_matrices_go_into_what_is_before_them():
    inputs = keras.Input((8, 8, 4))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="deep")(inputs)
    x = layers.BatchNormalization(name="norm0")(x)
    x = layers.Conv2D(5, 1, name="cheap")(layers.ReLU()(x))
    x = layers.Conv2D(5, 1, use_bias=False, name="matrix")(layers.Dropout(0.5, name="drop")(x))
    x = layers.Rescaling(2.0, offset=1.0, name="scale")(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(6, 1, name="grouped_after")(
        layers.Conv2D(8, 1, groups=4, name="grouped")(layers.Conv2D(8, 1, activation="relu")(x))
    )
    x = layers.Activation("linear", name="nothing")(x)
    x = layers.Flatten()(layers.Conv2D(8, 3, name="wide")(x))
    x = layers.Dense(6, name="dense")(x)
    x = layers.BatchNormalization(scale=False, center=False, name="norm1")(x)
    model = fill(keras.Model(inputs, layers.Dense(3, "softmax", name="head")(x)))
    data = RNG.normal(size=(4, 8, 8, 4)).astype("float32")
    folded, report = fold(model, data=data)
    assert report.difference < 1e-5
    assert report.merged == {
        "norm0": "deep", "matrix": "cheap", "scale": "cheap", "norm1": "dense",
    }  # fmt: skip
    assert set(report.dropped) == {"drop", "nothing"}
    assert report.layers[0] - report.layers[1] == 6
    assert folded.get_layer("grouped").groups == 4
    # A wide convolution is not merged with the matrix before it: that would cost more.
    assert "wide" in [layer.name for layer in folded.layers]


def test_what_others_read_stays():
    inputs = keras.Input((8,))
    x = layers.Dense(8, name="read_twice")(inputs)
    norm = layers.BatchNormalization(name="norm")
    shared = layers.Dense(8, name="shared")
    y = layers.Add()([norm(x), x])
    model = fill(keras.Model(inputs, [shared(shared(y)), x]))
    data = RNG.normal(size=(4, 8)).astype("float32")
    folded, report = fold(model, data=data)
    assert not report.merged
    assert report.difference < 1e-5
    assert sum(layer.name == "shared" for layer in folded.layers) == 1
    # the other axis
    z = layers.BatchNormalization(axis=1)(
        layers.Conv2D(8, 1)(inputs_image := keras.Input((6, 6, 3)))
    )
    model = fill(keras.Model(inputs_image, z))
    _, report = fold(model, data=RNG.normal(size=(2, 6, 6, 3)).astype("float32"))
    assert not report.merged
    assert report.difference < 1e-5


@pytest.mark.once
def test_layers_of_others_and_training_modes():
    inputs = keras.Input((5, 4))
    x = layers.LSTM(6, return_sequences=True)(inputs)
    x = layers.TimeDistributed(layers.Dense(6, "relu"))(x)
    x = layers.Dense(6, activation=layers.PReLU())(layers.Dense(6)(x))
    x = layers.BatchNormalization(name="always")(layers.Dense(6)(x), training=True)
    model = fill(keras.Model(inputs, layers.Lambda(lambda t: t * 2)(x)))
    data = RNG.normal(size=(4, 5, 4)).astype("float32")
    folded, report = fold(model, data=data)
    assert report.difference < 1e-5
    assert "always" in [layer.name for layer in folded.layers]
    assert not set(map(id, folded.weights)) & set(map(id, model.weights))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_precisions_stay(dtype, images):
    model = fill(build("pde_preact_resnet20", config={"num_blocks": 1}, dtype=dtype))
    folded, report = fold(model, data=images)
    assert folded.get_layer("stage0_block0_conv0").dtype_policy.name == dtype
    assert report.difference < 0.1 * np.abs(model.predict(images, verbose=0)).max()


def test_models_inside_models_and_sequences():
    inner = keras.Sequential(
        [keras.Input((6, 6, 3)), own.PDEConv2D(8), layers.BatchNormalization()], name="inner"
    )
    inputs = keras.Input((6, 6, 3))
    outer = layers.Concatenate()([inner(inputs), inner(layers.ReLU()(inputs))])
    model = fill(keras.Model(inputs, {"a": outer, "b": layers.GlobalAveragePooling2D()(outer)}))
    data = RNG.normal(size=(3, 6, 6, 3)).astype("float32")
    folded, report = fold(model, data=data)
    assert report.difference < 1e-5
    assert set(folded.predict(data, verbose=0)) == {"a", "b"}
    assert is_plain(folded)
    assert len(report.merged) == 1


@pytest.mark.once
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "relu6", "gelu", "tanh"])
def test_what_was_refined_is_plain_again(activation):
    inputs = keras.Input((5,))
    x = layers.Dense(6, name="first")(inputs)
    x = layers.ReLU(6.0)(x) if activation == "relu6" else layers.Activation(activation)(x)
    model = fill(keras.Model(inputs, layers.Dense(3)(x)))
    refined, _ = refine(model, 5)
    data = RNG.normal(0, 4, (50, 5)).astype("float32")
    folded, report = fold(refined, data=data)
    assert report.difference < 1e-5
    assert is_plain(folded)
    assert len(folded.layers) == len(model.layers)
    # Steps that leak, and half a flow.
    if activation == "leaky_relu":
        leaking, _ = refine(model, 3, max_step=0.4)
        folded, report = fold(leaking, data=data)
        assert report.difference < 1e-5
        assert is_plain(folded)
    if activation == "gelu":
        half = (
            keras.Model(refined.input, refined.get_layer("activation_flow2").output)
            if ("activation_flow2" in [layer.name for layer in refined.layers])
            else refined
        )
        folded, report = fold(half, data=data)
        assert report.difference < 1e-5
        assert is_plain(folded) == (not report.left)
        assert not set(report.left) & set(report.expanded)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "relu6", "tanh"])
def test_the_papers_steps_fold_to_what_they_are(activation):
    inputs = keras.Input((5,))
    x = layers.ReLU(6.0)(inputs) if activation == "relu6" else layers.Activation(activation)(inputs)
    refined, _ = refine(keras.Model(inputs, x), 6, scheme="paper", time="smoothstep")
    data = RNG.normal(0, 6, (50, 5)).astype("float32")
    folded, report = fold(refined, data=data)
    assert report.difference < 1e-5
    assert is_plain(folded) == (not report.left) == (activation != "tanh")


@pytest.mark.parametrize("promote", ["channel", "depthwise", "conv"])
def test_steps_with_kernels_become_convolutions(promote):
    inputs = keras.Input((6, 6, 8))
    model = keras.Model(inputs, layers.ReLU(6.0, name="six")(inputs))
    refined = fill(refine(model, 2, promote=promote)[0])
    data = RNG.normal(0, 3, (2, 6, 6, 8)).astype("float32")
    folded, report = fold(refined, data=data)
    assert report.difference < 1e-5 * np.abs(refined.predict(data, verbose=0)).max()
    assert is_plain(folded)


def test_layers_of_others_are_kept_and_ours_without_a_plain_form_are_listed():
    inputs = keras.Input((None, None, 3))
    x = own.PolynomialConv2D(4, degree=1, name="anywhere")(inputs)
    x = layers.LayerNormalization(name="theirs")(x)
    model = fill(keras.Model(inputs, layers.PReLU(shared_axes=[1, 2])(x)))
    data = RNG.normal(size=(2, 6, 6, 3)).astype("float32")
    folded, report = fold(model, data=data)
    assert report.difference == 0
    assert "anywhere" in report.left
    assert "left as it is: anywhere" in str(report)
    assert folded.get_layer("theirs").weights


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV2", "EfficientNetB0", "ConvNeXtTiny"])
def test_nets_of_keras_applications(name):
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None
    )
    for variable in model.weights:
        if "moving" in variable.path:
            variable.assign(np.abs(RNG.normal(1, 0.1, tuple(variable.shape))))
    data = RNG.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    folded, report = fold(model, data=data)
    largest = np.abs(model.predict(data, verbose=0)).max()
    assert report.difference < 1e-5 * max(1, largest)
    if name == "ResNet50":
        assert len(report.merged) == 53
        assert layers.BatchNormalization not in map(type, folded.layers)


@pytest.mark.slow
@pytest.mark.once
def test_a_folded_net_opens_without_this_package_and_others_say_what_is_missing(images, tmp_path):
    model = fill(build("hyperbolic_resnet20", config={"num_blocks": 1}))
    model.save(tmp_path / "model.keras")
    folded, _ = fold(model)
    folded.save(tmp_path / "folded.keras")
    code = (
        "import sys, keras\n"
        "try:\n"
        f"    keras.saving.load_model({str(tmp_path / 'model.keras')!r})\n"
        "except TypeError as error:\n"
        "    assert 'import keras_pdenets before opening a file' in str(error), error\n"
        "else:\n"
        "    raise AssertionError\n"
        f"model = keras.saving.load_model({str(tmp_path / 'folded.keras')!r})\n"
        "assert 'keras_pdenets' not in sys.modules\n"
        "print(model.count_params())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == folded.count_params()


@pytest.mark.once
def test_measured_costs_decide():
    inputs = keras.Input((8, 8, 8))
    model = keras.Model(inputs, own.DecomposedConv2D(8)(inputs))
    data = RNG.normal(size=(1, 8, 8, 8)).astype("float32")
    folded, report = fold(model, data=data)
    assert report.difference < 1e-5
    assert len([layer for layer in folded.layers if layer.weights]) in (1, 2)
    open_sides = keras.Input((None, None, 8))
    thin = keras.Model(open_sides, own.DecomposedConv2D(8)(open_sides))
    assert len(fold(thin)[0].layers) == 3  # 48 products a pixel and channel, not 72
    wide = keras.Model(open_sides, own.DecomposedConv2D(8, mid_filters=32)(open_sides))
    assert len(fold(wide)[0].layers) == 2


@pytest.mark.parametrize(
    ("measured", "others"),
    [({}, []), ({1: True}, ["keep"]), ({1: False}, ["merge"]),
     ({1: True, 2: False}, ["keep", "merge"])],
)  # fmt: skip
def test_the_whole_net_is_measured_too_in_other_ways(measured, others):
    choice = Choice("measure", None)
    choice.measured.update(measured)
    assert choice.others == others


@pytest.mark.once
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
@pytest.mark.parametrize("strides", [1, 2])
def test_thin_convolutions_as_matrix_products(strides, boundary):
    inputs = keras.Input((9, 6, 4))
    layer = own.DecomposedConv2D(8, strides=strides, boundary=boundary, use_bias=True)
    thin = layers.Conv2D(3, (3, 1), padding="valid", strides=(2, 1))
    model = fill(keras.Model(inputs, thin(layer(inputs))))
    folded, _ = _folded(model, Choice("keep", "xla"), "xla")
    assert [type(layer) for layer in folded.layers if layer.weights] == [layers.Dense] * 3
    data = RNG.normal(size=(2, 9, 6, 4)).astype("float32")
    assert largest_difference(model, folded, data)[0] < 1e-5


def test_bad_arguments():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="`decomposed` must be one of measure, keep, merge"):
        fold(model, decomposed="fast")
    with pytest.raises(ValueError, match="functional or sequential"):
        fold(keras.Sequential([layers.Dense(2)]))


def test_a_difference_is_never_measured_from_nothing():
    data = np.ones((2, 3), "float32")
    inputs = keras.Input((3,))
    model, broken = (keras.Model(inputs, layers.Dense(2)(inputs)) for _ in range(2))
    broken.layers[-1].kernel.assign(np.full((3, 2), np.nan))
    assert largest_difference(model, broken, data) == (np.inf, np.inf)
    with pytest.raises(ValueError, match="`model` must give finite outputs"):
        fold(broken, data=data)
