"""Keras' augmentation layers in a recipe: the same draws again, labels mixed, errors at once."""

import dataclasses

import numpy as np
import pytest
from test_training import RECIPE

import keras_pdenets
from keras_pdenets.data import load_sample
from keras_pdenets.data.keras_layers import Augmenter
from keras_pdenets.data.pipelines import ImageSet
from keras_pdenets.data.sources.arrays import from_arrays
from keras_pdenets.training import Phase

LAYERS = ({"layer": "RandomErasing", "factor": 1.0}, {"layer": "MixUp", "alpha": 0.4})


@pytest.fixture(scope="module")
def augment():
    return Augmenter(LAYERS, 10)


def _batches(augment, epoch=0):
    images, labels = load_sample()
    source = ImageSet(from_arrays(images[::25], labels[::25]))
    return source.batches(8, 14, True, 1, seed=3, epoch=epoch, augment=augment)


def test_draws_follow_from_seed_epoch_and_batch(augment):
    first, second = _batches(augment), _batches(augment)
    images, labels = first[1]
    _ = second[0]
    again, labels_again = second[1]
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, labels_again)
    assert images.dtype == "float32"
    np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-6)
    assert ((labels > 0).sum(-1) == 2).any()
    assert abs(images - first[2][0]).max() > 1
    assert abs(images - _batches(augment, 1)[1][0]).max() > 1


def test_parts_of_a_batch_are_those_of_the_whole(augment):
    whole = _batches(augment)[2]
    parts = [_batches(augment).part(rank, 2)[2] for rank in (0, 1)]
    for place in (0, 1):
        np.testing.assert_array_equal(np.concatenate([p[place] for p in parts]), whole[place])


def test_a_recipe_with_mixed_labels_learns(tmp_path):
    recipe = dataclasses.replace(
        RECIPE, stages=(Phase(1, 7),), warmup_epochs=0.0,
        augmentations=LAYERS, label_smoothing=0.1,
    )  # fmt: skip
    history = keras_pdenets.train(recipe, tmp_path / "run", verbose=0)
    assert history[-1]["test_loss"] < np.log(10)
    assert 0.1 < history[-1]["accuracy"] < 1
    written = type(recipe).from_file(tmp_path / "run" / "recipe.json")
    assert written.augmentations == recipe.augmentations


@pytest.mark.once
@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"layer": "RandomErasin"}], "the nearest are RandomErasing"),
        ([{"factor": 1}], "`augmentations` must be one of"),
        ([{"layer": "RandomErasing", "faktor": 1}], "RandomErasing takes .*faktor"),
        ([{"layer": "RandomContrast", "factor": 7.0}], "RandomContrast takes .*range"),
        ([{"layer": "RandomFlip", "seed": 1}], "must leave seed out"),
        ([{"layer": "RandomErasing", "factor": {"a": 1}}], "augmentations.factor. must be"),
        ([{"layer": "RandomFlip"}] * 21, "20 layers at most"),
        ("RandomFlip", "`augmentations` must be a list"),
    ],
)
def test_what_keras_lacks_is_refused_by_the_recipe(layers, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, augmentations=layers)


@pytest.mark.once
def test_a_layer_that_cannot_change_the_images_is_named_before_the_first_step(tmp_path):
    recipe = dataclasses.replace(RECIPE, augmentations=({"layer": "RandomHue", "factor": 0.5},))
    with pytest.raises(ValueError, match=r"keras.layers.RandomHue cannot change .*\(7, 7, 1\)"):
        keras_pdenets.train(recipe, tmp_path / "run", verbose=0)
