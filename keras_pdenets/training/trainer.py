"""The training run of a recipe: `fit`, epoch by epoch, with the state on disk after each."""

import contextlib
import time
from pathlib import Path

import keras

from keras_pdenets.builders.pixels import warn_of_small_pixels
from keras_pdenets.data import DataSource
from keras_pdenets.hub.files import load_opened, load_weights, read_checkpoint, write_weights
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.training import state
from keras_pdenets.training.distributed.devices import use_devices
from keras_pdenets.training.models import build_model, compiled_model
from keras_pdenets.transforms import deepen
from keras_pdenets.utils.locking import locked
from keras_pdenets.utils.tables import write_rows

STATE, LOG, WEIGHTS, RECIPE = "state.safetensors", "log.csv", "model.safetensors", "recipe.json"


class _Capture(keras.callbacks.Callback):
    """Takes the state at the end of the epoch, before `fit` puts averaged weights in its place."""

    values = None

    def __init__(self, group):
        super().__init__()
        self._group = group

    def on_epoch_end(self, epoch, logs=None):
        self._group.merge(self.model)
        self.values = state.capture(self.model)


def train(recipe, folder, limit_minutes=None, data_dir=None, verbose="auto", devices=None):
    """Run a recipe, or resume it where it stopped.

    Into `folder` go, after every epoch, each written atomically: `state.safetensors` (all
    variables), `log.csv`; at the end `model.safetensors`. A run that was killed at any moment and
    started again repeats the epoch that it was in, with the same batches. One process at a time
    works in a folder.

    With several devices each takes its part of every batch, and the steps are those of one device
    up to rounding, except for batch norm: on TensorFlow and torch it sees the part alone, and its
    averages are averaged over the devices. A run may go on with another number of devices.

    Args:
        recipe: A `Recipe`.
        folder: Folder of this run.
        limit_minutes: Stop before an epoch that would end after this time.
        data_dir: Folder of TFDS.
        verbose: As in `keras.Model.fit`.
        devices: None: one device, as Keras chooses it. A number or `"all"`: of the accelerators.
            `"gpu:2"`: of this kind. `"cpu:2"`: the CPU as two devices, for tests. Several
            machines: torch, through `torchrun` and with `"all"`; the first process writes.

    Returns:
        The log: a list of one dictionary for each epoch.

    Raises:
        ValueError: If there are not so many devices, or they cannot share a batch evenly.
        InUseError: If another process trains in the folder now (a `RuntimeError`).
        WeightsError: If the folder holds a run of another recipe, or its state is damaged.
    """
    started = time.monotonic()
    others = {"recipe": recipe, "folder": folder, "limit_minutes": limit_minutes}
    others |= {"data_dir": data_dir, "verbose": 0, "devices": devices}
    with use_devices(devices, (train, others)) as group:
        if recipe.batch_size % group.size:
            raise ValueError(
                "`batch_size` of a recipe must be divisible by the number of devices. Received: "
                f"batch_size={recipe.batch_size}, devices={devices!r}, which are {group.size}"
            )
        folder = Path(folder)
        # The first process of a group writes; the others may be on machines without the folder.
        with locked(folder) if group.first else contextlib.nullcontext():
            return _train(recipe, folder, started, limit_minutes, data_dir, verbose, group)


def _train(recipe, folder, started, limit_minutes, data_dir, verbose, group):
    """The run, as one of the processes of a group."""
    keras.utils.set_random_seed(recipe.seed)
    source = DataSource(recipe.dataset, recipe.train_split, data_dir)
    test = DataSource(recipe.dataset, recipe.log_split, data_dir)
    with group.scope():
        model = compiled_model(recipe, source)
    if group.first:
        warn_of_small_pixels(model, _some_images(source, recipe.image_size(0)))
    group.average_gradients(model.optimizer)
    history = group.share(_resume(model, recipe, folder) if group.first else None)
    group.start_alike(model)
    while len(history) < recipe.epochs:
        expected = time.monotonic() - started + _expected_seconds(recipe, history)
        if group.share(limit_minutes is not None and expected > 60 * limit_minutes):
            return history
        shown = verbose if group.first else 0
        values, row = _epoch(model, recipe, source, test, len(history), shown, group)
        history.append(row)
        if group.first:
            state.write_state(folder / STATE, values, history, recipe)
            write_rows(folder / LOG, history)
        if recipe.ema and len(history) < recipe.epochs:
            state.restore(model, values)
    if group.first:
        write_weights(model, folder / WEIGHTS, recipe.checkpoint)
    return history


