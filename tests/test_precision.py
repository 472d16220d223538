"""Every option under every dtype policy, and every layer in the precision that it promises."""

import importlib

import keras
import numpy as np
import pytest
from conftest import BACKEND, build
from keras import ops

import keras_pdenets.layers
from keras_pdenets.layers import (
    BackwardEulerStep,
    CarryFlowStep,
    ClipFlowStep,
    DecomposedConv2D,
    DepthwiseStencil2D,
    FitChannels,
    Hardball,
    HardTanh,
    LinearFlowStep,
    NewtonFlowStep,
    PDEConv2D,
    PolynomialConv2D,
    QuasiLinear2D,
    ScalarGain,
    ScaledResidual,
    Softball,
)
from keras_pdenets.layers.newton_flow_step import SMOOTH_ACTIVATIONS
from keras_pdenets.operators.flows.activations import ACTIVATIONS

POLICIES = ("mixed_bfloat16", "mixed_float16", "bfloat16", "float16", "float64")
if BACKEND == "jax":  # mixes dtypes without a word, has no float64, and builds slowly
    POLICIES = ("mixed_bfloat16", "float16")
_TINY = {"num_blocks": (1,), "filters": (4,)}
_TRAINING = {"zero_start": True, "step_size": "1/L", "stochastic_depth": 0.5, "remat": True}
# Every option of the builders, together with those that go with it, and every operator.
NETS = (
    ("pde_resnet50", {**_TINY, "filters": (2,), "num_blocks": (2,), "leak": 0.1}),
    ("decomposed_resnet18", {**_TINY, "leak": "1/depth", "num_blocks": (2,), "stem": "imagenet"}),
    ("resnet18", {**_TINY, "scheme": "backward_euler", **_TRAINING}),
    ("pde_preact_resnet20", {**_TINY, "scheme": "midpoint", **_TRAINING}),
    (
        "preact_resnet20",
        {**_TINY, "scheme": "rk4", "operator_options": {"boundary": "reflect", "degree": 1}},
    ),
    ("refined_plain_net20", {"num_layers": (2,), "filters": (4,), "steps": 2, "promote": "conv"}),
    ("hyperbolic_resnet20", {**_TINY, "activation": "hardball", "block_norm": "rms"}),
    ("hyperbolic_resnet20", {**_TINY, "equation": "full", "block_norm": "scale"}),
)


@pytest.mark.parametrize(("name", "config"), NETS[:4] if BACKEND == "jax" else NETS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_option_goes_with_every_policy(policy, name, config):
    model = build(name, 8, config=config, dtype=policy)
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    if BACKEND == "jax":  # which would compile every operation
        assert importlib.import_module("jax").eval_shape(model, images).shape == (2, 10)
        return
    outputs = model(images, training=bool(config.get("remat")))
    assert np.isfinite(ops.convert_to_numpy(outputs)).all()


class _InMixedPrecision(keras.layers.Layer):
    """Computes something where Keras rounds variables to 8 bits of mantissa."""

    def __init__(self, compute):
        super().__init__(dtype="mixed_bfloat16")
        self.compute = compute

    def call(self, x):
        return self.compute(x)


def _scaled(policy):
    x = keras.Input((4,), dtype=keras.DTypePolicy(policy).compute_dtype)
    y = keras.layers.Dense(4, kernel_initializer=keras.initializers.Constant(0.3003), dtype=policy)(
        x
    )
    return ScaledResidual(keras.Model(x, y), leak=0.1, dtype=policy)


def test_a_lipschitz_bound_is_that_of_whole_kernels():
    norm = 4 * 0.3003
    mixed = _scaled("mixed_bfloat16")
    inside = _InMixedPrecision(lambda x: ops.stack([mixed.lipschitz(), mixed.factor()]))
    x = np.ones((1, 4), "float32")
    found = inside(x)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    wanted = _scaled("float32")
    wanted = [float(ops.convert_to_numpy(v)) for v in (wanted.lipschitz(), wanted.factor())]
    np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, rtol=1e-6)
    assert norm <= wanted[0] < 1.05 * norm
    # Kernels of 8 bits: those are the weights, but the bound has more.
    whole = _scaled("bfloat16")
    weight = float(ops.convert_to_numpy(ops.cast(whole.branch.weights[0][0, 0], "float32")))
    bound = float(ops.convert_to_numpy(whole.lipschitz()))
    assert bound == pytest.approx(wanted[0] * weight / 0.3003, rel=1e-6)


def test_an_implicit_step_is_solved_in_whole_numbers():
    x = keras.Input((4,), dtype="float32")
    kernel = keras.initializers.RandomNormal(seed=0)
    branch = keras.Model(
        x, keras.layers.Dense(4, "tanh", kernel_initializer=kernel, dtype="float32")(x)
    )
    steps = [BackwardEulerStep(branch, dtype=policy) for policy in ("float32", "mixed_bfloat16")]
    values = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    wanted, _ = steps[0].solve(values)
    found = _InMixedPrecision(lambda _: steps[1].solve(values)[0])(values)
    np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(wanted), atol=1e-6)
    assert keras.backend.standardize_dtype(steps[1](values).dtype) == "bfloat16"


def _on_branch(make, *args):
    def made(dtype):
        x = keras.Input((4,), dtype=keras.DTypePolicy(dtype).compute_dtype)
        # Not `Dense`, whose products are those of float32 on torch.
        y = ScalarGain(initial=-0.5, dtype=dtype)(x)
        return make(keras.Model(x, y), *args, dtype=dtype)

    return made


