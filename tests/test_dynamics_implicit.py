"""The backward Euler step: the equation, its gradient, what happens where it has no solution."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, build
from keras import ops

from keras_pdenets.layers import BackwardEulerStep
from keras_pdenets.layers.newton_krylov import solve_linear

# The first forward derivative that torch takes makes torch itself complain.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")


def _branch(function, size):
    x = keras.Input((size,))
    return keras.Model(x, function(x))


def _solved(layer, x):
    """Increment and relative residuals."""
    d, residual = layer.solve(x)
    return ops.convert_to_numpy(d), ops.convert_to_numpy(residual)


def test_a_linear_equation():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(5, 5)) - 3 * np.eye(5)
    layer = BackwardEulerStep(_branch(lambda x: ops.matmul(x, matrix.T.astype("float32")), 5), 2.0)
    x = rng.normal(size=(7, 5)).astype("float32")
    d, residual = _solved(layer, x)
    exact = np.linalg.solve(np.eye(5) - 2 * matrix, x.T).T
    np.testing.assert_allclose(x + d, exact, atol=1e-4)
    assert residual.shape == (7,)
    assert residual.max() < 2e-5


@pytest.mark.slow
def test_a_stiff_equation():
    """F = -W^T tanh(W x) with h |W|^2 = 100, where a fixed point iteration diverges from 1 on."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(20, 20))
    w = (w * 10 / np.linalg.norm(w, 2)).astype("float32")
    branch = _branch(lambda x: -ops.matmul(ops.tanh(ops.matmul(x, w)), w.T), 20)
    x = 3 * rng.normal(size=(4, 20)).astype("float32")
    d, residual = _solved(BackwardEulerStep(branch), x)
    assert residual.max() < 2e-5
    y = (x + d).astype("float64")
    np.testing.assert_allclose(d, -np.tanh(y @ w) @ w.T, atol=1e-3)
    # The flow of such an F brings any two points together.
    assert np.linalg.norm(y[0] - y[1]) < np.linalg.norm(x[0] - x[1])


def test_conjugate_residuals_need_no_more_products_than_there_are_eigenvalues():
    matrix = np.diag([1.0, 1.0, 2.0, 5.0]).astype("float32")
    b = np.ones((1, 4), "float32")
    x, products = solve_linear(lambda v: ops.matmul(v, matrix), ops.convert_to_tensor(b), 1e-5, 20)
    assert int(ops.convert_to_numpy(products)) == 3
    np.testing.assert_allclose(ops.convert_to_numpy(x), [[1, 1, 0.5, 0.2]], atol=1e-5)


class _Given(keras.layers.Layer):
    """A trainable tensor in place of the input, whose gradient is that of the input then."""

    def build(self, shape):
        self.value = self.add_weight(shape=shape, initializer="zeros", name="value")

    def call(self, x):
        return 0.0 * x + self.value


def _block():
    """One block on two images of 3x3 pixels, and a linear function of its outputs as the loss."""
    rng = np.random.default_rng(1)
    x = keras.Input((3, 3, 1))
    y = keras.layers.Conv2D(2, 3, padding="same", activation="tanh", name="first")(x)
    branch = keras.Model(x, keras.layers.Conv2D(1, 3, padding="same", name="second")(y))
    step = BackwardEulerStep(branch, 1.5, tolerance=1e-7, name="step")
    inputs = keras.Input(batch_shape=(2, 3, 3, 1))
    state = _Given()(inputs)
    model = keras.Model(inputs, keras.layers.Add()([state, step(state)]))
    for variable in model.trainable_variables:
        variable.assign(
            rng.normal(size=variable.shape) * (1.0 if "value" in variable.path else 0.3)
        )
    return model, rng.normal(size=(2, 3, 3, 1)).astype("float32")


def _products(target, y):
    return 2.0 * ops.sum(target * y, axis=(1, 2, 3))  # of two examples Keras takes the mean


