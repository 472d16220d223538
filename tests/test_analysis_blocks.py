"""Blocks dropped and swapped: against the same nets by hand, and nothing else changed."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_pdenets.analysis import block_changes, drop_blocks, swap_blocks
from keras_pdenets.plots import plot_block_changes

RNG = np.random.default_rng(0)
CLASSES = 4


def _net(kinds=("plain", "relu", "plain", "wider", "plain"), width=5):
    """Residual blocks of one matrix each, a layer in between, and a dense head."""
    inputs = x = keras.Input((width,))
    for index, kind in enumerate(kinds):
        wide = x.shape[-1] + (kind == "wider")
        y = layers.Dense(wide, activation="tanh", name=f"branch{index}")(x)
        if kind == "wider":
            x = layers.Dense(wide, name=f"shortcut{index}")(x)
        x = layers.Add(name=f"block{index}")([x, y])
        if kind == "relu":
            x = layers.ReLU()(x)
    model = keras.Model(inputs, layers.Dense(CLASSES, name="head")(x))
    for layer in model.layers:
        layer.set_weights([RNG.normal(size=w.shape).astype("float32") for w in layer.weights])
    return model


def _by_hand(model, kinds, images, order=None, dropped=None):
    """Logits with the blocks in any order, one of them without its branch; and the ratios."""

    def dense(name, x):
        kernel, bias = (np.asarray(w, "float64") for w in model.get_layer(name).get_weights())
        return x @ kernel + bias

    x, ratios = images.astype("float64"), []
    for index in order or range(len(kinds)):
        y = np.tanh(dense(f"branch{index}", x))
        x = dense(f"shortcut{index}", x) if kinds[index] == "wider" else x
        total = x + (0 if index == dropped else y)
        total = np.maximum(total, 0) if kinds[index] == "relu" else total
        norm = np.linalg.norm(x, axis=1)
        change = np.linalg.norm(total - x, axis=1)[norm > 0]
        ratios.append((change / norm[norm > 0]).mean())
        x = total
    return dense("head", x), ratios


def _snapshot(model):
    weights = [np.array(w) for w in model.get_weights()]
    nodes = [len(op._inbound_nodes) for op in model.operations]
    return weights, nodes, [op.name for op in model.operations], model.get_config()


def _assert_unchanged(model, before):
    after = _snapshot(model)
    assert all((a == b).all() for a, b in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]


def test_dropping_is_what_it_is_by_hand(tmp_path):
    kinds = ("plain", "relu", "plain", "wider", "plain")
    model = _net(kinds)
    images, labels = RNG.normal(size=(50, 5)).astype("float32"), RNG.integers(0, CLASSES, 50)
    before, outputs = _snapshot(model), model.predict_on_batch(images)
    found = drop_blocks(model, images, labels, batch_size=20)
    _assert_unchanged(model, before)
    np.testing.assert_array_equal(model.predict_on_batch(images), outputs)
    assert found.names == tuple(f"block{i}" for i in range(5))
    whole, ratios = _by_hand(model, kinds, images)
    assert found.accuracy == pytest.approx(np.mean(whole.argmax(1) == labels))
    np.testing.assert_allclose(found.ratios, ratios, rtol=1e-4)
    for index, accuracy in enumerate(found.accuracies):
        logits, _ = _by_hand(model, kinds, images, dropped=index)
        assert accuracy == pytest.approx(np.mean(logits.argmax(1) == labels))
    assert len(set(found.accuracies)) > 2  # or else the test could not tell
    lines = str(found).splitlines()
    assert lines[0].startswith("||hF|| / ||x|| is ")
    assert lines[2].startswith("drop block0: ")
    plot_block_changes(found, tmp_path / "drop.png")
    assert (tmp_path / "drop.png").stat().st_size > 1000


def test_swapping_is_what_it_is_by_hand(tmp_path):
    kinds = ("plain", "relu", "plain", "wider", "plain", "plain")
    model = _net(kinds)
    images, labels = RNG.normal(size=(60, 5)).astype("float32"), RNG.integers(0, CLASSES, 60)
    before = _snapshot(model)
    found = swap_blocks(model, images, labels, batch_size=25)
    _assert_unchanged(model, before)
    pairs = [(0, 1), (1, 2), (4, 5)]  # a wider block has no neighbour of its shape
    assert found.names == tuple(f"block{a} <-> block{b}" for a, b in pairs)
    ratios = _by_hand(model, kinds, images)[1]
    for (a, b), accuracy, ratio in zip(pairs, found.accuracies, found.ratios, strict=True):
        order = [b if i == a else a if i == b else i for i in range(6)]
        logits, _ = _by_hand(model, kinds, images, order)
        assert accuracy == pytest.approx(np.mean(logits.argmax(1) == labels))
        assert ratio == pytest.approx(max(ratios[a], ratios[b]), rel=1e-4)
    assert len(set(found.accuracies)) > 1
    plot_block_changes(found, tmp_path / "swap.png", "swapped")
    assert (tmp_path / "swap.png").stat().st_size > 1000


def test_blocks_that_commute_or_do_nothing_cost_nothing():
    model = _net(("plain", "plain", "plain"))
    for index in range(3):  # every branch is the same function
        model.get_layer(f"branch{index}").set_weights(model.get_layer("branch0").get_weights())
    images = RNG.normal(size=(30, 5)).astype("float32")
    labels = model.predict_on_batch(images).argmax(axis=1)
    assert swap_blocks(model, images, labels).accuracies.tolist() == [1.0, 1.0]
    model.get_layer("branch1").set_weights([np.zeros((5, 5)), np.zeros(5)])
    labels = model.predict_on_batch(images).argmax(axis=1)
    found = drop_blocks(model, images, labels)
    assert found.accuracies[1] == 1.0
    assert found.accuracies[0] < 1.0
    assert found.ratios[1] == 0.0


def test_what_is_read_elsewhere_is_not_swapped():
    inputs = x = keras.Input((5,))
    branch = layers.Dense(5)(x)
    x = layers.Add(name="a")([x, branch])
    y = layers.Add(name="b")([x, layers.Dense(5)(x)])
    z = layers.Add(name="c")([y, layers.Dense(5)(y)])
    head = layers.Dense(3)(layers.Concatenate()([z, branch]))  # the inside of a
    model = keras.Model(inputs, head)
    found = swap_blocks(model, np.ones((4, 5)), np.zeros(4, int))
    assert found.names == ("b <-> c",)


def test_the_model_is_unchanged_where_the_measurement_fails(monkeypatch):
    model = _net()
    before = _snapshot(model)
    calls = []

    def fail(function, *arrays):
        calls.append(function(*arrays))
        raise RuntimeError("no memory")

    monkeypatch.setattr(block_changes, "evaluate", fail)
    for measure in (drop_blocks, swap_blocks):
        with pytest.raises(RuntimeError, match="no memory"):
            measure(model, np.ones((4, 5), "float32"), np.zeros(4, int))
    assert calls
    _assert_unchanged(model, before)


def test_what_is_wrong_is_said():
    model = _net()
    images, labels = np.ones((4, 5), "float32"), np.zeros(4, int)
    plain = keras.Sequential([keras.Input((5,)), layers.Dense(CLASSES)])
    single = _net(("plain", "wider"))
    features = keras.Model(model.inputs, model.get_layer("head").input[:, 0])
    pair = keras.Model(
        [model.inputs[0], extra := keras.Input((CLASSES,))], model.outputs[0] + extra
    )
    for call, match in (
        (lambda: drop_blocks(plain, images, labels), "`model` has no residual block"),
        (lambda: swap_blocks(plain, images, labels), "`model` has no residual block"),
        (lambda: swap_blocks(single, images, labels), "two neighbouring residual blocks"),
        (lambda: drop_blocks(features, images, labels), "one output of shape"),
        (lambda: drop_blocks(pair, images, labels), "`model` must have one input"),
        (lambda: drop_blocks(model, images[:0], labels[:0]), "`images` must hold at least one"),
        (lambda: drop_blocks(model, images[:, :3], labels), "`images` must be of shape"),
        (lambda: drop_blocks(model, [["a"] * 5], labels[:1]), "`images` must be an array of"),
        (lambda: drop_blocks(model, images, labels + 4), r"`labels` must be in \[0, 4\)"),
        (lambda: swap_blocks(model, images, np.eye(4, CLASSES)), "`labels` must be 4 integers"),
        (lambda: drop_blocks(model, images, labels, batch_size=0), "`batch_size` must be"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
