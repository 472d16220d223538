"""Names of variables in files: below the net's own root, without the user's own layers."""

import keras
import numpy as np
import pytest
from conftest import fill
from safetensors.numpy import load_file

import keras_pdenets
from keras_pdenets.analysis.fingerprint import weight_digests
from keras_pdenets.analysis.verification import record_golden, verify
from keras_pdenets.hub.files import load_weights, write_weights
from keras_pdenets.hub.golden import GOLDEN_FILE, write_golden
from keras_pdenets.hub.variable_names import own_paths, own_variables
from keras_pdenets.presets import Checkpoint
from keras_pdenets.training import penalize_differences
from keras_pdenets.transforms import deepen

NET = {"input_shape": (8, 8, 1), "classes": 3, "num_blocks": 1}
CHECKPOINT = Checkpoint("pde_preact_resnet20", (8, 8, 1), 3, {"num_blocks": 1}, (70.0,), (90.0,))


def _net(weights=None, **options):
    return keras_pdenets.PDEPreActResNet20(weights=weights, **{**NET, **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weight file and golden file of a net."""
    folder = tmp_path_factory.mktemp("names")
    write_weights(fill(_net()), folder / "model.safetensors", CHECKPOINT)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1))
    write_golden(record_golden(_net(folder), images), folder / GOLDEN_FILE)
    return folder


class _Encoder(keras.layers.Layer):
    """A layer that builds a pretrained net in its `build`."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def build(self, shape):
        self.net = _net(self.folder, include_top=False, pooling="avg")

    def call(self, x):
        return self.net(x)


class _Classifier(keras.Model):
    """A subclassed model that does."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def build(self, shape):
        self.net = _net(self.folder)
        self.built = True

    def call(self, x):
        return self.net(x)


def _same(model, folder):
    wanted = load_file(folder / "model.safetensors")
    found = own_variables(model)
    assert found.keys() <= wanted.keys()
    assert "stem_conv/kernel" in found
    for name, variable in found.items():
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), wanted[name])


@pytest.mark.parametrize("kind", [_Encoder, _Classifier])
def test_a_net_is_loaded_inside_a_build(kind, folder):
    outer = kind(folder)
    outer(np.zeros((2, 8, 8, 1), "float32"))
    assert outer.net.weights[0].path != "stem_conv/kernel"
    _same(outer.net, folder)
    if kind is _Classifier:
        assert verify(outer.net, folder).agrees


def test_a_net_is_loaded_and_written_inside_scopes(folder, tmp_path):
    with keras.name_scope("teacher"), keras.name_scope("first"):
        net = _net(folder)
    assert net.weights[0].path == "teacher/first/stem_conv/kernel"
    _same(net, folder)
    report = verify(net)
    assert report.agrees
    assert report.weights == len(net.weights)
    assert weight_digests(net) == weight_digests(_net(folder))
    write_weights(net, tmp_path / "w.safetensors", CHECKPOINT)
    _same(_net(tmp_path / "w.safetensors"), folder)
    with keras.name_scope("other"):
        new = _net(folder, classes=5)
    assert new.load_report.initialised == ["classifier/kernel", "classifier/bias"]


def test_a_scope_hides_nothing_from_growth_and_penalty():
    deep = {"num_blocks": 2, "zero_start": True, "stochastic_depth": 0.2}
    with keras.name_scope("teacher"):
        small, large = _net(zero_start=True, dropout=0.1), _net(**deep)
        assert penalize_differences(large) == 6
    assert deepen(small, large) == [f"stage{stage}_block1" for stage in range(3)]
    with pytest.raises(ValueError, match="must hold one net each"):
        deepen(_pair(), _pair())


def _own_layers(kind):
    inputs = keras.Input((8, 8, 1))
    # Its offset moves no pixel: the start of a norm is the identity.
    layer = keras.layers.BatchNormalization(epsilon=0.0) if kind == "norm" else None
    return (layer or keras.layers.Conv2D(1, 1, name="mine"))(inputs)


@pytest.mark.parametrize("kind", ["norm", "conv"])
def test_the_users_own_layers_are_no_part_of_the_checkpoint(kind, folder, tmp_path):
    net = _net(folder, input_shape=None, input_tensor=_own_layers(kind))
    _same(net, folder)
    assert len(net.weights) > len(own_variables(net)) == len(net.load_report.loaded)
    write_weights(net, tmp_path / "w.safetensors", CHECKPOINT)
    _same(_net(tmp_path / "w.safetensors"), folder)
    report = verify(net)  # from the net's own input on, whatever comes before
    assert report.agrees, report
    assert report.weights == len(own_variables(net))


def _pair():
    first, second = _net(name="a"), _net(name="b")
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, keras.layers.Average()([first(inputs), second(inputs)]))


def test_two_nets_in_one_model_are_refused(folder, tmp_path):
    pair, path = _pair(), tmp_path / "pair.safetensors"
    for use in (
        lambda: write_weights(pair, path, CHECKPOINT),
        lambda: load_weights(pair, folder / "model.safetensors"),
        lambda: weight_digests(pair),
        lambda: verify(pair, folder),
    ):
        with pytest.raises(
            keras_pdenets.WeightsError, match="two variables named stem_conv/kernel"
        ):
            use()
    assert not path.exists()
    assert len(own_paths(pair, pair.weights)) == len(pair.weights)


def test_two_nets_in_scopes_of_their_own_are_told_apart(tmp_path):
    nets = []
    for name in ("a", "b"):
        with keras.name_scope(name):
            nets.append(_net(name=name))
    inputs = keras.Input((8, 8, 1))
    pair = keras.Model(inputs, keras.layers.Average()([net(inputs) for net in nets]))
    assert {"a/stem_conv/kernel", "b/stem_conv/kernel"} <= own_variables(pair).keys()
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in pair.weights]
    write_weights(pair, tmp_path / "pair.safetensors", CHECKPOINT)
    for variable in pair.weights:
        variable.assign(np.zeros(variable.shape, "float32"))
    load_weights(pair, tmp_path / "pair.safetensors")
    for value, variable in zip(before, pair.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
