"""Products, balls and hyperbolic nets against formulas that are written out in NumPy."""

import math

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, shifted, to_format

import keras_pdenets
from keras_pdenets.layers import (
    DepthwiseStencil2D,
    Hardball,
    HardTanh,
    QuasiLinear2D,
    ScalarGain,
    Softball,
)

DTYPE, TOLERANCE = ("float32", 1e-5) if BACKEND == "jax" else ("float64", 1e-12)
CHANNEL_LAYERS = [Softball, Hardball, ScalarGain, HardTanh]
EQUATIONS = [(3, True), (3, False), (4, True), (5, True), (5, False), (6, True), (7, False),
             ("cp", False), ("full", True)]  # fmt: skip


def _numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _vectors(scale=1.0, n=7):
    return scale * np.random.default_rng(0).normal(size=(5, 4, 4, n))


def _softball(x, radius):
    return x / np.sqrt(1 + (x**2).sum(-1, keepdims=True) / radius**2)


def _hardball(x, radius):
    norm = np.sqrt((x**2).sum(-1, keepdims=True))
    return np.where(norm < radius, x, radius * x / np.maximum(norm, 1e-300))


@pytest.mark.parametrize("radius", [None, 0.3, 5.0])
@pytest.mark.parametrize(("make", "oracle"), [(Softball, _softball), (Hardball, _hardball)])
def test_balls_equal_their_formulas(make, oracle, radius):
    for x in (_vectors(), _vectors(100.0), 0 * _vectors(), _vectors(1e20)):
        wanted = oracle(x, math.sqrt(7) if radius is None else radius)
        layer = make(radius, dtype=DTYPE)
        found = _numpy(layer(keras.ops.convert_to_tensor(x, DTYPE)))
        np.testing.assert_allclose(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)
        assert np.abs(found).max() > 0 or np.abs(x).max() == 0
        first = make(radius, axis=1, dtype=DTYPE)
        moved = _numpy(first(keras.ops.convert_to_tensor(np.moveaxis(x, -1, 1), DTYPE)))
        np.testing.assert_allclose(np.moveaxis(moved, 1, -1), wanted, atol=TOLERANCE)
        assert np.linalg.norm(wanted, axis=-1).max() <= (radius or math.sqrt(7)) * (1 + 1e-12)


@pytest.mark.parametrize(("make", "oracle"), [(Softball, _softball), (Hardball, _hardball)])
def test_balls_do_not_overflow_in_half_precision(make, oracle):
    x = np.full((1, 1, 1, 512), 12.0)
    with np.errstate(over="ignore"):
        assert np.isinf(np.sum(np.square(x.astype("float16")), dtype="float16"))
    found = _numpy(make(dtype="float16")(keras.ops.convert_to_tensor(x, "float16")))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, oracle(x, math.sqrt(512)), rtol=1e-3)


@pytest.mark.parametrize("make", [Softball, Hardball, lambda: ScalarGain(normalize=True)])
def test_balls_commute_with_rotations(make):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 7)))[0].astype("float32")
    x, layer = _vectors().astype("float32"), make()
    left = _numpy(layer(x @ rotation))
    np.testing.assert_allclose(left, _numpy(layer(x)) @ rotation, atol=1e-6)


@pytest.mark.parametrize("make", CHANNEL_LAYERS)
def test_gradient_at_zero_is_finite(make):
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, kernel_initializer="zeros", name="zero")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(make()(x)))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    model.fit(np.ones((2, 3), "float32"), np.ones((2, 1), "float32"), verbose=0)
    kernel = _numpy(model.get_layer("zero").kernel)
    assert np.isfinite(kernel).all()
    assert np.abs(kernel).max() > 0


@pytest.mark.parametrize("make", CHANNEL_LAYERS)
def test_configs_are_complete(make):
    values = {
        Softball: {"radius": 2.0, "axis": 1}, Hardball: {"radius": 2.0, "axis": 1},
        ScalarGain: {"normalize": True, "initial": 0.5, "epsilon": 1e-3, "axis": 1},
        HardTanh: {"min_value": -2.0, "max_value": 3.0},
    }[make]  # fmt: skip
    layer = make(**values, name="a")
    config = layer.get_config()
    assert {name: config[name] for name in values} == values
    assert make.from_config(config).get_config() == config


