"""Bounds of what an inexact flow changes: they hold, and are printed with how loose they are."""

import os
import sys

import keras
import numpy as np
import pytest
from conftest import BACKEND
from keras import layers

from keras_pdenets.operators.norms import convolution_norm, spectral_norm
from keras_pdenets.transforms import refine
from keras_pdenets.transforms.refinement.lipschitz import combined, lipschitz

# KERAS_PDENETS_RANDOM_NETS=1000 pytest -s -k random_nets: a few minutes.
COUNT = int(os.environ.get("KERAS_PDENETS_RANDOM_NETS", 40 if BACKEND == "torch" else 4))
RNG = np.random.default_rng(0)


@pytest.mark.once
@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (3, 3), (5, 5), (7, 3), (3,), (6,)])
def test_the_norm_of_a_convolution_is_bounded(sides):
    for shape in ((1, 1), (2, 3), (4, 1)):
        kernel = RNG.normal(size=(*sides, *shape))
        size = 7
        basis = np.eye(shape[0] * size ** len(sides)).reshape(-1, *(size,) * len(sides), shape[0])
        operator = layers.Conv1D if len(sides) == 1 else layers.Conv2D
        layer = operator(shape[1], sides, padding="same", use_bias=False)
        columns = layer(basis)
        layer.set_weights([kernel])
        columns = keras.ops.convert_to_numpy(layer(basis)).reshape(len(basis), -1)
        norm = np.linalg.norm(columns, 2)
        assert norm <= convolution_norm(kernel)
        # A fine grid of frequencies is below the bound and close to it.
        fine = np.fft.fftn(kernel, s=(64,) * len(sides), axes=tuple(range(len(sides))))
        limit = np.linalg.norm(fine, 2, axis=(-2, -1)).max()
        assert limit * (1 - 1e-9) <= convolution_norm(kernel) < 1.2 * limit
    assert spectral_norm(np.diag([3.0, -4.0])) == pytest.approx(4)


@pytest.mark.once
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(5, "gelu"), (6,)), (layers.Conv2D(3, 3, strides=2), (7, 7, 2)),
        (layers.Conv2D(4, 3, groups=2, dilation_rate=2, padding="same"), (7, 7, 4)),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, activation="silu"), (6, 6, 3)),
        (layers.BatchNormalization(), (4, 4, 3)), (layers.Rescaling(-3.0), (4,)),
        (layers.MaxPooling2D(3, 2, "same"), (7, 7, 2)), (layers.AveragePooling2D(3, 1), (6, 6, 2)),
        (layers.AveragePooling2D(3, 2, "same"), (6, 6, 2)), (layers.MaxPooling2D(), (6, 6, 2)),
        (layers.GlobalAveragePooling2D(), (5, 5, 2)), (layers.GlobalMaxPooling2D(), (5, 5, 2)),
        (layers.LeakyReLU(0.3), (5,)), (layers.ELU(2.0), (5,)), (layers.Softmax(), (5,)),
        (layers.Activation("selu"), (5,)), (layers.UpSampling2D(2), (3, 3, 2)),
        (layers.ZeroPadding2D(1), (3, 3, 2)), (layers.ReLU(), (5,)),
        (layers.Normalization(mean=0.0, variance=100.0, invert=True), (5,)),
        (layers.Activation("softsign"), (5,)), (layers.Normalization(mean=1.0, variance=9.0), (5,)),
    ],
    ids=lambda x: getattr(x, "name", None),
)  # fmt: skip
def test_no_layer_is_steeper_than_its_constant(layer, shape):
    rng = np.random.default_rng(1)
    layer.build((None, *shape)) if not layer.built else None
    for variable in layer.weights:
        draw = rng.normal(size=tuple(variable.shape))
        variable.assign(np.abs(draw) + 0.1 if "variance" in variable.name else draw)
    near = rng.normal(size=(200, *shape)).astype("float32")
    far = near + rng.normal(size=near.shape).astype("float32") * rng.choice([0.1, 1.0, 5.0])
    change = keras.ops.convert_to_numpy(layer(near)) - keras.ops.convert_to_numpy(layer(far))
    steepest = np.linalg.norm(change.reshape(200, -1), axis=1)
    steepest = steepest / np.linalg.norm((near - far).reshape(200, -1), axis=1)
    constant = lipschitz(layer, (None, *shape))
    assert steepest.max() <= constant * (1 + 1e-4)
    assert constant < 40 * steepest.max()


def test_what_has_no_constant_has_none():
    assert lipschitz(layers.LayerNormalization(), (None, 4)) is None
    assert lipschitz(layers.ReLU(threshold=1.0), (None, 4)) is None
    own = layers.Dense(3, activation=lambda x: x**2)
    own.build((None, 4))
    assert lipschitz(own, (None, 4)) is None
    assert lipschitz(layers.Activation("log_softmax"), (None, 4)) is None
    shapes = [(None, 8), (None, 8)]
    assert combined(layers.Multiply(), [1.0, 2.0], shapes, (None, 8)) is None
    assert combined(layers.Add(), [1.0, 2.0], shapes, (None, 8)) == 3
    assert combined(layers.Average(), [1.0, 2.0], shapes, (None, 8)) == 1.5
    assert combined(layers.Concatenate(), [3.0, 4.0], shapes, (None, 16)) == 5
    assert combined(layers.Concatenate(axis=0), [3.0, 4.0], shapes, (None, 8)) is None
    # An input that is broadcast counts as often as it is read.
    assert combined(layers.Add(), [1.0, 2.0], [(None, 8), (None, 2)], (None, 8)) == 5


