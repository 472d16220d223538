"""A recipe and its seed give the same batches, and the same first steps, on every backend."""

import hashlib

import keras
import numpy as np
import pytest
from conftest import fill

from keras_pdenets.data import DataSource
from keras_pdenets.training import Phase, Recipe
from keras_pdenets.training.models import compiled_model

pytestmark = pytest.mark.golden

CHECKPOINT = {"architecture": "pde_preact_resnet20", "input_shape": [28, 28, 1], "classes": 10,
              "options": {"num_blocks": 1, "filters": [4, 8, 8]}, "mean": [72.9],
              "std": [90.0]}  # fmt: skip
RECIPE = Recipe("small", CHECKPOINT, "sample", (Phase(2, 14),), batch_size=64, seed=3,
                learning_rate=0.05, warmup_epochs=0.5)  # fmt: skip
# Of torch; test_sources.py and test_data.py look at what the batches hold.
DIGEST = "273bffd94060797cffd73730b9dd5faaa9e75ce81164b40f9a8468972adae751"
LOSSES = [2.263412, 2.302212, 2.313917, 2.285766, 2.328115, 2.316119, 2.382609, 2.305917, 2.401488,
          2.316009]  # fmt: skip


def _batches(epoch):
    source = DataSource(RECIPE.dataset, RECIPE.train_split)
    return source.batches(RECIPE.batch_size, 14, True, 4, RECIPE.seed, epoch)


def test_the_batches_of_two_epochs():
    digest = hashlib.sha256()
    for epoch in (0, 1):
        for images, labels in _batches(epoch):
            digest.update(np.rint(images * 64).astype("int32").tobytes() + labels.tobytes())
    assert digest.hexdigest() == DIGEST


def test_the_losses_of_ten_steps():
    model = fill(compiled_model(RECIPE, DataSource(RECIPE.dataset, RECIPE.train_split)))
    losses = [float(model.train_on_batch(*_batches(0)[i])[0]) for i in range(10)]
    np.testing.assert_allclose(losses, LOSSES, rtol=1e-4)
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 10
