"""Refining whatever people build: no crash, no shared weights, no bound that is too small."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill
from keras import layers

from keras_pdenets.plots import plot_flow
from keras_pdenets.transforms import deepen, refine

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.skipif(
    BACKEND == "jax", reason="compile time; nothing here depends on the backend"
)


def bounded(model, data, steps=2, **options):
    """The report of an inexact refinement, whose bounds hold."""
    options = options or {"max_step": 0.5}
    _, report = refine(model, steps, data=data, **options)
    bounds = report.bounds
    for value in (bounds.posteriori, bounds.priori):
        assert value is None or bounds.measured <= value * (1 + 1e-5) + 1e-6, str(report)
    return report


def test_promoted_steps_that_leak_are_not_called_exact():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.ReLU(name="r")(inputs))
    report = bounded(model, -np.ones((3, 6), "float32"), max_step=0.5, promote="channel")
    assert report.leak == {"r": 0.25}
    assert report.difference == pytest.approx(0.25)
    assert report.bounds.posteriori is not None


@pytest.mark.slow
def test_an_input_that_is_broadcast_counts_more():
    a, p = keras.Input((8, 8, 2)), keras.Input((1, 1, 2))
    model = keras.Model([a, p], layers.Add()([a, layers.ReLU()(p)]))
    data = [np.zeros((2, 8, 8, 2), "float32"), -np.ones((2, 1, 1, 2), "float32")]
    assert bounded(model, data).bounds.posteriori > 2.8


def test_data_by_name_and_whole_numbers():
    z, a = keras.Input((2,), name="z"), keras.Input((2,), name="a")
    model = keras.Model([z, a], layers.Add()([layers.ReLU()(z), layers.LeakyReLU(0.9)(a)]))
    data = {"z": np.full((3, 2), -100.0, "float32"), "a": np.ones((3, 2), "float32")}
    report = bounded(model, data, 1)
    assert report.bounds.measured == pytest.approx(report.difference * 2**0.5)
    images = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, activation="relu")(images)
    bounded(fill(keras.Model(images, x)), RNG.integers(0, 255, (2, 6, 6, 3)).astype("uint8"))


def test_one_layer_at_two_sizes():
    images, pool = keras.Input((16, 16, 2)), layers.GlobalAveragePooling2D()
    x = layers.ReLU()(images)
    small = layers.Cropping2D(((15, 0), (15, 0)))(x)
    model = keras.Model(images, layers.Add()([pool(x), pool(small)]))
    data = np.zeros((1, 16, 16, 2), "float32")
    data[:, -1, -1] = -1
    assert bounded(model, data).bounds.posteriori >= 0.35


def test_a_steep_activation_behind_a_cut_matrix():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(4, "selu", use_bias=False)(inputs))
    model.set_weights([np.eye(4) + 0.2 * RNG.normal(size=(4, 4))])
    data = np.abs(RNG.normal(size=(50, 4))).astype("float32")
    bounded(model, data, 6, linear="flow", scheme="euler")


@pytest.mark.parametrize(
    "make",
    [
        lambda x: layers.BatchNormalization(name="odd")(x, training=True),
        lambda x: layers.Activation("log_softmax", name="odd")(x),
        lambda x: layers.Concatenate(axis=0, name="odd")([x, x]),
    ],
)
def test_where_no_constant_is_known_there_is_no_bound(make):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, make(layers.ReLU()(inputs)))
    bounds = refine(model, 2, max_step=0.5, data=-np.ones((4, 5), "float32"))[1].bounds
    assert bounds.posteriori is None
    assert "'odd'" in bounds.posteriori_reason
    assert bounds.priori is None


class Halves(layers.Layer):
    def call(self, x):
        return x[:, :3], x[:, 3:]

    def compute_output_shape(self, shape):
        return (shape[0], 3), (shape[0], shape[1] - 3)


class Named(layers.Layer):
    """Keras' own config of it loses the name."""

    def __init__(self, k=2, **kwargs):
        super().__init__(**kwargs)
        self.k = k

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1],), name="w")

    def call(self, x):
        return x * self.w


def test_layers_of_all_kinds():
    inputs = keras.Input((4, 6))
    x = layers.LSTM(6, return_sequences=True)(inputs)
    x = layers.GRU(6, return_sequences=False)(layers.TimeDistributed(layers.Dense(5, "relu"))(x))
    x = layers.Lambda(lambda t: t * 2, name="lambda")(layers.Dense(6, "relu", name="cut")(x))
    x = layers.Dense(6, activation=layers.PReLU(), name="learnt")(Named(name="mine")(x))
    first, second = Halves()(x)
    y = layers.Add()([first, second])
    model = keras.Model(inputs, layers.Dense(3)(y))
    data = RNG.normal(size=(5, 4, 6)).astype("float32")
    before = model.predict(data, verbose=0)
    refined, report = refine(model, 3, data=data)
    assert report.relative_difference < 1e-6
    assert list(report.steps) == ["cut"]
    assert "it cannot be copied" in report.left["lambda"]
    assert "its activation is a layer, PReLU" in report.left["learnt"]
    assert report.flops is None
    refine(model, 3, activation="carry", data=data)
    refined.compile("sgd", "mse")
    refined.fit(data, np.ones((5, 3)), verbose=0)
    np.testing.assert_array_equal(model.predict(data, verbose=0), before)
    bounds = refine(model, 3, max_step=0.5, data=data)[1].bounds
    assert bounds.posteriori is None
    assert bounds.measured > 0