def test_integers_are_taken_for_numbers():
    found = _numpy(Softball(radius=1.0)(np.array([[3, 4]])))
    np.testing.assert_allclose(found, [[0.588348, 0.784465]], rtol=1e-5)
    np.testing.assert_allclose(_numpy(ScalarGain(initial=0.5)(np.array([[1, 3]]))), [[0.5, 1.5]])


def test_a_frozen_net_stays_frozen_when_saved(tmp_path):
    model = build("hyperbolic_resnet20", 8, config={"num_blocks": 1, "filters": (8, 8, 8)})
    for until, batchnorm in ((None, True), ("stage1_block0_product", True), ("stem", False)):
        keras_pdenets.freeze(model, until, batchnorm=batchnorm)
        model.save(tmp_path / "m.keras")
        for again in (
            keras.saving.load_model(tmp_path / "m.keras"), keras.models.clone_model(model)
        ):  # fmt: skip
            wanted = [v.path for v in model.trainable_variables]
            assert [v.path for v in again.trainable_variables] == wanted
        norms = [path for path in wanted if "stencil_norm" in path]
        assert len(norms) == (0 if batchnorm else 6)
    assert len(wanted) > 20


def test_bad_arguments():
    for make, arguments, match in (
        (Softball, {"radius": 0}, "`radius` must be positive"),
        (Hardball, {"axis": 1.5}, "`axis` must be an integer"),
        (HardTanh, {"min_value": 2}, "`max_value` must be a number above"),
        (ScalarGain, {"epsilon": 0}, "`epsilon` must be positive"),
        (QuasiLinear2D, {"filters": 2, "equation": 2}, "`equation` must be one of 3, 4"),
        (QuasiLinear2D, {"filters": 2, "equation": [3]}, "`equation` must be one of 3, 4"),
        (QuasiLinear2D, {"filters": 2, "equation": 7, "shared_stencil": True}, "defines no other"),
        (QuasiLinear2D, {"filters": 2, "equation": 5, "use_bias": True}, "ends in a product"),
    ):
        with pytest.raises(ValueError, match=match):
            make(**arguments)
    with pytest.raises(ValueError, match="needs a known number of channels on axis -1"):
        Softball().build((None, 4, None))
    with pytest.raises(ValueError, match="must divide multiplier"):
        QuasiLinear2D(9, equation=5, data_format="channels_last").build((None, 4, 4, 4))
    with pytest.raises(ValueError, match="grows with their cube"):
        QuasiLinear2D(9, equation="full", data_format="channels_last").build((None, 4, 4, 65))


def _stencils(layer, u):
    """Every stencil on every channel, written out: the channels of one input side by side."""
    kernel = np.broadcast_to(
        _numpy(layer.kernel), (3, 3, u.shape[-1], layer.depth_multiplier)
    ).astype("float64")
    s = shifted(u, layer.boundary)
    out = sum(s[i, j][..., :, None] * kernel[i + 1, j + 1] for i in (-1, 0, 1) for j in (-1, 0, 1))
    return out.reshape(*u.shape[:3], -1)[:, :: layer.strides, :: layer.strides]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("boundary", ["zero", "replicate", "reflect", "periodic"])
def test_stencils_are_the_sums_written_out(boundary, shared, strides, data_format):
    u = np.random.default_rng(2).normal(size=(2, 5, 6, 3))
    layer = DepthwiseStencil2D(4, shared, strides, boundary, data_format, dtype=DTYPE)
    found = _numpy(layer(keras.ops.convert_to_tensor(to_format(u, data_format), DTYPE)))
    wanted = to_format(_stencils(layer, u), data_format)
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)
    assert layer.count_params() == 9 * 4 * (1 if shared else 3)
    assert layer.compute_output_shape(to_format(u, data_format).shape) == found.shape


