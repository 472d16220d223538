"""Batches made on the device are those of the host, and so are the steps of a training."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import fill
from test_batches import RECIPE

import keras_pdenets
from keras_pdenets.data import DataSource
from keras_pdenets.data.sources import source as sources
from keras_pdenets.training.models import compiled_model


def _pair(source, *change):
    return (source.batches(*change, on_device=on_device) for on_device in (False, True))


def _same(first, second):
    assert len(first) == len(second)
    for (images, labels), (found, found_labels) in zip(first, second, strict=True):
        found = keras.ops.convert_to_numpy(found)
        assert found.dtype == "float32"
        np.testing.assert_allclose(found, images, rtol=1e-5, atol=1e-3)  # of 255
        np.testing.assert_array_equal(found_labels, labels)


@pytest.mark.parametrize(("size", "flip", "crop"), [(None, True, 4), (14, True, 4), (None, 0, 0)])
def test_batches_of_grey_squares(size, flip, crop):
    host, device = _pair(DataSource("sample", "train"), 300, size, bool(flip), crop, 3)
    for epoch in (0, 1):
        host.set_epoch(epoch)
        device.set_epoch(epoch)
        _same(host, device)
    _same(*_pair(DataSource("sample", "train"), 300, size))  # the last is shorter


def test_batches_of_colour_in_sixteen_bits_that_are_cut_at_the_centre():
    images = np.random.default_rng(0).integers(0, 2**16, (7, 9, 12, 3), "uint16")
    source = sources.ArraySource("mine", images, np.arange(7), scale=1 / 257)
    _same(*_pair(keras_pdenets.data.ImageSet(source), 3, 6, True, 2, 1))


def test_the_losses_of_ten_steps():
    source = DataSource("sample", "train")
    losses = []
    for batches in _pair(source, RECIPE.batch_size, 14, True, 4, RECIPE.seed):
        model = fill(compiled_model(RECIPE, source))
        losses.append([float(model.train_on_batch(*batches[i])[0]) for i in range(10)])
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_a_run(tmp_path):
    logs = [
        keras_pdenets.train(dataclasses.replace(RECIPE, data_on=place), tmp_path / place, verbose=0)
        for place in ("host", "device")
    ]
    for first, second in zip(*logs, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-3)
        assert first["test_loss"] == pytest.approx(second["test_loss"], rel=1e-3)


@pytest.mark.once
def test_what_the_device_does_not_do_is_refused(monkeypatch):
    for change in ({"augmentations": ({"layer": "RandomInvert"},)}, {"crop": "area"}):
        with pytest.raises(ValueError, match="`data_on` must be 'host' with `augmentations`"):
            dataclasses.replace(RECIPE, data_on="device", **change)
    with pytest.raises(ValueError, match="`data_on` must be 'host' or 'device'"):
        dataclasses.replace(RECIPE, data_on="gpu")
    different = [np.zeros((side, 8, 1), "uint8") for side in (8, 9)]
    source = keras_pdenets.data.ImageSet(sources.ArraySource("mine", different, [0, 1]))
    with pytest.raises(ValueError, match="only where the images fit in memory and have one shape"):
        source.batches(1, 8, on_device=True)
