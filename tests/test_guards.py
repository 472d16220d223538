"""Training that blows up, and weights that change slowly along the depth."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, build

from keras_pdenets.training import (
    RecoverFromDivergence,
    penalize_differences,
    skip_nonfinite,
    skipped_steps,
)

SMALL = {"num_blocks": 1, "filters": (8, 8, 8)}


class Batches(keras.utils.PyDataset):
    """Eight batches of a toy problem, the third of them spoilt the first time it is seen."""

    def __init__(self, spoilt=()):
        super().__init__()
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, 2, 64)
        self.images = rng.uniform(0, 100, (64, 8, 8, 1)).astype("float32")
        self.images[self.labels == 1, :4] += 120
        self.spoilt = set(spoilt)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        images = self.images[part].copy()
        if index in self.spoilt:
            self.spoilt.discard(index)
            images[0] = np.nan
        return images, self.labels[part]


def _fit(optimizer, spoilt=(), callbacks=(), epochs=3, name="hyperbolic_resnet20"):
    keras.utils.set_random_seed(0)
    model = build(name, side=8, channels=1, classes=2, config=SMALL)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=BACKEND == "jax")
    history = model.fit(
        Batches(spoilt), epochs=epochs, verbose=0, callbacks=list(callbacks), shuffle=False
    )
    return model, history.history["loss"]


def _finite(model):
    return all(np.isfinite(keras.ops.convert_to_numpy(v)).all() for v in model.variables)


@pytest.mark.slow
def test_a_nan_batch_is_survived():
    bare, losses = _fit(keras.optimizers.SGD(0.01), spoilt=[2])
    assert not _finite(bare)
    assert not np.isfinite(losses[-1])
    guard = RecoverFromDivergence(factor=0.25)
    model, losses = _fit(keras.optimizers.SGD(0.01), spoilt=[2], callbacks=[guard])
    assert guard.recoveries == 1
    assert _finite(model)
    assert losses[-1] < losses[0]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0025)


@pytest.mark.once
@pytest.mark.slow
def test_a_schedule_is_cut_too():
    schedule = keras.optimizers.schedules.PolynomialDecay(0.01, 1000, 0.01)
    guard = RecoverFromDivergence(factor=0.5)
    model, _ = _fit(keras.optimizers.SGD(schedule, momentum=0.9), [2, 4], [guard], epochs=2)
    assert guard.recoveries == 2
    assert _finite(model)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0025)


class Whole(keras.utils.PyDataset):
    """The toy problem in one batch: an epoch ends with every step."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        batches = Batches()
        return batches.images, batches.labels


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("data", [Batches, Whole])
def test_a_learning_rate_far_too_high_is_survived(data):
    keras.utils.set_random_seed(0)
    model = build("hyperbolic_resnet20", side=8, channels=1, classes=2, config=SMALL)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = 1e6
    model.compile(keras.optimizers.SGD(rate), loss, jit_compile=BACKEND == "jax")
    guard = RecoverFromDivergence(factor=1e-3, retries=5, explosion=3.0)
    model.fit(data(), epochs=24, verbose=0, callbacks=[guard], shuffle=False)
    assert 0 < guard.recoveries <= 5
    assert _finite(model)
    assert float(model.optimizer.learning_rate) < rate
    # it has learnt something: a guess has log 2
    assert model.evaluate(data(), verbose=0) < 0.65


def test_a_model_that_recovered_can_be_saved(tmp_path):
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 1000)
    guard = RecoverFromDivergence(factor=0.5)
    model, _ = _fit(keras.optimizers.SGD(schedule), [2], [guard], epochs=1)
    assert guard.recoveries == 1
    model.save(tmp_path / "m.keras", include_optimizer=True)
    config = keras.optimizers.serialize(model.optimizer)
    again = keras.optimizers.deserialize(config)
    assert float(again.learning_rate) == pytest.approx(0.005)


@pytest.mark.once
def test_a_rate_that_is_a_function_is_cut_too():
    guard = RecoverFromDivergence(factor=0.5)
    model, _ = _fit(keras.optimizers.SGD(lambda: 0.01), [2], [guard], epochs=2)
    assert guard.recoveries == 1
    assert float(model.optimizer.learning_rate) == pytest.approx(0.005)


class Always(Batches):
    """Every batch is spoilt."""

    def __getitem__(self, index):
        images, labels = super().__getitem__(index)
        return images * np.nan, labels


def test_it_gives_up_with_a_clear_message():
    model = build("hyperbolic_resnet20", side=8, channels=1, classes=2, config=SMALL)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=BACKEND == "jax")
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]
    with pytest.raises(ArithmeticError, match="diverged 3 times, the last time because the loss"):
        model.fit(Always(), verbose=0, callbacks=[RecoverFromDivergence(retries=2)])
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(variable))