def _some_images(source, size):
    """The first images of a data set, as the net gets them."""
    return source.batches(64, size)[0][0]


def _resume(model, recipe, folder):
    """Bring a model to where its run stopped, or to where it begins; return the log."""
    history = []
    if (folder / STATE).exists():
        values, history, _ = state.read_state(folder / STATE, recipe)
        state.restore(model, values)
        write_rows(folder / LOG, history)
        if recipe.ema and len(history) == recipe.epochs:
            # The state holds the weights themselves; what ships is their average.
            model.optimizer.finalize_variable_values(model.trainable_variables)
    elif recipe.start is not None:
        _start(model, recipe.start)
    recipe.write(folder / RECIPE)
    return history


def _start(model, start):
    """Give a model the weights of a trained one that it can be deepened from."""
    with WeightsSource.parse(start).resolve() as file:
        source = build_model(read_checkpoint(file))
        load_opened(source, file)
    deepen(source, model)


def _epoch(model, recipe, source, test, epoch, verbose, group):
    """Train one epoch; return the captured state and the row of the log."""
    begin = time.monotonic()
    size = recipe.image_size(epoch)
    batches = source.batches(recipe.batch_size, size, recipe.flip, recipe.crop, recipe.seed, epoch)
    capture = _Capture(group)
    fitted = model.fit(
        group.split(batches),
        initial_epoch=epoch,
        epochs=epoch + 1,
        shuffle=False,  # the pipeline does that, by seed
        callbacks=[capture],
        verbose=verbose,
    )
    logs = group.mean({key: values[-1] for key, values in fitted.history.items()})
    with group.alone():
        evaluated = group.to_evaluate(model, lambda: compiled_model(recipe, source))
        measured = evaluated.evaluate(test.batches(500, size), verbose=0, return_dict=True)
    row = {"epoch": epoch + 1, "image_size": size or source.image_shape[0]}
    row |= logs | {f"test_{key}": value for key, value in measured.items()}
    return capture.values, group.share(row | {"seconds": round(time.monotonic() - begin, 2)})


def _expected_seconds(recipe, history):
    """Length of the next epoch: as the last one, in proportion to the pixels."""
    if not history:
        return 0.0
    last = history[-1]
    size = recipe.image_size(len(history)) or max(recipe.checkpoint.input_shape[:2])
    before = recipe.image_size(len(history) - 1) or max(recipe.checkpoint.input_shape[:2])
    return last["seconds"] * max(1.0, size / before) ** 2


def evaluate(checkpoint, weights, dataset, split="test", data_dir=None):
    """Accuracy of a weight file on a split of a data set.

    Args:
        checkpoint: The `Checkpoint` that the file belongs to; images of other sides than its
            `input_shape` are brought to them.
        weights: The weight file.
        dataset: TFDS name, or `"sample"` for the bundled sample.
        split: Split in TFDS's notation.
        data_dir: Folder of TFDS.

    Returns:
        Dictionary with `accuracy` (percent), `loss` and `images`.
    """
    model = build_model(checkpoint)
    load_weights(model, weights)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
    )
    source = DataSource(dataset, split, data_dir)
    sides = tuple(checkpoint.input_shape[:2])
    size = None if sides == source.image_shape[:2] else sides[0]
    warn_of_small_pixels(model, _some_images(source, size))
    result = model.evaluate(source.batches(500, size), verbose=0, return_dict=True)
    accuracy = 100.0 * result["accuracy"]
    return {"accuracy": accuracy, "loss": result["loss"], "images": source.num_examples}