@pytest.mark.parametrize("options", [{"promote": "channel"}, {"linear": "flow"}])
def test_sequences_inside_models(options):
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu")], name="inner")
    inputs = keras.Input((4,))
    data = RNG.normal(size=(5, 4)).astype("float32")
    for model in (
        keras.Model(inputs, layers.Dense(2)(inner(inputs=inputs))),
        keras.Sequential([keras.Input((4,)), inner, layers.Dense(2)]),
    ):
        _, report = refine(model, 2, data=data, **options)
        assert report.relative_difference < 1e-5
        assert "inner/" in next(iter(report.steps))
    bounded(model, data)


def test_channels_of_activations_that_do_not_say_where_they_are():
    inputs = keras.Input((5, 6, 6))
    x = layers.ZeroPadding2D(1, data_format="channels_first")(inputs)
    model = keras.Model(inputs, layers.ReLU(name="r")(x))
    for promote, shape in (("channel", (5,)), ("conv", (3, 3, 5, 5))):
        if BACKEND == "tensorflow" and promote == "conv":
            continue
        refined, _ = refine(model, 2, promote=promote)
        assert tuple(refined.get_layer("r_flow0").weights[0].shape) == shape
    mixed = layers.ZeroPadding2D(1, data_format="channels_last")(x)
    with pytest.raises(ValueError, match="`promote` needs a model with one data format"):
        refine(keras.Model(inputs, layers.ReLU()(mixed)), promote="conv")
    relu, a, b = layers.ReLU(name="both"), keras.Input((4,)), keras.Input((6,))
    with pytest.raises(
        ValueError, match=r"one number of channels.*'both', called with [46] and [46]"
    ):
        refine(keras.Model([a, b], [relu(a), relu(b)]), promote="channel")
    refine(keras.Model([a, b], [relu(a), relu(b)]))


def test_what_a_flow_would_lose_stays_whole():
    inputs = keras.Input((4,))
    dense = layers.Dense(4, kernel_regularizer="l2", name="held")
    _, report = refine(keras.Model(inputs, dense(inputs)), 2, linear="flow")
    assert report.left["held"] == "it has a regularizer or a constraint"
    with pytest.raises(ValueError, match="`promote` must be one of"):
        refine(keras.Model(inputs, dense(inputs)), promote="nope")
    with pytest.raises(ValueError, match="`time` must be one of"):
        refine(keras.Model(inputs, dense(inputs)), time="nope")


@pytest.mark.once
def test_double_precision_stays_double():
    inputs = keras.Input((4,), dtype="float64")
    dense = layers.Dense(4, "tanh", dtype="float64")
    refined, _ = refine(keras.Model(inputs, dense(inputs)), 3, linear="flow")
    data = RNG.normal(size=(9, 4))
    # Not against Keras' own layer, which rounds to single precision on torch.
    wanted = np.tanh(data @ keras.ops.convert_to_numpy(dense.kernel))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(refined(data)), wanted, atol=1e-13)


def test_operations_of_transposed_convolutions():
    inputs = keras.Input((4, 4, 3))
    up = layers.Conv2DTranspose(5, 2, strides=2)
    _, report = refine(keras.Model(inputs, up(inputs)), 2)
    assert report.flops[0] == 2 * 16 * 3 * 4 * 5 + 64 * 5
    line = keras.Input((6,))
    _, report = refine(keras.Model(line, layers.EinsumDense("ab,bc->ac", 5)(line)), 2)
    assert report.flops is None


def test_nets_of_another_number_of_steps_do_not_grow_into_each_other():
    config = {"num_layers": 1}
    two = build("refined_plain_net20", config={**config, "steps": 2})
    three = build("refined_plain_net20", config={**config, "steps": 3})
    with pytest.raises(ValueError, match="as many flow steps as the source"):
        deepen(two, three)


def test_a_carried_flow_can_be_drawn(tmp_path):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, layers.ReLU(name="r")(inputs))
    refined, _ = refine(model, 2, activation="carry")
    plot_flow(refined, RNG.normal(size=(6, 6, 3)), ["r"], tmp_path / "f.png")
    assert (tmp_path / "f.png").exists()