def test_steps_with_infinite_gradients_are_skipped_and_counted():
    for optimizer in (keras.optimizers.SGD(1e-4), skip_nonfinite(keras.optimizers.SGD(1e-4))):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, jit_compile=BACKEND == "jax")
        before = np.array(keras.ops.convert_to_numpy(model.layers[-1].kernel))
        model.fit(Batches(spoilt=[2, 5]), verbose=0, shuffle=False)
        after = keras.ops.convert_to_numpy(model.layers[-1].kernel)
        guarded = hasattr(optimizer, "inner_optimizer")
        assert np.isfinite(after).all() == guarded
    assert np.abs(after - before).max() > 0
    assert skipped_steps(optimizer) == 2
    restored = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(restored) is type(optimizer)
    assert skipped_steps(restored) == 0


@pytest.mark.slow
def test_skipped_steps_outlive_many_and_a_recovery():
    optimizer = skip_nonfinite(keras.optimizers.SGD(1e-4))
    guard = RecoverFromDivergence(retries=3)
    model, _ = _fit(optimizer, spoilt=[2, 5], callbacks=[guard])
    assert guard.recoveries == 2
    assert skipped_steps(optimizer) == 2
    assert _finite(model)
    assert float(optimizer.dynamic_scale) == 1.0


class OwnStep(keras.Model):
    """A model whose own training step logs its loss under another name."""

    def train_step(self, *arguments):
        result = super().train_step(*arguments)
        if BACKEND == "jax":
            return {"energy": result[0]["loss"]}, result[1]
        return {"energy": result["loss"]}


def _fit_own_step(guard):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    model = OwnStep(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-6), loss, jit_compile=BACKEND == "jax")
    model.fit(Batches([2]), epochs=2, verbose=0, callbacks=[guard], shuffle=False)
    return model


def test_a_training_step_of_the_users_own_is_watched_by_the_name_that_it_logs():
    guard = RecoverFromDivergence(monitor="energy")
    assert _finite(_fit_own_step(guard))
    assert guard.recoveries == 1
    with pytest.raises(ValueError, match="monitor='loss'; logged: energy"):
        _fit_own_step(RecoverFromDivergence())


@pytest.mark.parametrize(
    "logs", [None, {}, {"loss": None}, {"loss": "low"}, {"loss": [1.0, 2.0]}, {"other": 1.0}]
)
def test_logs_without_the_loss_are_no_silence(logs):
    guard = RecoverFromDivergence()
    with pytest.raises(ValueError, match="`monitor` must be the name of a number"):
        guard.on_train_batch_end(0, logs)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"monitor": ""}, "`monitor` must be a name"),
        ({"monitor": None}, "`monitor` must be a name"),
        ({"factor": 1.0}, r"`factor` must be in \(0, 1\)"),
        ({"retries": 0}, "`retries` must be a positive integer"),
        ({"explosion": 0.5}, "`explosion` must be above 1"),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        RecoverFromDivergence(**arguments)


def _distance(model):
    kernels = [
        keras.ops.convert_to_numpy(model.get_layer(f"stage0_block{b}_conv0").kernel) for b in (0, 1)
    ]
    return float(np.sum((kernels[0] - kernels[1]) ** 2))


@pytest.mark.slow
def test_the_penalty_pulls_neighbours_together():
    found = {}
    for strength in (None, 10.0):
        keras.utils.set_random_seed(0)
        config = {"num_blocks": 2, "filters": (8, 8, 8)}
        model = build("preact_resnet20", side=8, channels=1, classes=2, config=config)
        if strength:
            penalize_differences(model, 7.0)  # the second call takes its place
            assert penalize_differences(model, strength) == 6
            expected = strength * sum(
                np.sum((values[0] - values[1]) ** 2)
                for stage in range(3)
                for conv in range(2)
                for values in [[
                    keras.ops.convert_to_numpy(
                        model.get_layer(f"stage{stage}_block{b}_conv{conv}").kernel
                    )
                    for b in (0, 1)
                ]]
            )  # fmt: skip
            found_loss = float(keras.ops.convert_to_numpy(sum(model.losses)))
            assert found_loss == pytest.approx(expected, rel=1e-4)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01), loss, jit_compile=BACKEND == "jax")
        model.fit(Batches(), epochs=2, verbose=0)
        found[strength] = _distance(model)
    assert found[10.0] < 0.1 * found[None]


def test_errors_of_the_penalty():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="must have neighbouring blocks"):
        penalize_differences(model)
    with pytest.raises(ValueError, match="`strength` must be positive"):
        penalize_differences(model, 0)
