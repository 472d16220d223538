"""Every option under every dtype policy, and every layer in the precision that it promises."""

import importlib

import keras
import numpy as np
import pytest
from conftest import BACKEND, build
from keras import ops

from keras_pdenets.layers import BackwardEulerStep, ScaledResidual

POLICIES = ("mixed_bfloat16", "mixed_float16", "bfloat16", "float16", "float64")
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


@pytest.mark.parametrize(("name", "config"), NETS)
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