def random_net(rng):
    """A small net of layers, activations, branches and widths drawn at random, with weights."""

    def activate(x):
        kind = rng.integers(4)
        return (
            layers.ReLU()(x), layers.LeakyReLU(0.2)(x), layers.ReLU(6.0)(x),
            layers.Activation("relu")(x),
        )[kind]  # fmt: skip

    width = int(rng.integers(3, 8))
    if rng.random() < 0.5:
        inputs = x = keras.Input((width,))
        for _ in range(rng.integers(1, 4)):
            x = layers.Dense(int(rng.integers(3, 9)), activation="relu")(x)
    else:
        inputs = x = keras.Input((6, 6, 2))
        for _ in range(rng.integers(1, 3)):
            x = layers.Conv2D(width, 3, int(rng.integers(1, 3)), padding="same")(x)
            x = activate(layers.BatchNormalization()(x))
            if rng.random() < 0.5:
                y = activate(layers.DepthwiseConv2D(3, padding="same")(x))
                x = layers.Add()([x, y]) if rng.random() < 0.5 else layers.Concatenate()([x, y])
        x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    for variable in model.weights:
        draw = rng.normal(size=tuple(variable.shape)) * rng.uniform(0.2, 1)
        variable.assign(np.abs(draw) + 0.2 if "variance" in variable.name else draw)
    return model, rng.normal(size=(8, *inputs.shape[1:])).astype("float32") * rng.uniform(0.5, 3)


def random_scheme(rng):
    """Arguments that make the refined net err."""
    steps = int(rng.integers(1, 7))
    return (
        {"steps": steps, "max_step": float(rng.uniform(0.3, 0.8))},
        {"steps": steps + 3, "scheme": "paper", "time": "smoothstep"},
        {"steps": 16, "scheme": "rk4", "linear": "flow"},
    )[rng.choice(3, p=[0.5, 0.4, 0.1])]


@pytest.mark.once
@pytest.mark.slow
def test_no_bound_is_violated_in_random_nets():
    rng = np.random.default_rng(2)
    loose, guesses, sides, done = [], [], [], 0
    while done < COUNT:
        model, data = random_net(rng)
        _, report = refine(model, data=data, **random_scheme(rng))
        bounds = report.bounds
        done += 1
        if bounds is None:  # nothing but exact chains
            continue
        rounding = 1e-5 * np.linalg.norm(model.predict(data, verbose=0), axis=1).max()
        assert bounds.posteriori is not None
        assert bounds.priori is not None
        assert bounds.measured <= bounds.posteriori + rounding
        assert bounds.posteriori <= bounds.priori * (1 + 1e-4) + rounding
        # The a-priori bound is of every input of the ball, not of the data alone.
        if bounds.measured > 100 * rounding:
            loose.append((bounds.posteriori / bounds.measured, bounds.priori / bounds.measured))
            guesses.append(bounds.estimate / bounds.measured)
        keras.backend.clear_session(free_memory=False)
    for name, values in zip(("a-posteriori", "a-priori"), np.transpose(loose), strict=True):
        sides.append(f"{name} bound {np.median(values):.3g} times (worst {values.max():.3g})")
    sys.stdout.write(
        f"\n{done} nets, no violation; of what is measured, in the median: {', '.join(sides)}; "
        f"estimate {np.median(guesses):.3f} times ({min(guesses):.3g} to {max(guesses):.3g})\n"
    )
    assert np.median(guesses) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_the_bounds_of_a_ball_hold_all_over_it():
    model, data = random_net(np.random.default_rng(3))
    refined, report = refine(model, 3, max_step=0.5, data=data)
    rng = np.random.default_rng(4)
    other = rng.normal(size=(500, *data.shape[1:])).astype("float32")
    other *= report.bounds.radius / np.linalg.norm(other.reshape(500, -1), axis=1).reshape(
        -1, *(1,) * (other.ndim - 1)
    )
    change = refined.predict(other, verbose=0) - model.predict(other, verbose=0)
    largest = np.linalg.norm(change, axis=1).max()
    assert 0 < largest <= report.bounds.priori


@pytest.mark.once
def test_a_bound_that_does_not_exist_is_not_made_up():
    inputs = keras.Input((4,))
    x = layers.Dense(4, activation="relu")(inputs)
    x = layers.LayerNormalization(name="between")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    data = RNG.normal(size=(5, 4)).astype("float32")
    _, report = refine(model, 3, max_step=0.5, data=data)
    assert report.bounds.posteriori is None
    assert "no Lipschitz constant is known for 'between'" in str(report)
    assert report.bounds.measured > 0
    tanh = keras.Sequential([keras.Input((4,)), layers.Dense(4, "tanh", name="smooth")])
    _, report = refine(tanh, 8, scheme="paper", time="smoothstep", data=data)
    assert report.bounds.measured <= report.bounds.posteriori + 1e-6
    assert "the error of the steps of 'smooth' is not bounded by norms" in str(report)
    assert report.invertible == {"smooth": False}
    assert 0 < report.bounds.layers["smooth"] < 1


def test_bounds_reach_into_models_inside_models():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, "relu", name="in")], name="inner")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(inner(layers.Dense(4, "relu", name="a")(inputs))))
    data = RNG.normal(size=(6, 4)).astype("float32")
    _, report = refine(model, 4, max_step=0.5, data=data)
    assert set(report.bounds.layers) == {"a", "inner/in"}
    assert 0 < report.bounds.measured <= report.bounds.posteriori <= report.bounds.priori