def _made(make, *args, **kwargs):
    return lambda dtype: make(*args, **kwargs, dtype=dtype)


# Every public layer, as a function of its dtype.
CONVOLUTIONS = [
    _made(PDEConv2D, 3, 2, "reflect", seed=0),
    _made(DecomposedConv2D, 3, seed=0),
    _made(DepthwiseStencil2D, 2, seed=0),
    _made(PolynomialConv2D, 3, seed=0),
    _made(QuasiLinear2D, 4, "cp", seed=0),
    _made(QuasiLinear2D, 4, "full", seed=0),
    _made(ClipFlowStep, 0.3, 0.1, 0.9, "conv", data_format="channels_last"),
]
ANY_RANK = [
    _made(Softball, 1.3),
    _made(Hardball),
    _made(HardTanh, -0.1, 0.3),
    _made(ScalarGain, True),
    _made(ClipFlowStep, 0.3, 0.1, 0.9, "channel"),
    _made(NewtonFlowStep, "gelu", 0.3, 0.2),
    _made(NewtonFlowStep, "hard_sigmoid", 0.3, 0.2),
    _made(CarryFlowStep, "gelu", 0.7),
    _made(LinearFlowStep),
    _made(FitChannels, 6, True),
    _on_branch(BackwardEulerStep, 0.3),
    _on_branch(ScaledResidual, 0.1),
]


def _applied(layer, values):
    # Keras takes arrays of float64 for float32 on some backends, tensors for what they are.
    values = ops.convert_to_tensor(values, values.dtype.name)
    twice = isinstance(layer, CarryFlowStep)
    y = layer([values, values] if twice else values)
    return keras.backend.standardize_dtype(y.dtype), ops.convert_to_numpy(ops.stop_gradient(y))


def _shape(make):
    return (2, 5, 5, 4) if make in CONVOLUTIONS else (2, 4)


def test_the_list_of_layers_is_complete():
    made = {type(make("float32")).__name__ for make in CONVOLUTIONS + ANY_RANK}
    public = vars(keras_pdenets.layers).items()
    assert made == {k for k, v in public if isinstance(v, type)}


@pytest.mark.parametrize("make", CONVOLUTIONS + ANY_RANK)
def test_integers_are_computed_as_numbers(make):
    layer, images = make("float32"), np.random.default_rng(0).integers(0, 5, _shape(make))
    dtype, found = _applied(layer, images.astype("uint8"))
    assert dtype == "float32"
    np.testing.assert_allclose(found, _applied(layer, images.astype("float32"))[1], atol=1e-6)
    if BACKEND != "jax":  # which would compile all of it again
        assert _applied(make("mixed_bfloat16"), images)[0] == "bfloat16"


# TensorFlow's own convolution gives a wrong shape there.
@pytest.mark.parametrize("make", ANY_RANK + CONVOLUTIONS * (BACKEND != "tensorflow"))
def test_a_batch_may_be_empty(make):
    layer, shape = make("float32"), _shape(make)
    _, full = _applied(layer, np.ones(shape, "float32"))
    _, found = _applied(layer, np.ones((0, *shape[1:]), "float32"))
    assert found.shape == (0, *full.shape[1:])


@pytest.mark.skipif(BACKEND == "jax", reason="has float64 only where the whole process does")
@pytest.mark.parametrize("make", CONVOLUTIONS + ANY_RANK)
def test_layers_compute_in_float64(make):
    layer, values = make("float64"), np.random.default_rng(0).normal(size=_shape(make))
    dtype, here = _applied(layer, values)
    assert dtype == "float64"
    # A change that float32 does not see must be seen.
    _, there = _applied(layer, values * (1 + 1e-11))
    assert 0 < np.abs(there - here).max() < 1e-8


@pytest.mark.skipif(BACKEND == "jax", reason="has float64 only where the whole process does")
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_norms_and_balls_have_the_digits_of_float64(size):
    x = size * np.random.default_rng(0).normal(size=(5, 6))
    square = (x * x).sum(-1, keepdims=True)
    for layer, wanted in (
        (Softball(0.3, dtype="float64"), x / np.sqrt(1 + square / 0.09)),
        (Hardball(0.3, dtype="float64"), x / np.maximum(1, np.sqrt(square) / 0.3)),
        (HardTanh(-0.1, 0.3, dtype="float64"), np.clip(x, -0.1, 0.3)),
        (ScalarGain(True, dtype="float64"), x / np.sqrt(square / 6 + 1e-5)),
    ):
        np.testing.assert_allclose(_applied(layer, x)[1], wanted, rtol=1e-14)


@pytest.mark.skipif(BACKEND == "jax", reason="has float64 only where the whole process does")
@pytest.mark.parametrize("name", SMOOTH_ACTIVATIONS)
def test_newton_steps_have_the_digits_of_float64(name):
    z, h = np.random.default_rng(0).normal(size=(1, 50)) * 3, 0.6
    value = ACTIVATIONS[name](z)
    y = (1 - h) * z + h * value
    found = _applied(NewtonFlowStep(name, h, 0.2, dtype="float64"), y)[1]
    # TensorFlow's GELU itself is off by 4e-9.
    atol = 1e-8 if (BACKEND, name) == ("tensorflow", "gelu") else 1e-14
    np.testing.assert_allclose(found, y + 0.2 * (value - z), atol=atol)