def _product(layer, u):
    """The table of `QuasiLinear2D`, in loops and NumPy."""
    m, n, s = layer.multiplier, u.shape[-1], layer.strides
    matrices = {
        name: _numpy(part.kernel)[0, 0].astype("float64")
        for name in ("lift", "coefficients", "mixing")
        if (part := getattr(layer, name)) is not None
    }

    def derive(x):
        y = _stencils(layer.stencils, x)
        gamma, beta, mean, variance = (_numpy(w) for w in layer.stencil_norm.weights)
        return gamma * (y - mean) / np.sqrt(variance + layer.stencil_norm.epsilon) + beta

    sub = u[:, ::s, ::s]
    if layer.equation == "full":
        d = _stencils(layer.stencils, u)
        a = matrices["mixing"].reshape(n, m, n, -1)
        return np.einsum("byxjd,byxk,jdko->byxo", d.reshape(*d.shape[:3], n, m), sub, a)
    c = matrices["coefficients"]
    if layer.equation == 3:
        return (derive(u) * (sub @ c)) @ matrices["mixing"]
    if layer.equation == 4:
        return (derive(u) @ matrices["mixing"]) * (sub @ c)
    if layer.equation == 5:
        products = derive(u) * (sub @ c)
        return np.stack([p.sum(-1) for p in np.split(products, layer.filters, axis=-1)], -1)
    if layer.equation == 6:
        return derive(u * (u @ c)) @ matrices["mixing"]
    if layer.equation == 7:
        return derive(np.repeat(u, m, axis=-1) * (u @ c)) @ matrices["mixing"]
    return (derive(u @ matrices["lift"]) * (sub @ c)) @ matrices["mixing"]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(("equation", "shared"), EQUATIONS)
def test_products_are_the_sums_written_out(equation, shared, strides, data_format):
    rng = np.random.default_rng(3)
    u = rng.normal(size=(2, 5, 6, 3))
    filters = {1: 3, 2: 6}[strides]
    layer = QuasiLinear2D(
        filters, equation, 4, shared, strides, "replicate", data_format=data_format, dtype=DTYPE
    )
    x = keras.ops.convert_to_tensor(to_format(u, data_format), DTYPE)
    layer(x)
    for weight in layer.weights:
        draw = rng.normal(size=tuple(weight.shape))
        weight.assign(draw**2 + 0.5 if "variance" in weight.name else draw)
    found = _numpy(layer(x))
    wanted = to_format(_product(layer, u), data_format)
    # Keras' batch norm computes in float32 whatever it is given.
    tolerance = (TOLERANCE if layer.stencil_norm is None else 1e-6) * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, atol=tolerance, rtol=0)
    assert layer.compute_output_shape(to_format(u, data_format).shape) == found.shape


