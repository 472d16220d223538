"""Matrices as flows inside a refined net, the paper's scheme, and the count of operations."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, DATA_FORMATS
from keras import layers

from keras_pdenets.layers import FitChannels, LinearFlowStep
from keras_pdenets.transforms import refine

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(4, 6, 6, 3)).astype("float32")


def net():
    """Matrices of all kinds: 1x1, wide, narrow, with and without bias and activation."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="patch")(inputs)
    x = layers.Conv2D(8, 1, use_bias=False, name="mix")(x)
    x = layers.Conv2D(8, 1, strides=2, name="stride")(x)
    x = layers.Dense(7, "gelu", name="pixel")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3, "softmax", name="head")(x))
    for variable in model.weights:
        variable.assign(RNG.normal(size=tuple(variable.shape)) * 0.7)
    return model


@pytest.mark.once
def test_matrices_in_exact_steps_change_nothing(tmp_path):
    model = net()
    refined, report = refine(model, 3, linear="flow", data=IMAGES)
    assert report.linear == {"mix": 6, "pixel": 6, "head": 6}
    assert report.steps == {"patch": 3, "pixel": 3}
    assert report.relative_difference < 1e-5
    assert report.bounds is None
    assert "every flow is exact" in str(report)
    assert "linear flows are for dense layers" in report.left["patch"]
    assert "linear flows are for dense layers" in report.left["stride"]
    assert report.left["head"] == "softmax is not elementwise"
    widths = {"mix": 9, "pixel": 9, "head": 8}
    surplus = sum(6 * w * w for w in widths.values()) - (8 * 8 + 8 * 7 + 7 * 3)
    assert report.parameters[1] - report.parameters[0] == surplus
    refined.save(tmp_path / "refined.keras")
    again = keras.saving.load_model(tmp_path / "refined.keras")
    np.testing.assert_array_equal(
        again.predict(IMAGES, verbose=0), refined.predict(IMAGES, verbose=0)
    )
    refined.compile("adam", "sparse_categorical_crossentropy", jit_compile=BACKEND == "jax")
    before = refined.evaluate(IMAGES, np.array([0, 1, 2, 0]), verbose=0)
    refined.fit(IMAGES, np.array([0, 1, 2, 0]), epochs=4, verbose=0)
    assert refined.evaluate(IMAGES, np.array([0, 1, 2, 0]), verbose=0) < before


@pytest.mark.parametrize("data_format", DATA_FORMATS)
def test_matrices_of_any_rank_and_layout(data_format):
    first = data_format == "channels_first"
    images = np.moveaxis(IMAGES, -1, 1) if first else IMAGES
    inputs = keras.Input(images.shape[1:])
    x = layers.Conv2D(4, 1, data_format=data_format, name="image")(inputs)
    x = layers.Reshape((24, 6))(x)
    x = layers.Conv1D(5, 1, activation="tanh", name="line")(x)
    model = keras.Model(inputs, layers.Flatten()(x))
    refined, report = refine(model, 2, linear="flow", data=images)
    assert report.linear == {"image": 4, "line": 4}
    assert report.relative_difference < 1e-5
    step = refined.get_layer("image_linear0")
    assert step.compute_output_shape(step.input.shape) == step.output.shape
    assert (
        refined.get_layer("image_cut").compute_output_shape(step.output.shape)[1 if first else 3]
        == 4
    )


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_precisions_of_the_linear_steps(dtype):
    for layer in (LinearFlowStep(dtype=dtype), FitChannels(7, use_bias=True, dtype=dtype)):
        output = layer(IMAGES)
        assert keras.backend.standardize_dtype(output.dtype) == layer.compute_dtype
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
    with pytest.raises(ValueError, match="`channels` must be a positive integer"):
        FitChannels(0)
    with pytest.raises(ValueError, match="`data_format` must be"):
        LinearFlowStep(data_format="NCHW")


def test_schemes_that_are_not_stable_are_refused_by_the_name_of_the_layer():
    model = net()
    for scheme, least in (("euler", 41), ("rk4", 15), ("paper", 61)):
        time = "smoothstep" if scheme == "paper" else "linear"
        with pytest.raises(ValueError, match=f"Layer 'pixel': `steps` must be at least {least}"):
            refine(model, {"pixel": 14}, linear="flow", scheme=scheme, time=time)
    if BACKEND != "torch":  # seconds of compiling
        return
    _, report = refine(model, {"pixel": 15}, linear="flow", scheme="rk4", data=IMAGES)
    assert report.linear == {"pixel": 30}
    assert 0 < report.bounds.measured <= report.bounds.posteriori


@pytest.mark.once
def test_the_papers_scheme_in_a_net():
    model = net()
    data = IMAGES[:2]
    _, report = refine(model, {"patch": 16}, scheme="paper", time="smoothstep", data=data)
    assert report.leak["patch"] == pytest.approx(1.4e-3, rel=0.1)
    assert 0 < report.relative_difference < 1e-2
    # With linear time its increments are the exact ones.
    _, report = refine(model, {"patch": 16}, scheme="paper", data=data)
    assert report.bounds is None
    assert report.relative_difference < 1e-6
    _, report = refine(model, 16, scheme="paper")
    assert "beyond h = 0.88" in report.left["pixel"]
    with pytest.raises(ValueError, match="no number up to 1000"):
        refine(model, {"patch": 64}, scheme="paper", time="bump")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"linear": "svd"}, "`linear` must be one of whole, flow"),
        ({"scheme": "heun"}, "`scheme` must be one of euler, midpoint, rk4, cayley, exact, paper"),
        ({"scheme": "paper", "max_step": 0.5}, "`max_step` must be None for scheme 'paper'"),
        ({"scheme": "paper", "activation": "carry"}, "`paper` requires method='inverse'"),
    ],
)
def test_bad_arguments(options, match):
    with pytest.raises(ValueError, match=match):
        refine(net(), **options)


@pytest.mark.once
@pytest.mark.slow
def test_too_many_steps_in_a_row_are_refused():
    with pytest.raises(ValueError, match="more layers in sequence than Python's recursion limit"):
        refine(net(), 200, linear="flow")


def test_operations_are_counted():
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(8, 3, padding="same", groups=2, use_bias=False)(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False)(x)
    x = layers.SeparableConv2D(1, 3, padding="same", activation="relu", name="a")(x)
    x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    plain = 36 * (2 * 9 * 2 * 8 + 8) + 36 * (2 * 9 * 16 + 16) + 36 * (2 * 9 * 16 + 2 * 16 + 1)
    plain += 36 + 2 * 36 + 1
    _, report = refine(model, 5)
    assert report.flops == (plain, plain + 5 * 36 * 4)
    _, report = refine(model, 5, promote="conv")
    assert report.flops == (plain, plain + 5 * 36 * (4 + 2 * 2 * 9))
    open_sides = keras.Input((None, None, 4))
    _, report = refine(keras.Model(open_sides, layers.ReLU()(open_sides)), 2)
    assert report.flops is None
