"""Refining plain nets: the same outputs, more layers, and a report that is true."""

import keras
import numpy as np
import pytest
from conftest import BACKEND

from keras_pdenets.transforms import refine

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(4, 8, 8, 3)).astype("float32")


def plain(activation="relu", nested=False):
    """A small net with activations inside and outside layers, one shared, one branch."""
    inputs = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(4, 3, padding="same", activation=activation, name="shared")
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Activation(activation, name="outside")(x)
    x = shared(shared(x))
    if nested:
        inner = keras.Sequential(
            [
                keras.Input((8, 8, 4)),
                keras.layers.Conv2D(4, 1, activation=activation, name="shared"),
            ],
            name="inner",
        )
        x = inner(x)
    y = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax", name="head")(y))


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"] if BACKEND == "torch" else ["gelu"])
@pytest.mark.parametrize("method", ["inverse", "carry"])
def test_the_refined_net_computes_the_same(activation, method, tmp_path):
    model = plain(activation)
    refined, report = refine(model, 4, activation=method, data=IMAGES)
    assert report.steps == {"outside": 4, "shared": 4}
    assert report.left == {"head": "softmax has no flow that can be inverted"}
    assert report.relative_difference < 1e-5
    assert report.parameters[0] == report.parameters[1]
    before = model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(refined.predict(IMAGES, verbose=0), before, rtol=1e-5, atol=1e-7)
    refined.save(tmp_path / "refined.keras")
    again = keras.saving.load_model(tmp_path / "refined.keras")
    np.testing.assert_array_equal(
        again.predict(IMAGES, verbose=0), refined.predict(IMAGES, verbose=0)
    )


def test_shared_layers_share_their_steps():
    refined, _ = refine(plain(), 3)
    names = [layer.name for layer in refined.layers]
    assert len(set(names)) == len(names)
    assert len(refined.get_layer("shared_flow0")._inbound_nodes) == 2


def test_nested_models_are_refined_too():
    model = plain(nested=True)
    refined, report = refine(model, 2, data=IMAGES)
    assert report.relative_difference < 1e-6
    # Two layers of one name: the outer one comes first in the graph.
    assert "inner" in [layer.name for layer in refined.layers]
    assert report.steps["outside"] == 2


def test_the_plain_net_is_not_changed():
    model = plain()
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in model.weights]
    layers = len(model.layers)
    refine(model, 4, data=IMAGES)
    assert len(model.layers) == layers
    for value, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))


def test_steps_by_layer():
    _, report = refine(plain(), {"shared": 5})
    assert report.steps == {"shared": 5}
    assert report.left["outside"] == "not named in steps"
    with pytest.raises(ValueError, match="`steps` cannot refine 'first'"):
        refine(plain(), {"first": 2})
    with pytest.raises(ValueError, match="`steps` cannot refine 'head': softmax"):
        refine(plain(), {"head": 2})


@pytest.mark.parametrize("promote", ["channel", "depthwise", "conv"])
def test_promoted_steps_learn(promote):
    model = plain()
    refined, report = refine(model, 2, promote=promote, data=IMAGES)
    assert report.relative_difference < 1e-6
    assert report.parameters[1] > report.parameters[0]
    refined.compile("adam", "sparse_categorical_crossentropy")
    labels = np.array([0, 1, 2, 3])
    first = refined.evaluate(IMAGES, labels, verbose=0)
    refined.fit(IMAGES, labels, epochs=3, verbose=0)
    assert refined.evaluate(IMAGES, labels, verbose=0) < first


def test_small_steps_are_invertible_and_leak():
    _, report = refine(plain(), 10, max_step=0.5, data=IMAGES)
    assert report.invertible == {"outside": True, "shared": True}
    assert set(report.lipschitz.values()) == {0.5}
    assert 0 < report.difference < 1e-3
    _, report = refine(plain(), 10)
    assert report.invertible == {"outside": False, "shared": False}


def test_activations_without_a_flow_are_left_whole_and_listed():
    model = plain("exponential")
    _, report = refine(model, 3)
    assert not report.steps
    assert "activation='carry' takes any" in report.left["shared"]
    refined, report = refine(model, 3, activation="carry", data=IMAGES * 0.01)
    assert report.steps == {"outside": 3, "shared": 3}
    assert report.relative_difference < 1e-5
    assert "left whole: head" in str(report)
    assert refined.name


def test_leaky_relu_of_any_slope_and_relu6():
    inputs = keras.Input((6,))
    x = keras.layers.LeakyReLU(0.3, name="leaky")(inputs)
    x = keras.layers.ReLU(max_value=6, name="six")(keras.layers.Dense(6, name="dense")(x))
    x = keras.layers.ReLU(negative_slope=0.1, name="also_leaky")(x)
    x = keras.layers.ReLU(threshold=1.0, name="odd")(x)
    model = keras.Model(inputs, x)
    data = RNG.normal(0, 20, (50, 6)).astype("float32")
    _, report = refine(model, 7, data=data)
    assert set(report.steps) == {"leaky", "six", "also_leaky"}
    assert "odd" in report.left
    assert report.relative_difference < 1e-6


NETS = {
    "VGG16": {}, "MobileNetV2": {"alpha": 0.35}, "EfficientNetB0": {}, "ConvNeXtTiny": {},
    "ResNet50": {},
}  # fmt: skip


@pytest.mark.skipif(BACKEND != "torch", reason="minutes of compiling; run once by hand")
@pytest.mark.parametrize("name", NETS)
def test_nets_of_keras_applications(name):
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None, **NETS[name]
    )
    images = RNG.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    _, report = refine(model, 4, data=images)
    assert report.relative_difference < 1e-5
    assert len(report.steps) >= 15


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "`steps` must be a positive integer"),
        ({"steps": {"shared": -1}}, "shared.*must be a positive integer"),
        ({"activation": "newton"}, "`activation` must be one of"),
        ({"promote": "dense"}, "`promote` must be one of"),
        ({"max_step": 1.0}, "`max_step` must be in"),
        ({"time": "cubic"}, "`time` must be one of"),
        ({"activation": "carry", "promote": "conv"}, "`promote` and `max_step` need"),
    ],
)
def test_bad_arguments_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        refine(plain(), **options)


def test_bad_models_are_refused():
    model = plain()
    kernel = model.get_layer("first").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(ValueError, match="finite weights"):
        refine(model)

    class Subclass(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="functional or sequential"):
        refine(Subclass())
