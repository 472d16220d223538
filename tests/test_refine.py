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
    shared = keras.layers.Conv2D(8, 3, padding="same", activation=activation, name="shared")
    x = keras.layers.Conv2D(8, 3, padding="same", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Activation(activation, name="outside")(x)
    x = shared(shared(x))
    if nested:
        inner = keras.Sequential(
            [
                keras.Input((8, 8, 8)),
                keras.layers.Conv2D(8, 1, activation=activation, name="shared"),
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
    assert report.left == {"head": "softmax is not elementwise"}
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
    assert report.steps == {"outside": 2, "shared": 2, "inner/shared": 2}
    inner = refined.get_layer("inner")
    assert "shared_flow1" in [layer.name for layer in inner.layers]
    _, report = refine(model, {"inner/shared": 3})
    assert report.steps == {"inner/shared": 3}


def test_what_models_share_stays_shared():
    dense = keras.layers.Dense(3, activation="relu", name="dense")
    a = keras.Input((3,))
    encoder = keras.Model(a, dense(a), name="encoder")
    b = keras.Input((3,))
    middle = keras.Model(b, encoder(b), name="middle")
    c = keras.Input((3,))
    model = keras.Model(c, [middle(c) + encoder(c), dense(c)])
    data = RNG.normal(size=(5, 3)).astype("float32")
    refined, report = refine(model, 2, data=data)
    assert report.parameters == (12, 12)
    assert report.relative_difference < 1e-6
    assert refined.get_layer("dense") is refined.get_layer("encoder").get_layer("dense")


def test_adapted_and_frozen_layers_keep_their_state():
    data = RNG.normal(5, 3, (50, 4)).astype("float32")
    norm = keras.layers.Normalization(name="norm")
    norm.adapt(data)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, activation="relu", name="frozen", trainable=False)(norm(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="tanh", name="free")(x))
    refined, report = refine(model, 2, promote="channel", data=data)
    assert report.relative_difference < 1e-6
    names = {v.path.split("/")[0] for v in refined.trainable_variables}
    assert names == {"free", "free_flow0", "free_flow1"}
    assert report.invertible == {"frozen": None, "free": None}


def relu(x):
    """A function of the user's with a known name."""
    return keras.ops.minimum(keras.ops.relu(x), 1)


class Less(keras.layers.Dense):
    def call(self, x):
        return super().call(x) - 1


def test_what_only_looks_like_a_known_activation_stays_whole():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, activation=relu, name="own")(inputs)
    x = Less(4, activation="relu", name="goes_on")(x)
    x = keras.layers.Dense(4, "relu", activity_regularizer="l2", name="regularized")(x)
    x = keras.layers.LeakyReLU(1.5, name="steep")(x)
    x = keras.layers.PReLU(name="learnt")(x)
    model = keras.Model(inputs, keras.layers.Activation("glu", name="gate")(x))
    data = RNG.normal(size=(8, 4)).astype("float32")
    _, report = refine(model, 2, data=data)
    assert report.difference == 0
    assert set(report.left) == {"own", "goes_on", "regularized", "steep", "learnt", "gate"}
    assert "carry" in report.left["own"]
    _, report = refine(model, 2, activation="carry", data=data)
    assert set(report.steps) == {"own"}
    assert report.relative_difference < 1e-6


@pytest.mark.skipif(BACKEND == "tensorflow", reason="no channels-first convolution on a CPU")
@pytest.mark.parametrize("promote", ["channel", "conv"])
def test_channels_first(promote):
    inputs = keras.Input((3, 8, 6))
    conv = keras.layers.Conv2D(
        4, 3, padding="same", activation="relu", data_format="channels_first", name="conv"
    )
    data = RNG.normal(size=(2, 3, 8, 6)).astype("float32")
    refined, report = refine(keras.Model(inputs, conv(inputs)), 2, promote=promote, data=data)
    assert report.relative_difference < 1e-6
    assert refined.get_layer("conv_flow0").weights[0].shape[-1] == 4


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


@pytest.mark.once
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
    assert set(report.leak.values()) == {0.5**10}
    assert 0 < report.difference < 1e-3
    _, report = refine(plain(), 10)
    assert report.invertible == {"outside": False, "shared": False}
    assert not report.leak
    _, report = refine(plain("tanh"), 3)
    assert report.invertible == {"outside": True, "shared": True}


def test_activations_without_a_flow_are_left_whole_and_listed():
    model = plain("exponential")
    _, report = refine(model, 3)
    assert not report.steps
    assert "activation='carry' takes it" in report.left["shared"]
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
    for method in ("inverse", "carry"):
        _, report = refine(model, 7, activation=method, data=data)
        assert set(report.steps) == {"leaky", "six", "also_leaky"}
        assert "odd" in report.left
        assert report.relative_difference < 1e-6


NETS = {
    "VGG16": {}, "MobileNetV2": {"alpha": 0.35}, "EfficientNetB0": {}, "ConvNeXtTiny": {},
    "ResNet50": {},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.once
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
        ({"activation": "carry", "promote": "conv"}, "`promote` and `max_step` require"),
    ],
)
def test_bad_arguments_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        refine(plain(), **options)


def test_a_bad_bound_is_named_where_nothing_would_use_it():
    with pytest.raises(ValueError, match="`max_step` must be in"):
        refine(plain("tanh"), max_step=5.0)


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
