"""Accuracy under noise on the weights, against NumPy, and the weights that come back."""

import csv

import keras
import numpy as np
import pytest
from conftest import fill

from keras_pdenets import layers
from keras_pdenets.analysis import weight_noise_robustness
from keras_pdenets.analysis.weight_noise import conv_variables
from keras_pdenets.plots import plot_weight_noise

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def classifier():
    """Logits are sums over pixels and channels: linear in each kernel."""
    inputs = keras.Input((3, 3, 4))
    x = keras.layers.Conv2D(6, 1, use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2D(5, 1)(x)
    model = fill(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)))
    images = RNG.normal(size=(120, 3, 3, 4)).astype("f4")
    return model, images, model.predict(images, verbose=0).argmax(1)


def _bits(model):
    return [np.array(keras.ops.convert_to_numpy(w)).tobytes() for w in model.weights]


def _oracle(model, images, labels, level, rng):
    """Accuracy in NumPy, weights drawn in the order of the layers."""
    first, norm, second = (model.layers[i] for i in (1, 2, 3))
    kernels = []
    for layer in (first, second):
        w = np.asarray(keras.ops.convert_to_numpy(layer.kernel), "float64")
        kernels.append((w + level * np.abs(w) * rng.uniform(-1, 1, w.shape))[0, 0])
    gamma, beta, mean, variance = (np.asarray(w, "float64") for w in norm.get_weights())
    x = images.mean((1, 2)) @ kernels[0]
    x = gamma * (x - mean) / np.sqrt(variance + norm.epsilon) + beta
    return np.mean((x @ kernels[1] + second.get_weights()[1]).argmax(1) == labels)


