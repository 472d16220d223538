"""Flow steps as layers: equal to the activation in value and gradient, on every backend."""

import keras
import numpy as np
import pytest
from conftest import BACKEND

from keras_pdenets.blocks.flow_chain import flow_steps
from keras_pdenets.layers import CarryFlowStep, ClipFlowStep, NewtonFlowStep
from keras_pdenets.layers.newton_flow_step import SMOOTH_ACTIVATIONS
from keras_pdenets.operators.flows.activations import ACTIVATIONS

# JAX and TensorFlow compile every step: too slow for more.
STEPS = (1, 4, 16, 64) if BACKEND == "torch" else (1, 4)
Z = np.concatenate([np.linspace(-12, 12, 601), [-300.0, -40.0, 40.0, 300.0]]).astype("float32")
NAMES = sorted(set(ACTIVATIONS))


def chain(steps, inputs):
    y = inputs
    for step in steps:
        y = step([inputs, y]) if isinstance(step, CarryFlowStep) else step(y)
    return y


def model_of(name, count, **options):
    inputs = keras.Input((1,))
    return keras.Model(inputs, chain(flow_steps(name, count, name, **options), inputs))


@pytest.mark.parametrize("name", NAMES)
def test_the_chain_is_the_activation(name):
    wanted = ACTIVATIONS[name](Z.astype("float64"))
    # What is rounded on the way is as large as the input.
    scale = np.maximum(np.abs(Z), 1)
    for count in STEPS:
        found = model_of(name, count).predict(Z[:, None], batch_size=len(Z), verbose=0)[:, 0]
        assert (np.abs(found - wanted) / scale).max() < 1e-6, f"{count} steps"


def test_the_papers_increments_as_layers():
    errors = []
    for count in (16, 64):
        found = model_of("relu", count, time="smoothstep", paper=True)
        found = found.predict(Z[:, None], batch_size=len(Z), verbose=0)[:, 0]
        inside = np.abs(Z) < 5
        errors.append(np.abs(found - np.maximum(Z, 0))[inside].max())
    assert 30 < errors[0] / errors[1] < 120  # order 3
    smooth = model_of("tanh", 16, time="smoothstep", paper=True)
    assert np.abs(smooth.predict(Z[:9, None], verbose=0)[:, 0] - np.tanh(Z[:9])).max() > 1e-3
    for name in ("relu", "tanh"):
        with pytest.raises(ValueError, match=r"no number up to 1000.*time='bump'"):
            flow_steps(name, 64, name, time="bump", paper=True)
    with pytest.raises(ValueError, match="above it the flow is not invertible"):
        flow_steps("gelu", 16, "gelu", paper=True)
    with pytest.raises(ValueError, match="`paper` requires method='inverse'"):
        flow_steps("relu", 16, "relu", method="carry", paper=True)


def test_times_that_round_to_1_are_exact_too():
    found = model_of("tanh", 64, time="bump").predict(Z[:, None], batch_size=len(Z), verbose=0)
    np.testing.assert_allclose(found[:, 0], np.tanh(Z), atol=2e-5)


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh"])
def test_carrying_is_the_activation_too(name):
    for count in (1, 16):
        found = model_of(name, count, method="carry").predict(Z[:, None], verbose=0)[:, 0]
        np.testing.assert_allclose(
            found, ACTIVATIONS[name](Z.astype("float64")), rtol=1e-6, atol=1e-6
        )


def gradient(function, z):
    """d function / d z for each number, by the backend's own differentiation."""
    if BACKEND == "torch":
        import torch

        x = torch.tensor(z, requires_grad=True)
        function(x).sum().backward()
        return x.grad.numpy()
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: function(x).sum())(z))
    import tensorflow as tf

    x = tf.Variable(z)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(function(x))
    return tape.gradient(total, x).numpy()


@pytest.mark.parametrize(
    "name", ["relu", "leaky_relu", "elu", "tanh", "softplus", "gelu", "silu", "mish"]
)
@pytest.mark.parametrize("count", STEPS[:3] if BACKEND == "torch" else [4])
def test_gradients_are_those_of_the_activation(name, count):
    z = np.linspace(-7.03, 7.01, 141).astype("float32")[:, None]
    steps = flow_steps(name, count, name)
    found = gradient(lambda x: chain(steps, x), z)
    step = 1e-6
    wide = z.astype("float64")
    wanted = (ACTIVATIONS[name](wide + step) - ACTIVATIONS[name](wide - step)) / (2 * step)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("promote", ["channel", "depthwise", "conv"])
@pytest.mark.parametrize("name", ["relu", "relu6", "gelu"] if BACKEND == "torch" else ["gelu"])
def test_promotion_changes_nothing_at_first_and_learns(name, promote):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, chain(flow_steps(name, 3, name, promote=promote), inputs))
    x = np.random.default_rng(0).normal(0, 4, (4, 6, 6, 3)).astype("float32")
    np.testing.assert_allclose(
        model.predict(x, verbose=0), ACTIVATIONS[name](x.astype("float64")), atol=2e-6, rtol=1e-6
    )
    before = [v.numpy() if BACKEND == "tensorflow" else np.array(keras.ops.convert_to_numpy(v))
              for v in model.trainable_variables]  # fmt: skip
    model.compile(keras.optimizers.SGD(0.1), "mse")
    # Behind the last step of a ReLU nothing is left of what was negative: the steps before it
    # learn when that one has begun to.
    model.fit(x, x + 1, epochs=3, verbose=0)
    after = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    assert len(before) == 3 * (1 if promote == "channel" else 2)
    for a, b in zip(before, after, strict=True):
        assert np.abs(a - b).max() > 0


def test_an_invertible_chain_leaks_as_promised():
    steps = flow_steps("relu", 10, "a", max_step=0.5)
    y = np.array([[-1.0, 2.0]], "float32")
    found = keras.ops.convert_to_numpy(chain(steps, y))
    np.testing.assert_allclose(found, [[-(0.5**10), 2.0]], rtol=1e-5)
    assert all(step.rate <= 0.5 for step in steps)


@pytest.mark.parametrize(
    "layer",
    [
        ClipFlowStep(0.5, -1.0, 1.0, "channel"), NewtonFlowStep("gelu", 0.25, 0.25, "conv"),
        CarryFlowStep("mish", 0.5),
    ],
)  # fmt: skip
def test_configs_are_complete(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ClipFlowStep(2.5), "`rate`"), (lambda: ClipFlowStep(0.5, 1.0, 0.0), "`high`"),
        (lambda: ClipFlowStep(0.5, promote="dense"), "`promote`"),
        (lambda: NewtonFlowStep("relu", 0.0, 0.5), "`activation`"),
        (lambda: NewtonFlowStep("gelu", 1.0, 0.5), "`left`"),
        (lambda: NewtonFlowStep("gelu", 0.5, 1.6), "`step`"),
        (lambda: NewtonFlowStep("gelu", 0.95, 0.05), "`left` must be below 0.885"),
        (lambda: CarryFlowStep("gelu", 0.0), "`right`"),
        (lambda: flow_steps("exponential", 4, "a"), "must be one of .*carry"),
        (lambda: flow_steps("relu", 0, "a"), "`steps`"),
        (lambda: flow_steps("gelu", 4, "a", max_step=0.5), "`max_step`"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_every_smooth_activation_is_known_in_numpy():
    assert set(SMOOTH_ACTIVATIONS) < set(ACTIVATIONS)
