"""Converted nets trained to the outputs of the original."""

import keras
import numpy as np
import pytest
from conftest import fill

from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.transforms import convert, distil
from keras_pdenets.transforms.conversion import distilling
from keras_pdenets.transforms.conversion.watching import common_points


def _images(count=40):
    return np.random.default_rng(0).normal(size=(count, 8, 8, 3)).astype("float32")


def _residual_net(softmax=False):
    layers, x = keras.layers, keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(x)
    z = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv0")(y)
    y = layers.Add(name="sum")([y, layers.Conv2D(6, 3, padding="same", name="conv1")(z)])
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    y = layers.Dense(4, activation="softmax" if softmax else None, name="head")(y)
    return fill(keras.Model(x, y))


@pytest.fixture(scope="module")
def net():
    return _residual_net(softmax=True)


def test_distillation_brings_the_probabilities_nearer(net):
    data = _images(400)
    new, _ = convert(net, "decomposed", data, share=0.25, verbose=0)
    weights = [np.array(keras.ops.convert_to_numpy(w)) for w in net.weights]
    wanted = net.predict(data, verbose=0)

    def divergence():
        found = new.predict(data, verbose=0)
        return float(np.mean(np.sum(wanted * (np.log(wanted) - np.log(found)), -1)))

    before = divergence()
    how = {"learning_rate": 0.003, "batch_size": 20, "features": 0, "verbose": 0}
    assert distil(new, net, data, 4, **how) is new
    assert divergence() < 0.8 * before
    for weight, value in zip(net.weights, weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)
    with pytest.raises(ValueError, match=r"one output \(batch, classes\) of the same"):
        distil(keras.Model(net.input, net.get_layer("sum").output), net, data)


def test_features_at_block_ends_come_nearer_where_they_are_matched():
    net, data = _residual_net(), _images(100)
    small = convert(net, "decomposed", data, share=0.25, verbose=0)[0]
    (pair,) = common_points(small, net)
    assert [t is small.get_layer("sum").output for t in pair] == [True, False]
    ends = [keras.Model(x.inputs[0], x.get_layer("sum").output) for x in (net, small)]
    wanted, start = ends[0].predict(data, verbose=0), small.get_weights()
    apart = [float(np.sum((ends[1].predict(data, verbose=0) - wanted) ** 2))]
    for features in (0.0, 1.0):
        small.set_weights(start)
        how = {"learning_rate": 0.1, "batch_size": 20, "verbose": 0, "features": features}
        distil(small, net, data, 4, **how)
        apart.append(float(np.sum((ends[1].predict(data, verbose=0) - wanted) ** 2)))
    assert apart[2] < 0.97 * apart[0] < apart[1]


def test_feature_maps_of_plain_nets_are_matched_behind_their_activation():
    layers = keras.layers
    conv = {"filters": 4, "kernel_size": 3, "padding": "valid", "activation": "relu"}
    net = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(name="conv0", **conv), layers.MaxPooling2D(2),
         layers.Conv2D(name="conv1", **conv | {"activation": None}), layers.Flatten(name="flat"),
         layers.Dense(3)]
    )  # fmt: skip
    new = convert(net, "pde", _images(30), layers="conv*", verbose=0)[0]
    pairs = common_points(new, flatten(net))
    # The input of the first convolution is the net's own; sizes change there, at the pool, ...
    names = ["conv0_activation", "max_pooling2d", "conv1_crop"]
    found = [x._keras_history.operation.name.split("_1")[0] for x, _ in pairs]
    assert [name.startswith(part) for name, part in zip(found, names, strict=True)] == [True] * 3
    with pytest.raises(ValueError, match="`features` must be 0 where the nets have no feature map"):
        common_points(flatten(net), _residual_net())


def test_labels_pull_towards_the_true_classes(net):
    data, labels, found = _images(80), np.full(80, 2), []
    start = net.get_weights()
    for given in (None, labels):
        student = keras.models.clone_model(net)
        student.set_weights(start)
        distil(student, net, data, 3, batch_size=20, labels=given, verbose=0)
        found.append(student.predict(data, verbose=0)[:, 2].mean())
    assert found[1] > found[0] + 1e-4
    for wrong in (labels[1:], labels + 2, labels / 1.0):
        with pytest.raises(ValueError, match=r"`labels` must be 80 integers in \[0, 4\)"):
            distil(net, net, data, labels=wrong)


def test_a_conversion_is_distilled_with_the_arguments_of_the_function(net, monkeypatch):
    seen = []
    monkeypatch.setattr(distilling, "distil", lambda *models, **options: seen.append(options))
    few = _images(10)
    for value in (2, {"features": 0.5, "data": few}, 0):
        convert(net, "pde", _images(), layers="conv0", distil=value, seed=3, verbose=0)
    first, second = seen
    assert (first["epochs"], first["seed"], len(first["data"])) == (2, 3, 40)
    assert (second["epochs"], second["features"], second["data"] is few) == (1, 0.5, True)
    for wrong, message in ((1.5, "`distil` must be an integer >= 0"), ({"epoch": 1}, "epochs")):
        with pytest.raises(ValueError, match=message):
            convert(net, "pde", _images(), distil=wrong)
