"""`keras_pdenets.train`: callbacks, data of one's own, and what is refused."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import BACKEND
from test_training import CHECKPOINT, RECIPE

import keras_pdenets
from keras_pdenets.cli.arguments import CALLBACKS
from keras_pdenets.data import load_sample
from keras_pdenets.training import Phase, RecoverFromDivergence
from keras_pdenets.training.callbacks.named import NAMED, named_callbacks
from keras_pdenets.training.models import build_model
from keras_pdenets.training.optimizers import make_optimizer

# An epoch has ten steps: where the backend takes several at once, callbacks see each half.
SHORT = dataclasses.replace(
    RECIPE, stages=(Phase(2, 7),), steps_per_execution=1 if BACKEND == "torch" else 5
)


class Spoil(keras.callbacks.Callback):
    """Makes the net useless once, in the middle of an epoch."""

    done = False

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 5 and not self.done:
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()
            for weight in self.model.trainable_variables:
                weight.assign(weight * np.float32("nan"))
            self.done = True


class Rates(keras.callbacks.Callback):
    """The learning rate in the middle of the last epoch, and the number of its step."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 4:
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()
            optimizer = self.model.optimizer
            self.step = int(keras.ops.convert_to_numpy(optimizer.iterations))
            self.rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))

    def on_epoch_end(self, epoch, logs=None):
        self.logs = logs


@pytest.mark.slow
def test_callbacks_see_the_measures_and_a_cut_rate_survives_a_stop(tmp_path):
    plain, after = Rates(), Rates()
    log = keras_pdenets.train(SHORT, tmp_path / "plain", verbose=0, callbacks=[plain])
    assert plain.logs["val_loss"] == log[-1]["test_loss"]
    recipe = dataclasses.replace(SHORT, preset="cut")

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    guard = RecoverFromDivergence(factor=0.5)
    callbacks = [Spoil(), guard, Stop()]
    keras_pdenets.train(recipe, tmp_path / "cut", verbose=0, callbacks=callbacks)
    assert guard.recoveries == 1
    again = [RecoverFromDivergence(factor=0.5), after]
    log = keras_pdenets.train(recipe, tmp_path / "cut", verbose=0, callbacks=again)
    assert [row["recoveries"] for row in log] == [1, 1]
    assert np.isfinite(log[-1]["loss"])
    schedule = make_optimizer(SHORT, build_model(CHECKPOINT), 10)._learning_rate
    for factor, rates in ((1.0, plain), (0.5, after)):
        whole = float(keras.ops.convert_to_numpy(schedule(rates.step)))
        assert rates.rate == pytest.approx(factor * whole, rel=1e-4)


@pytest.mark.once
def test_arrays_of_ones_own(tmp_path):
    images, labels = load_sample()
    pair = (images[:300], labels[:300]), (images[300:400], labels[300:400])
    one = dataclasses.replace(SHORT, stages=(Phase(1, 7),), warmup_epochs=0.0)
    log = keras_pdenets.train(one, tmp_path / "run", data=pair, verbose=0)
    assert len(log) == 1
    np.savez(tmp_path / "a.npz", x_train=pair[0][0], y_train=pair[0][1], x_test=pair[1][0],
             y_test=pair[1][1])  # fmt: skip
    again = keras_pdenets.train(one, tmp_path / "other", data=tmp_path / "a.npz", verbose=0)
    assert again[0]["loss"] == pytest.approx(log[0]["loss"], rel=1e-3)


@pytest.mark.once
def test_several_steps_at_once_are_refused_on_torch(tmp_path):
    with pytest.raises(ValueError, match="`steps_per_execution` of a recipe must be 1 on torch"):
        keras_pdenets.train(
            dataclasses.replace(SHORT, steps_per_execution=2), tmp_path / "run", verbose=0
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "images"}, "`data` must be a folder of images by class, an .npz.* Received"),
        ({"data": ((0, 0), (0, 0))}, "`images` must be numbers of shape"),
        ({"data": ((np.zeros((9, 8, 8, 3)), range(9)),) * 2}, r"images of 1 channel\(s\)"),
        ({"data": ((np.zeros((11, 8, 8)), range(11)),) * 2}, "at most the 10 classes of the net"),
        ({"data": ((np.zeros((9, 8, 8)), range(9)),) * 2}, "must be at most the 9 images"),
        ({"callbacks": [print]}, "`callbacks` must be Keras callbacks"),
    ],
)
def test_what_does_not_fit_is_refused(options, message, tmp_path):
    if options.get("data") == "images":
        options = {"data": 3}
    with pytest.raises(ValueError, match=message):
        keras_pdenets.train(SHORT, tmp_path / "run", verbose=0, **options)


@pytest.mark.once
def test_callbacks_by_name(tmp_path):
    assert tuple(sorted(NAMED)) == CALLBACKS
    found = named_callbacks(["csv", "early_stopping", "csv", "recover"], tmp_path / "run")
    assert len(found) == 3
    assert (tmp_path / "run").is_dir()
    with pytest.raises(ImportError, match=r"wandb.*keras-pdenets\[wandb\]"):
        named_callbacks(["wandb"], tmp_path)
    assert BACKEND == "torch"


@pytest.mark.once
def test_the_batch_that_fits_is_named_when_memory_is_short(tmp_path, monkeypatch):
    step = keras.Model.train_on_batch

    def limited(model, images, labels):
        if len(images) > 30:
            raise RuntimeError("CUDA out of memory. Tried to allocate 3.00 GiB")
        return step(model, images, labels)

    class Short(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

    monkeypatch.setattr(keras.Model, "train_on_batch", limited)
    message = r"batches of 100 images of shape \(7, 7, 1\): batch_size=25 fits \(tried\)"
    with pytest.raises(RuntimeError, match=message):
        keras_pdenets.train(SHORT, tmp_path / "run", verbose=0, callbacks=[Short()])
