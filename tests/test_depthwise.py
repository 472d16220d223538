"""Depthwise convolutions as sums of shifted images, whichever form this backend takes."""

import importlib

import keras
import numpy as np
import pytest
from conftest import BACKEND, DATA_FORMATS, to_format

from keras_pdenets.layers.depthwise import shifted_conv, shifts_are_faster
from keras_pdenets.transforms import fold
from keras_pdenets.transforms.fusion.forms import FORMS

RNG = np.random.default_rng(0)
SIZES = pytest.mark.parametrize("strides", [1, 2])


def test_the_form_is_that_of_the_backend_and_device(monkeypatch):
    if BACKEND == "jax":
        on_cpu = importlib.import_module("jax").default_backend() == "cpu"
        assert shifts_are_faster() == on_cpu
    for found, faster in ((["cpu:0", "cpu:1"], BACKEND == "jax"), (["gpu:0"], False)):
        monkeypatch.setattr(keras.distribution, "list_devices", lambda found=found: found)
        assert shifts_are_faster() == faster


@SIZES
@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_forms_agree(strides, data_format, dtype):
    images = to_format(RNG.normal(size=(2, 9, 7, 4)).astype("float32"), data_format)
    images = keras.ops.cast(images, dtype)
    kernel = keras.ops.cast(RNG.normal(size=(3, 3, 4, 2)), dtype)
    wide = keras.ops.cast(kernel, "float32")
    shifted = shifted_conv(images, wide, (strides, strides), data_format)
    conv = keras.ops.depthwise_conv(images, kernel, strides, "valid", data_format)
    shifted, conv = (np.asarray(keras.ops.cast(y, "float32")) for y in (shifted, conv))
    np.testing.assert_allclose(shifted, conv, atol=1e-5 if dtype == "float32" else 0.2)


@SIZES
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.slow
def test_folded_nets_have_any_form(form, strides, padding, data_format, monkeypatch, tmp_path):
    if form == "torch" and BACKEND == "tensorflow":
        pytest.skip("TensorFlow has no channels_first on a CPU")
    # `transforms.fold` is the function; its module has the same name.
    module = importlib.import_module("keras_pdenets.transforms.fold")
    monkeypatch.setattr(module, "form_here", lambda: form)
    images = to_format(RNG.normal(size=(2, 13, 12, 5)).astype("float32"), data_format)
    inputs = keras.Input(images.shape[1:])
    layer = keras.layers.DepthwiseConv2D(
        (3, 5), strides, padding, 2, data_format=data_format, bias_initializer="uniform", name="d"
    )
    net = keras.Model(inputs, layer(inputs))
    folded, report = fold(net, data=images)
    assert report.difference < 1e-5
    assert report.parameters == (160, 160)  # 3 x 5 x 5 x 2 + 10, constants or not
    formats = {part.name: getattr(part, "data_format", None) for part in folded.layers}
    assert ("d" in formats) == (form == "torch")
    assert formats.get("d", "channels_first") == "channels_first"
    folded.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    assert np.abs(again.predict(images, verbose=0) - net.predict(images, verbose=0)).max() < 1e-5
    portable, report = fold(net, portable=True, data=images)
    assert "d" in [part.name for part in portable.layers]
    assert report.difference < 1e-5
