"""What nets do to data along their depth: nets whose numbers are known."""

import csv

import keras
import numpy as np
import pytest
from conftest import fill

from keras_pdenets.analysis import feature_variance, trajectories
from keras_pdenets.plots import plot_feature_variance, plot_trajectories

RNG = np.random.default_rng(0)


def _linear(factors, side=3, channels=2, activation=None):
    """x -> x + a x for each a, of which the sum may be behind an activation."""
    inputs = x = keras.Input((side, side, channels))
    for i, factor in enumerate(factors):
        layer = keras.layers.Conv2D(channels, 1, use_bias=False)
        y = layer(x)
        layer.kernel.assign(factor * np.eye(channels, dtype="float32")[None, None])
        # Both orders of the summands.
        x = keras.layers.Add(name=f"add{i}")([x, y] if i % 2 else [y, x])
        if activation:
            x = keras.layers.Activation(activation)(x)
    return keras.Model(inputs, x)


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_known_variances(tmp_path):
    # The mean is large: a mean of squares less a squared mean would lose all digits.
    x = (1000 + RNG.normal(size=(10, 3, 3, 2)) + np.arange(10)[:, None, None, None]).astype("f4")
    found = feature_variance(_linear((0.5, -0.25, 2.0)), x, batch_size=4)
    variance = x.astype("float64").var()
    before = variance * np.array([1.0, 1.5, 1.125]) ** 2
    np.testing.assert_allclose(found.residual, before * np.array([0.5, 0.25, 2.0]) ** 2, rtol=1e-4)
    np.testing.assert_allclose(found.total, before * np.array([1.5, 0.75, 3.0]) ** 2, rtol=1e-4)
    np.testing.assert_array_equal(found.output, found.total)
    assert (found.images, found.kinds, found.sections) == (10, ("block",) * 3, (0, 0, 0))
    found.write_csv(tmp_path / "v.csv")
    rows = _rows(tmp_path / "v.csv")
    assert [row["name"] for row in rows] == ["add0", "add1", "add2"]
    assert [float(row["residual"]) for row in rows] == list(found.residual)


def test_an_activation_is_behind_the_total():
    x = RNG.normal(size=(6, 3, 3, 2)).astype("f4")
    found = feature_variance(_linear((1.0,), activation="relu"), [x[:4], x[4:]])
    values = 2 * x.astype("float64")
    wanted = x.var(dtype="float64"), values.var(), np.maximum(values, 0).var()
    np.testing.assert_allclose(
        [found.residual[0], found.total[0], found.output[0]], wanted, rtol=1e-5
    )


def test_the_residual_of_a_projection_is_the_other_branch():
    inputs = keras.Input((4, 4, 2))
    shortcut = keras.layers.Conv2D(3, 1, strides=2, name="projection")(inputs)
    y = keras.layers.ReLU()(keras.layers.Conv2D(5, 2, strides=2)(inputs))
    y = keras.layers.Conv2D(3, 1, name="branch")(y)
    x = keras.layers.ReLU(name="relu")(keras.layers.Add(name="add")([shortcut, y]))
    model = fill(keras.Model(inputs, x))
    x = RNG.normal(size=(4, 4, 4, 2)).astype("f4")
    found = feature_variance(model, x)
    names = ("branch", "add", "relu")
    probe = keras.Model(inputs, [model.get_layer(name).output for name in names])
    for values, features in zip(
        (found.residual, found.total, found.output), probe.predict_on_batch(x), strict=True
    ):
        assert values[0] == pytest.approx(np.asarray(features, "float64").var(), rel=1e-5)


def test_a_plain_net_is_measured_at_activations_and_convolutions():
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(3, 3, padding="same", name="conv")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Conv2D(2, 3, activation="relu", name="fused")(x)
    x = keras.layers.Dense(5, name="scores")(keras.layers.Flatten()(x))
    model = fill(keras.Model(inputs, keras.layers.Activation("softmax")(x)))
    images = RNG.normal(size=(5, 4, 4, 1)).astype("f4")
    found = feature_variance(model, images)
    assert found.names == ("conv", "relu", "fused")
    assert found.kinds == ("convolution", "activation", "activation")
    assert found.sections == (0, 0, 1)
    assert np.isnan(found.total).all()
    assert np.isnan(found.residual).all()
    probe = keras.Model(inputs, [model.get_layer(name).output for name in found.names])
    for value, features in zip(found.output, probe.predict_on_batch(images), strict=True):
        assert value == pytest.approx(np.asarray(features, "float64").var(), rel=1e-5)


def test_ways_in_a_plane_keep_their_distances():
    # Two features: the principal directions are a rotation.
    x = RNG.normal(size=(9, 1, 1, 2)).astype("f4")
    model = _linear((0.5, -0.25), side=1)
    ways = trajectories(model, x, batch_size=4)
    assert ways.classes is None
    (stage,) = ways.stages
    assert stage.names == ("add0", "add1")
    points = np.concatenate([1.5 * x[:, 0, 0], 1.125 * x[:, 0, 0]]).astype("float64")
    flat = stage.coordinates.reshape(-1, 2)
    wanted, found = (np.linalg.norm(a[:, None] - a, axis=-1) for a in (points, flat))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert stage.explained.sum() == pytest.approx(1.0)
    assert np.abs(flat.mean(0)).max() < 1e-6