@pytest.mark.slow
def test_the_gradient_is_that_of_finite_differences():
    model, target = _block()
    images = np.zeros_like(target)

    def loss():
        return float((model.predict_on_batch(images).astype("float64") * target).sum())

    # A step of gradient descent shows the gradient, by the trainer of each backend.
    model.compile(keras.optimizers.SGD(1.0), _products, jit_compile=BACKEND != "torch")
    before = [np.array(ops.convert_to_numpy(v)) for v in model.trainable_variables]
    values = model.train_on_batch(images, target)
    assert np.isfinite(values).all()
    after = [np.array(ops.convert_to_numpy(v)) for v in model.trainable_variables]
    residual = float(ops.convert_to_numpy(model.get_layer("step").residual))
    assert 0 < residual < 1e-5
    for variable, value in zip(model.trainable_variables, before, strict=True):
        variable.assign(value)
    found, wanted, rng = [], [], np.random.default_rng(0)
    for variable, value, moved in zip(model.trainable_variables, before, after, strict=True):
        for place in rng.permutation(list(np.ndindex(value.shape)))[:6]:
            ends = []
            for sign in (1, -1):
                changed = value.copy()
                changed[tuple(place)] += sign * 0.02
                variable.assign(changed)
                ends.append(loss())
            found.append((value - moved)[tuple(place)])
            wanted.append((ends[0] - ends[1]) / 0.04)
        variable.assign(value)
    assert len(found) == 6 + 6 + 2 + 6 + 1
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max(), rtol=0)
    # h J is not small: without its inverse the gradient would be far off.
    assert 1.5 * _slope_of_branch(model) > 0.3


def _slope_of_branch(model):
    """|J v| / |v| of a random v."""
    rng = np.random.default_rng(0)
    x, v = (rng.normal(size=(1, 3, 3, 1)).astype("float32") for _ in range(2))
    branch = model.get_layer("step").branch
    ends = [ops.convert_to_numpy(branch(x + sign * 1e-2 * v)) for sign in (1, -1)]
    return np.linalg.norm(ends[0] - ends[1]) / 2e-2 / np.linalg.norm(v)


@pytest.mark.once
def test_an_example_does_not_depend_on_its_batch():
    model, _ = _block()
    layer = model.get_layer("step")
    x = np.random.default_rng(0).normal(size=(3, 3, 3, 1)).astype("float32")
    x[2] *= 100  # takes more rounds than the others
    together, _ = _solved(layer, x)
    alone, _ = _solved(layer, x[:1])
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)


@pytest.mark.once
@pytest.mark.slow
def test_without_a_solution_the_best_is_kept_and_told(images):
    """y = 1 + h (y + 1 / (1 + y^2)) at h = 1 has none."""
    branch = _branch(lambda x: x + 1 / (1 + x**2), 1)
    x = np.array([[1.0], [np.inf]], "float32")
    d, residual = _solved(BackwardEulerStep(branch), x)
    assert np.isfinite(d[0])
    assert 0.05 < residual[0] <= 1
    # Half precision outside, the equation in 32 bits.
    model = build(
        "preact_resnet20",
        side=8,
        config={"num_blocks": (1,), "filters": (2,), "scheme": "backward_euler", "step_size": 0.3},
        dtype="mixed_bfloat16",
    )
    layer = model.get_layer("stage0_block0_step")
    assert {x.compute_dtype for x in layer.branch.layers} == {"float32"}
    assert keras.backend.standardize_dtype(layer.output.dtype) == "bfloat16"
    inside = keras.Model(model.input, layer.input).predict(images[:, :8, :8], verbose=0)
    assert _solved(layer, np.asarray(inside, "float32"))[1].max() < 2e-5


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.BatchNormalization(name="bn"), "independently: .* Received: bn"),
        (keras.layers.Dropout(0.5), "Received: a layer with a random state"),
    ],
)
def test_errors_of_the_branch(layer, message):
    with pytest.raises(ValueError, match=message):
        BackwardEulerStep(_branch(layer, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 0.0}, "`step_size` must be positive"),
        ({"tolerance": 1.0}, r"`tolerance` must be in \(0, 1\)"),
        ({"max_products": 0}, "`max_products` must be a positive integer"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        BackwardEulerStep(_branch(keras.layers.Dense(3), 3), **options)
