"""What `freeze` makes of models that hold a net in any way."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, build
from keras import layers

import keras_pdenets
from keras_pdenets.compat.keras import layers_inside, nodes_of, own_trainable


def _body(name="preact_resnet20", **config):
    config = {"num_blocks": 1, "filters": (4, 4, 4), **config}
    return build(name, 8, config=config, include_top=False, pooling="avg")


def _trainable(model):
    return {variable.path.split("/")[-2] for variable in model.trainable_variables}


class Encoder(layers.Layer):
    def __init__(self, net, **kwargs):
        super().__init__(**kwargs)
        self.nets = {"mine": [net]}

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")

    def call(self, x):
        return self.scale * self.nets["mine"][0](x)


class Classifier(keras.Model):
    def __init__(self, net):
        super().__init__()
        self.head, self.net = layers.Dense(2, name="head"), net

    def call(self, x):
        return self.head(self.net(x))


def _after(inputs, features):
    return keras.Model(inputs, layers.Dense(2, name="head")(features))


def _extended(net):
    return _after(net.input, net.output)


def _nested(net):
    inputs = keras.Input((8, 8, 3))
    return _after(inputs, net(inputs))


def _in_a_sequence(net):
    return keras.Sequential([keras.Input((8, 8, 3)), net, layers.Dense(2, name="head")])


def _over_time(net):
    inputs = keras.Input((2, 8, 8, 3))
    return _after(inputs, layers.GlobalAveragePooling1D()(layers.TimeDistributed(net)(inputs)))


def _in_a_layer(net):
    inputs = keras.Input((8, 8, 3))
    return _after(inputs, Encoder(net)(inputs))


HOLDERS = [_extended, _nested, _in_a_sequence, _over_time, _in_a_layer, Classifier]


@pytest.mark.parametrize("hold", HOLDERS)
def test_a_net_is_found_wherever_it_is_held(hold):
    net = _body()
    model = hold(net)
    keras_pdenets.freeze(model)  # also before a subclassed model has its head
    shape = (4, 2, 8, 8, 3) if hold is _over_time else (4, 8, 8, 3)
    model(keras.Input(shape[1:]))
    own = {"encoder"} if hold is _in_a_layer else set()
    assert _trainable(model) == {"head"} | own
    keras_pdenets.freeze(model, until="stage1")
    names = _trainable(model)
    assert {"head", "stage2_block0_conv0"} <= names
    assert not any(name.startswith(("stem", "stage0", "stage1")) or "bn" in name for name in names)
    keras_pdenets.freeze(model, until="")
    assert {"stem_conv", "head"} <= _trainable(model)
    norms = [part for part in net.layers if isinstance(part, layers.BatchNormalization)]
    assert not any(norm.trainable for norm in norms)
    keras_pdenets.freeze(model, until="", batchnorm=False)
    assert all(norm.trainable for norm in norms)


@pytest.mark.parametrize("hold", [_over_time, _in_a_layer])
def test_frozen_averages_do_not_move(hold):
    net = _body()
    model = keras_pdenets.freeze(hold(net), until="")
    averages = [v for v in net.variables if "moving" in v.path]
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in averages]
    model.compile("sgd", "mse", jit_compile=BACKEND == "jax")
    shape = (4, *model.input_shape[1:])
    images = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    model.fit(images, np.zeros((4, 2)), verbose=0)
    for old, variable in zip(before, averages, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(variable))


def test_layers_of_the_users_own_train(caplog):
    inputs = keras.Input((8, 8, 5))
    net = _body()
    features = net(layers.Conv2D(3, 1, name="bands")(inputs))
    hidden = layers.Dense(4, name="hidden")(features)
    heads = [layers.Dense(2, name=name)(hidden) for name in ("classifier", "boxes")]
    model = keras.Model(inputs, heads, name="mine")
    with caplog.at_level("INFO", "keras_pdenets"):
        keras_pdenets.freeze(model)
    assert _trainable(model) == {"bands", "hidden", "classifier", "boxes"}
    assert caplog.messages == [
        f"mine: 8 of {len(model.weights)} weights are trainable now, those of "
        "bands, hidden, classifier, boxes"
    ]
    keras_pdenets.freeze(model, until="hidden")
    assert _trainable(model) == {"classifier", "boxes"}


def test_a_head_of_any_name_behind_layers_of_the_net():
    net = build("preact_resnet20", 8, config={"num_blocks": 1, "filters": (4, 4, 4)})
    boxes = layers.Dense(4, name="boxes")(net.get_layer("pool").output)
    model = keras.Model(net.input, [net.output, boxes])
    assert _trainable(keras_pdenets.freeze(model)) == {"classifier", "boxes"}


def test_until_follows_the_graph_not_the_order():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    side = layers.Dense(4, name="side")(inputs)  # first in the list, and no way to "left"
    left = layers.Dense(4, name="left")(layers.Dense(4, name="before")(shared(inputs)))
    right = layers.Dense(4, name="right")(shared(side))
    model = keras.Model(inputs, layers.Add()([left, right]))
    assert _trainable(keras_pdenets.freeze(model, "left")) == {"side", "right"}
    assert _trainable(keras_pdenets.freeze(model, "shared")) == {"before", "left", "right"}
    chain = keras.Sequential([layers.Dense(4, name=name) for name in "abc"])
    model = keras.Model(inputs, layers.Dense(2, name="d")(chain(inputs)))
    assert _trainable(keras_pdenets.freeze(model, "b")) == {"c", "d"}
    both = layers.Bidirectional(layers.SimpleRNN(2, name="rnn"), name="both")
    keras_pdenets.freeze(keras.Sequential([both, layers.Dense(2)]), "backward_rnn")
    assert both.trainable
    assert both.forward_layer.trainable
    assert not both.backward_layer.trainable


def test_another_net_trains_what_is_named_classifier():
    inputs = keras.Input((4,))
    x = layers.Dense(4, name="top")(layers.Dense(4, name="stem_conv")(inputs))
    model = keras.Model(inputs, keras.Sequential([layers.Dense(2)], name="classifier")(x))
    keras_pdenets.freeze(model)
    assert len(model.trainable_variables) == 2
    assert not model.get_layer("top").trainable


@pytest.mark.parametrize(
    ("until", "match"), [(None, "must leave some weights"), ("stage7", "must be or begin the name")]
)
def test_a_call_that_fails_changes_nothing(until, match):
    net = _body("hyperbolic_resnet20")
    keras_pdenets.freeze(net, "stage0")
    parts = [net, *layers_inside(net)]
    before = [part.trainable for part in parts], _trainable(net)
    with pytest.raises(ValueError, match=match):
        keras_pdenets.freeze(net, until, batchnorm=False)
    assert ([part.trainable for part in parts], _trainable(net)) == before
    with pytest.raises(ValueError, match=r"`model` must be a keras.Model\. Received: str"):
        keras_pdenets.freeze("pde_resnet50")


def test_what_keras_calls_its_insides():
    inner = layers.Dense(2, name="inner")
    inputs = keras.Input((3, 2))
    model = keras.Model(inputs, layers.TimeDistributed(inner, name="outer")(inputs))
    assert [part.name for part in layers_inside(model, deep=False)][-1] == "outer"
    assert inner in layers_inside(model)
    assert [layer.name for layer, *_ in nodes_of(model)][-1] == "outer"
    model.trainable = False
    assert [v.name for v in own_trainable(inner)] == ["kernel", "bias"]
    assert own_trainable(model) == []
