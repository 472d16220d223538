"""Pixels in 0-1, and channels first by mistake: one warning each, and none without a reason."""

import warnings

import keras
import numpy as np
import pytest
from conftest import BACKEND, build

import keras_pdenets
from keras_pdenets import analysis, cli, transforms
from keras_pdenets.builders import Preprocessing
from keras_pdenets.data import sample
from keras_pdenets.training import Phase, Recipe, evaluate, train

SMALL = np.random.default_rng(0).random((6, 12, 12, 1), "float32")
LABELS = np.arange(6) % 10
UNKNOWN = {"classifier_activation": "softmax"}


def _count(caught):
    return sum(warning.category is UserWarning for warning in caught)  # not NumPy's


@pytest.fixture(scope="module")
def net():
    return build("preact_resnet20", 12, 1, config={"num_blocks": 1}, **UNKNOWN)


CALLS = {
    "measure_perturbation": lambda net, x: analysis.measure_perturbation(net, x),
    "batches": lambda net, x: analysis.measure_perturbation(net, iter([x[:1] * 0, x[1:]])),
    "suggest_depth": lambda net, x: analysis.suggest_depth(net, x, 0.1),
    "feature_variance": lambda net, x: analysis.feature_variance(net, x),
    "drop_blocks": lambda net, x: analysis.drop_blocks(net, x, LABELS),
    "trajectories": lambda net, x: analysis.trajectories(net, x),
    "resample": lambda net, x: transforms.resample(net, "double", x),
}


without_jax = pytest.mark.skipif(
    BACKEND == "jax", reason="compile time; nothing here depends on the backend"
)


@without_jax
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_pixels_of_0_to_1_are_warned_of_once(call, net):
    with pytest.warns(UserWarning, match=r"No pixel of the images is above 1 .*0\.99") as caught:
        call(net, SMALL)
    assert _count(caught) == 1
    call(net, 255 * SMALL)  # warnings are errors here


@without_jax
def test_a_net_without_preprocessing_is_not_warned_of():
    raw = build("preact_resnet20", 12, 1, config={"num_blocks": 1}, preprocessing=None, **UNKNOWN)
    small = Preprocessing((0.5,), (0.5,))
    own = build("preact_resnet20", 12, 1, config={"num_blocks": 1}, preprocessing=small, **UNKNOWN)
    image = keras.Input((12, 12, 1))
    nested = keras.Model(image, raw(image))
    for model in (raw, own, nested):
        analysis.measure_perturbation(model, SMALL)


def test_a_net_inside_another_is_warned_of(net):
    image = keras.Input((12, 12, 1))
    with pytest.warns(UserWarning, match="No pixel of the images is above 1"):
        analysis.measure_perturbation(keras.Model(image, net(image)), SMALL)


@pytest.fixture
def small_sample(monkeypatch):
    """The bundled sample with pixels of 0 and 1, wherever it is read."""
    images, labels = sample.load_sample()
    pixels = (images[:64] > 99).astype("uint8"), labels[:64]
    monkeypatch.setattr("keras_pdenets.data.pipelines.load_sample", lambda: pixels)


@without_jax
@pytest.mark.slow
def test_commands_warn(small_sample, tmp_path, capsys):
    small = r"No pixel of the images is above 1"
    net = build("preact_resnet20", 28, 1, config={"num_blocks": 1})
    net.save(tmp_path / "net.keras")
    with pytest.warns(UserWarning, match=small) as caught:
        assert cli.main(["dev", "measure", "--model", str(tmp_path / "net.keras")]) == 0
    assert _count(caught) == 1
    checkpoint = {"architecture": "preact_resnet20", "input_shape": [28, 28, 1], "classes": 10,
                  "options": {"num_blocks": 1}}  # fmt: skip
    recipe = Recipe("small", checkpoint, "sample", (Phase(1),), batch_size=64, warmup_epochs=0.0)
    with pytest.warns(UserWarning, match=small) as caught:
        train(recipe, tmp_path, verbose=0)
    assert _count(caught) == 1
    with pytest.warns(UserWarning, match=small) as caught:
        evaluate(recipe.checkpoint, tmp_path / "model.safetensors", "sample")
    assert _count(caught) == 1


@pytest.mark.parametrize(
    ("shape", "data_format"),
    [((3, 32, 32), "channels_last"), ((1, 28, 28), None), ((32, 32, 3), "channels_first"),
     ((28, 28, 1), "channels_first"), ((3, None, 64), "channels_last")],
)  # fmt: skip
def test_the_other_order_of_the_axes_is_warned_of_once(shape, data_format):
    if data_format == "channels_first" and BACKEND == "tensorflow":
        pytest.skip("TensorFlow has no channels-first convolutions on a CPU")
    other = "channels_last" if data_format == "channels_first" else "channels_first"
    with pytest.warns(UserWarning, match=f"reorder the axes or use .*{other}") as caught:
        keras_pdenets.PreActResNet20(
            weights=None, input_shape=shape, data_format=data_format, num_blocks=1
        )
    assert _count(caught) == 1
    assert any(f"{shape}" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (32, 32, 16), (4, 4, 64), (3, 3, 3)])
def test_images_in_their_order_are_not_warned_of(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras_pdenets.PreActResNet20(weights=None, input_shape=shape, num_blocks=1)