def test_accuracy_under_noise_is_that_of_numpy(classifier, tmp_path):
    model, images, labels = classifier
    levels = (0.0, 0.5, 2.0)
    before = _bits(model)
    curve = weight_noise_robustness(model, images, labels, levels, draws=3, seed=7,
                                    batch_size=50)  # fmt: skip
    assert _bits(model) == before
    wanted = [
        [_oracle(model, images, labels, e, np.random.default_rng([7, d])) for d in range(3)]
        for e in levels
    ]
    np.testing.assert_allclose(curve.accuracy, wanted, atol=1e-12)
    np.testing.assert_array_equal(curve.accuracy[0], 1.0)
    assert curve.mean[2] < curve.mean[1] < 1.0
    np.testing.assert_allclose(curve.spread, np.std(wanted, axis=1, ddof=1), atol=1e-12)
    again, other = (
        weight_noise_robustness(model, images, labels, levels[1:], draws=2, seed=s).accuracy
        for s in (7, 8)
    )
    np.testing.assert_array_equal(again, curve.accuracy[1:, :2])
    assert (again != other).any()
    one = weight_noise_robustness(model, images[:5], labels[:5], 0.5, draws=1)
    assert one.spread.tolist() == [0.0]
    curve.write_csv(tmp_path / "n.csv")
    with (tmp_path / "n.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert float(rows[4]["accuracy"]) == curve.accuracy[1, 1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_weights_come_back_after_an_error(classifier, monkeypatch, error):
    model, images, labels = classifier
    before, seen = _bits(model), []

    def stop(_):
        seen.append(_bits(model))
        raise error("stop")

    monkeypatch.setattr(model, "predict_on_batch", stop)
    with pytest.raises(error, match="stop"):
        weight_noise_robustness(model, images, labels, levels=0.3)
    # In the middle, the two kernels were others and nothing else was.
    changed = [a != b for a, b in zip(before, seen[0], strict=True)]
    names = [w.name for w, c in zip(model.weights, changed, strict=True) if c]
    assert names == ["kernel", "kernel"]
    assert _bits(model) == before


def test_probabilities_count_like_logits(classifier):
    model, images, labels = classifier
    softmax = keras.Sequential([model, keras.layers.Softmax()])
    for levels in (0.0, 1.0):
        a, b = (weight_noise_robustness(m, images, labels, levels, 2) for m in (model, softmax))
        np.testing.assert_array_equal(a.accuracy, b.accuracy)


def test_answers_that_are_not_finite_are_wrong():
    # Class 0 is infinite where the pixel is not 0: NumPy's argmax would take it.
    layer = keras.layers.Conv2D(2, 1, use_bias=False)
    model = keras.Sequential([keras.Input((1, 1, 1)), layer, keras.layers.Flatten()])
    layer.kernel.assign(np.array([3e38, 1.0], "f4").reshape(1, 1, 1, 2))
    images = np.array([10.0, 10.0, 10.0, 0.0], "f4").reshape(4, 1, 1, 1)
    assert np.isposinf(model.predict(images, verbose=0)[:3, 0]).all()
    found = weight_noise_robustness(model, images, np.zeros(4, int), 0.0, 1)
    assert found.accuracy.tolist() == [[0.25]]


def test_half_precision_weights_come_back():
    conv = keras.layers.Conv2D(3, 3, dtype="bfloat16")
    model = keras.Sequential([keras.Input((3, 3, 2)), conv, keras.layers.Flatten()])
    before = _bits(model)
    images = RNG.normal(size=(4, 3, 3, 2)).astype("f4")
    weight_noise_robustness(model, images, np.arange(4) % 3, (0.0, 0.5), draws=1)
    assert _bits(model) == before


def test_the_kernels_that_are_disturbed():
    x = inputs = keras.Input((4, 4, 2))
    for i, layer in enumerate((
        layers.PDEConv2D(2, form="quadratic"), layers.DecomposedConv2D(2),
        layers.PolynomialConv2D(2), layers.QuasiLinear2D(2, multiplier=1),
        keras.layers.SeparableConv2D(2, 1),
    )):  # fmt: skip
        layer.name = f"layer{i}"
        x = layer(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    found = [v.path.split("/") for v in conv_variables(keras.Model(inputs, x))]
    by_layer = {f"layer{i}": [p[-1] for p in found if p[0] == f"layer{i}"] for i in range(5)}
    assert by_layer == {
        "layer0": ["sigma", "b", "c"],
        "layer1": ["row_kernel", "column_kernel"],
        "layer2": ["kernel", "kernel_x", "kernel_y"],
        "layer3": ["kernel", "kernel", "kernel"],  # coefficients, stencils, mixing
        "layer4": ["depthwise_kernel", "pointwise_kernel"],
    }
    assert len(found) == 13


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"levels": (0.1, -0.1)}, "`levels` must be finite numbers >= 0"),
        ({"levels": (np.nan,)}, "`levels` must be finite"),
        ({"levels": ()}, "`levels` must be finite"),
        ({"draws": 0}, "`draws` must be a positive integer"),
    ],
)
def test_noise_out_of_range_is_refused(classifier, arguments, match):
    with pytest.raises(ValueError, match=match):
        weight_noise_robustness(*classifier, **arguments)


def test_data_that_do_not_fit_are_refused(classifier):
    model, images, labels = classifier
    for data, match in (
        ((images[:, :2], labels), r"'n', 3, 3, 4\).*Received: shape \(120, 2, 3"),
        ((images[:0], labels[:0]), "must hold at least one image"),
        ((images, labels[:-1]), r"must be 120 integers.*Received: .*of shape \(119,\)"),
        ((images, labels.astype("f4")), "must be 120 integers.*Received: float32"),
        ((images, np.where(np.arange(120) == 3, 5, labels)), r"in \[0, 5\).*Received: 5"),
        ((images, np.where(np.arange(120) == 3, -1, labels)), r"in \[0, 5\).*Received: -1"),
    ):
        with pytest.raises(ValueError, match=match):
            weight_noise_robustness(model, *data)


def test_models_that_cannot_be_disturbed_are_refused(classifier):
    _, images, labels = classifier
    inputs = keras.Input((3, 3, 4))
    head = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="must have convolutions"):
        weight_noise_robustness(head, images, labels)
    maps = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    with pytest.raises(ValueError, match="must have one output of shape"):
        weight_noise_robustness(maps, images, labels)

    class Subclass(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="`model` must be a functional"):
        weight_noise_robustness(Subclass(), images, labels)


def test_a_picture_of_noise(classifier, tmp_path):
    plot_weight_noise({"a": weight_noise_robustness(*classifier, 0.1, 2)}, tmp_path / "n.png")
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")