# Trainable parameters for 10, 100 and 1000 classes (Liu et al., Table 1, worked out).
COUNTS = [
    ({}, (8_562_698, 8_608_868, 9_070_568)),
    ({"shared_stencil": False}, (8_681_930, 8_728_100, 9_189_800)),
    ({"shared_stencil": False, "multiplier": 6}, (12_924_874, 12_971_044, 13_432_744)),
    ({"equation": 4}, (5_650_442, 5_696_612, 6_158_312)),
    ({"equation": 5}, (4_213_386, 4_259_556, 4_721_256)),
    ({"equation": 6}, (5_564_426, 5_610_596, 6_072_296)),
    ({"equation": 7, "multiplier": 6}, (12_924_874, 12_971_044, 13_432_744)),
    ({"equation": 7}, (8_681_930, 8_728_100, 9_189_800)),
    ({"equation": "cp", "multiplier": 2, "block_norm": "batch"}, (None, 6_488_228, None)),
    ({"equation": "cp", "multiplier": 3, "block_norm": "batch"}, (None, 9_609_124, None)),
    ({"equation": "cp", "multiplier": 4, "block_norm": "batch"}, (None, 12_730_020, None)),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(("config", "counts"), COUNTS)
def test_parameters_are_those_of_the_paper(config, counts):
    if BACKEND == "jax" and config:
        pytest.skip("JAX compiles every shape of initial weight: minutes for the same number")
    model = build(
        "hyperbolic_resnet50", side=64, classes=100, config={**config, "stem": "imagenet"}
    )
    found = sum(math.prod(v.shape) for v in model.trainable_variables)
    assert found == counts[1]
    head = 513 * 100  # 512 features and a constant for each class
    for wanted, classes in ((counts[0], 10), (counts[2], 1000)):
        assert wanted is None or found - head + 513 * classes == wanted


@pytest.mark.slow
def test_activations_stand_where_they_should():
    def places(**config):
        model = build("hyperbolic_resnet18", config=config)
        return [l.name[:13] for l in model.layers if l.name.endswith("activation")]  # noqa: E741

    downs = ["stage1_block0", "stage2_block0", "stage3_block0", "stage3_block1"]
    assert places() == downs
    assert places(activation_at="first") == ["stage0_block0", *downs[:3]]
    assert len(places(activation_at="all")) == 8
    assert places(activation=None) == []
    model = keras_pdenets.HyperbolicResNet18(weights=None, input_shape=(32, 32, 3), activation=None)
    assert not any(layer.name.endswith("activation") for layer in model.layers)


@pytest.mark.parametrize("norm", ["rms", "scale", "batch"])
def test_untrained_blocks_are_shortcuts(norm, images):
    model = build("hyperbolic_resnet20", config={"block_norm": norm, "activation": None})
    blocks = keras_pdenets.measure_perturbation(model, images).blocks
    assert [b.scaled for b in blocks if b.kind == "identity"] == [0.0] * 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"activation": "gelu"}, "`activation` must be one of relu, hardtanh"),
        ({"activation_at": "never"}, "`activation_at` must be one of downsampling"),
        ({"block_norm": "layer"}, "`block_norm` must be one of batch, rms, scale"),
        ({"equation": 5, "block_norm": "rms"}, "`block_norm` must be 'batch'"),
        ({"equation": 7, "shared_stencil": True}, "`shared_stencil` must be False"),
        ({"equation": 8}, "`equation` must be one of"),
        ({"multiplier": 0}, "`multiplier` must be a positive integer"),
        ({"boundary": "open"}, "`boundary` must be one of"),
        ({"stem": "large"}, "`stem` must be one of None"),
    ],
)
def test_errors_name_the_argument(options, match):
    with pytest.raises(ValueError, match=match):
        keras_pdenets.HyperbolicResNet18(weights=None, input_shape=(32, 32, 3), **options)


def _grown(activation, scale):
    """Mean size of each sum, and features, of an untrained Eq. (3) net normed at scale 1."""
    config = {"num_blocks": (3, 4, 6, 3), "filters": (16, 32, 64, 128), "activation": activation}
    keras.utils.set_random_seed(1)
    model = build("hyperbolic_resnet50", side=64, config={**config, "stem": "imagenet"})
    for layer in model.layers:
        if layer.name.endswith("_norm") and isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(np.ones(layer.gamma.shape))
    images = np.random.default_rng(4).normal(127.5, 60.0, (16, 64, 64, 3)).astype("float32")
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the averages of one batch
    model(images, training=True)
    # The sums, since a maximum (ReLU on XLA's CPU) may turn NaN into 0.
    sums = [layer.output for layer in model.layers if layer.name.endswith("_add")]
    sizes = [keras.ops.mean(keras.ops.abs(x), axis=(1, 2, 3)) for x in sums]
    outputs = [keras.ops.stack(sizes, axis=1), model.get_layer("pool").output]
    probe = keras.Model(model.input, outputs)
    with np.errstate(all="ignore"):
        return probe.predict(127.5 + scale * (images - 127.5), verbose=0, batch_size=16)


@pytest.mark.once
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.slow
def test_without_clipping_the_net_blows_up(activation):
    assert np.isfinite(_grown(activation, 1.0)[0]).all()
    assert not np.isfinite(_grown(activation, 1.5)[0]).all()


@pytest.mark.once
@pytest.mark.parametrize("activation", ["hardtanh", "hardball", "softball"])
@pytest.mark.slow
def test_clipped_nets_stay_finite(activation):
    sizes, features = _grown(activation, 8.0)
    limit = 1.0 if activation == "hardtanh" else math.sqrt(128)
    assert np.isfinite(sizes).all()
    assert np.abs(features).max() <= limit * (1 + 1e-5)
