"""Golden logits, and the layer that is named where they differ."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill
from safetensors.numpy import load_file, save_file

import keras_pdenets
from keras_pdenets.analysis.fingerprint import fingerprint
from keras_pdenets.analysis.verification import record_golden, verify
from keras_pdenets.hub.digests import sha256_of
from keras_pdenets.hub.files import write_weights
from keras_pdenets.hub.golden import GOLDEN_FILE, find_golden, read_golden, write_golden
from keras_pdenets.presets import Checkpoint

once = pytest.mark.skipif(BACKEND != "torch", reason="does not depend on the backend")
PRESET = "pde_resnet20_fashion_mnist"
CHECKPOINT = Checkpoint("pde_preact_resnet20", (16, 16, 1), 10, {"num_blocks": 1}, (70.0,), (90.0,))


@pytest.fixture(scope="module")
def net():
    return keras_pdenets.PDEPreActResNet20(weights=PRESET)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small net of one's own: weight file, golden file."""
    folder = tmp_path_factory.mktemp("own")
    model = fill(build("pde_preact_resnet20", channels=1, config={"num_blocks": 1}))
    write_weights(model, folder / "model.safetensors", CHECKPOINT)
    model = keras_pdenets.PDEPreActResNet20(weights=folder)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1))
    write_golden(record_golden(model, images), folder / GOLDEN_FILE)
    return folder


def _values(weight):
    return np.array(keras.ops.convert_to_numpy(weight))


def test_it_agrees_on_this_backend(net):
    report = verify(net)
    assert report.agrees
    assert report.layers == len(net.layers) - 1
    # Measured: 5e-6 and 1.2e-6 at most, over 7 checkpoints and 3 backends.
    assert report.largest < 2e-5
    assert report.logits < 1e-5
    assert str(report).endswith("as published")


@pytest.mark.parametrize(
    ("layer", "weight"),
    [("stem_conv", "kernel"), ("stage1_block1_bn1", "gamma"), ("classifier", "kernel")],
)
def test_one_changed_weight_names_its_layer(net, layer, weight):
    found = next(w for w in net.get_layer(layer).weights if w.name == weight)
    before = _values(found)
    after = before.copy()
    after.flat[before.size // 2] += 1e-2
    found.assign(after)
    report = verify(net)
    found.assign(before)
    assert not report.agrees
    assert report.first == layer
    assert weight in report.weights
    assert f"The first layer that differs is {layer}" in str(report)


def test_swapped_gamma_and_beta_are_found(net):
    norm = net.get_layer("stage2_block0_bn1")
    gamma, beta = _values(norm.gamma), _values(norm.beta)
    norm.gamma.assign(beta)
    norm.beta.assign(gamma)
    report = verify(net)
    norm.gamma.assign(gamma)
    norm.beta.assign(beta)
    assert report.first == "stage2_block0_bn1"
    assert not report.logits <= report.tolerance


@once
def test_nan_is_a_difference(net):
    found = net.get_layer("stage0_block0_bn0").beta
    before = _values(found)
    found.assign(np.full_like(before, np.nan))
    report = verify(net)
    found.assign(before)
    assert report.first == "stage0_block0_bn0"
    assert not report.agrees


@once
@pytest.mark.parametrize("name", keras_pdenets.list_presets())
def test_the_shipped_golden_files(name):
    preset = keras_pdenets.get_preset(name)
    path = find_golden(name)
    assert (sha256_of(path), path.stat().st_size) == (
        preset.golden["sha256"],
        preset.golden["size"],
    )
    assert path.stat().st_size < 150_000
    assert verify(name).agrees


@once
def test_other_forms_of_the_same_net(net):
    first = keras_pdenets.PDEPreActResNet20(
        weights=PRESET, data_format="channels_first", classifier_activation=None
    )
    assert verify(first).agrees
    head = keras_pdenets.PDEPreActResNet20(weights=PRESET, classes=7)
    report = verify(head)
    assert report.agrees
    assert report.logits is None
    assert "no logits" in str(report)
    half = keras_pdenets.PDEPreActResNet20(weights=PRESET, dtype="mixed_bfloat16")
    with pytest.raises(ValueError, match="`tolerance` must be given for a net in half precision"):
        verify(half)
    assert verify(half, tolerance=0.1).agrees
    assert not verify(half, tolerance=1e-4).agrees


@once
def test_weights_of_ones_own(folder):
    model = keras_pdenets.PDEPreActResNet20(weights=folder / "model.safetensors")
    for weights in (folder, str(folder / "model.safetensors"), model):
        assert verify(weights).agrees
    untrained = keras_pdenets.PDEPreActResNet20(weights=None, input_shape=(16, 16, 1), classes=10)
    with pytest.raises(ValueError, match="`golden` must be given for a model that no builder"):
        verify(untrained)
    for golden in (folder, folder / GOLDEN_FILE):
        report = verify(untrained, golden)
        assert report.first == "preprocessing"
    # The name of a preset and the file of another.
    assert verify(PRESET, find_golden("resnet20_fashion_mnist")).first == "stem_conv"


@once
def test_what_cannot_be_compared(folder, net):
    options = {"weights": folder, "input_shape": (16, 16, 3)}
    with pytest.raises(ValueError, match=r"`model` must take images of shape \(16, 16, 1\)"):
        verify(keras_pdenets.PDEPreActResNet20(**options))
    with pytest.raises(ValueError, match="`model` must normalise pixels itself"):
        verify(keras_pdenets.PDEPreActResNet20(weights=folder, include_preprocessing=False))
    with pytest.raises(ValueError, match=r"it has 4 of its 71 layers"):
        verify(keras_pdenets.PlainNet20(weights="plain_net20_fashion_mnist"), PRESET)
    with pytest.raises(ValueError, match="nearest are"):
        verify("pde_resnet20")
    with pytest.raises(keras_pdenets.WeightsError, match=r"no weight file .*golden\.safetensors"):
        verify(net, folder.parent)


@once
def test_golden_files_that_are_none(folder, tmp_path):
    golden = read_golden(folder / GOLDEN_FILE)
    with pytest.raises(keras_pdenets.WeightsError, match="is no golden file"):
        read_golden(folder / "model.safetensors")
    bad = tmp_path / GOLDEN_FILE
    write_golden(dataclasses.replace(golden, layers=golden.layers[1:]), bad)
    with pytest.raises(keras_pdenets.WeightsError, match="contradicts itself"):
        read_golden(bad)
    for text in ("[1]", '{"layers": [1]}', "{", '{"layers": 3}'):
        save_file(load_file(folder / GOLDEN_FILE), bad, metadata={"keras_pdenets_golden": text})
        with pytest.raises(keras_pdenets.WeightsError, match="is no golden file"):
            read_golden(bad)


@once
def test_signs_are_the_same_for_ever():
    numbers = fingerprint(np.arange(1, 6))
    wanted = np.array([11.0, *fingerprint(np.arange(1, 6))[1:] ** 2]) ** 0.5
    np.testing.assert_allclose(np.abs(numbers), wanted)
    assert (np.round(numbers[1:] * 5**0.5) % 2 == 1).all()
    # Eight sums that change by the same amount each would be one.
    assert len(set(np.round(numbers[1:], 6))) > 3