def test_ways_of_classes_are_those_of_the_covariance(tmp_path):
    inputs = x = keras.Input((4, 4, 2))
    for filters in (2, 3):
        x = keras.layers.Conv2D(filters, 2, strides=2)(x)
        for _ in range(2):
            x = x + keras.layers.Conv2D(filters, 3, padding="same", activation="tanh")(x)
    model = fill(keras.Model(inputs, x))
    x = RNG.normal(size=(12, 4, 4, 2)).astype("f4")
    labels = np.array([7, 3, 3, 7, 0, 0, 3, 7, 0, 0, 0, 3])
    ways = trajectories(model, x, labels, batch_size=5)
    assert (ways.images, ways.classes) == (12, (0, 3, 7))
    assert [stage.coordinates.shape for stage in ways.stages] == [(2, 3, 2)] * 2
    adds = [operation for operation in model.operations if "add" in operation.name]
    outputs = keras.Model(inputs, [add.output for add in adds]).predict_on_batch(x)
    outputs = {a.name: np.asarray(o, "float64") for a, o in zip(adds, outputs, strict=True)}
    for stage in ways.stages:
        means = [
            outputs[name][labels == label].mean(0).ravel()
            for name in stage.names
            for label in (0, 3, 7)
        ]
        centred = np.array(means) - np.mean(means, axis=0)
        values, vectors = np.linalg.eigh(centred @ centred.T)
        wanted = vectors[:, [-1, -2]] * np.sqrt(values[[-1, -2]])
        np.testing.assert_allclose(np.abs(stage.coordinates.reshape(-1, 2)), np.abs(wanted),
                                   atol=1e-3 * np.abs(wanted).max())  # fmt: skip
        largest = np.abs(stage.coordinates.reshape(-1, 2)).argmax(0)
        assert (stage.coordinates.reshape(-1, 2)[largest, [0, 1]] > 0).all()
        np.testing.assert_allclose(stage.explained, values[[-1, -2]] / values.sum(), rtol=1e-3)
    ways.write_csv(tmp_path / "t.csv")
    rows = _rows(tmp_path / "t.csv")
    assert [row["class"] for row in rows[:4]] == ["0", "3", "7", "0"]
    assert float(rows[-1]["y"]) == ways.stages[-1].coordinates[-1, -1, 1]


def test_a_way_that_does_not_move_has_no_direction():
    ways = trajectories(_linear((1.0,)), np.ones((3, 3, 3, 2), "f4"), np.array([1, 1, 1]))
    assert ways.stages[0].coordinates.tolist() == [[[0.0, 0.0]]]
    assert ways.stages[0].explained.tolist() == [0.0, 0.0]


def _plain():
    """A convolution, an activation and a dense layer: no block."""
    inputs = keras.Input((3, 3, 4))
    x = keras.layers.ReLU(name="relu")(keras.layers.Conv2D(2, 1, name="conv")(inputs))
    return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(x)))


def test_data_that_do_not_fit_are_refused():
    model, images = _plain(), np.ones((6, 3, 3, 4), "f4")
    for measure in (feature_variance, trajectories):
        with pytest.raises(ValueError, match=r"'n', 3, 3, 4\).*Received: shape \(6, 2, 3"):
            measure(model, images[:, :2])
        with pytest.raises(ValueError, match=r"must hold at least one image"):
            measure(model, images[:0])
    for wrong, match in (
        (np.arange(5), r"must be 6 integers.*Received: .*of shape \(5,\)"),
        (np.ones(6), "must be 6 integers.*Received: float64"),
    ):
        with pytest.raises(ValueError, match=match):
            trajectories(model, images, wrong)


def test_nets_that_diverge_are_named():
    model = _linear((0.5, 3e38, 1.0))
    x = np.zeros((3, 3, 3, 2), "f4")
    x[2] = 10.0
    for measure in (feature_variance, trajectories):
        with pytest.raises(ValueError, match="'add1' gives non-finite features for image 2"):
            measure(model, x, batch_size=2)


def test_models_without_what_is_measured_are_refused():
    inputs, images = keras.Input((3, 3, 4)), np.ones((6, 3, 3, 4), "f4")
    head = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="must have residual blocks, activations or convolutions"):
        feature_variance(head, images)
    straight = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    with pytest.raises(ValueError, match="must have residual blocks or activations"):
        trajectories(straight, images)
    two = [keras.Input((3, 3, 4)), inputs]
    pair = keras.Model(two, keras.layers.ReLU()(keras.layers.Subtract()(two)))

    class Subclass(keras.Model):
        def call(self, x):
            return x

    for measure in (feature_variance, trajectories):
        with pytest.raises(ValueError, match="must have one input"):
            measure(pair, images)
        with pytest.raises(ValueError, match="`model` must be a functional"):
            measure(Subclass(), images)


def test_pictures(tmp_path):
    model, images = _linear((0.5, -0.25), activation="relu"), RNG.normal(size=(6, 3, 3, 4))
    x = images[..., :2].astype("f4")
    plain = feature_variance(_plain(), images.astype("f4"))
    plot_feature_variance({"a": feature_variance(model, x), "b": plain}, tmp_path / "v.png", "net")
    plot_trajectories(
        trajectories(model, x, np.arange(6) % 3), tmp_path / "t.png", names=["a", "b", "c"]
    )
    plot_trajectories(trajectories(model, x), tmp_path / "i.png")
    for name in "vti":
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
