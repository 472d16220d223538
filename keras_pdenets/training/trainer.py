"""The training run of a recipe: one `fit` for a phase, the state on disk after each epoch."""

import contextlib
import time
from pathlib import Path

import keras

from keras_pdenets.builders.pixels import warn_of_small_pixels
from keras_pdenets.data import DataSource
from keras_pdenets.data.opening import check_fits, open_data, open_test
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.files import load_weights, write_weights
from keras_pdenets.training import state
from keras_pdenets.training.distributed.devices import use_devices
from keras_pdenets.training.memory import name_the_batch_that_fits
from keras_pdenets.training.models import build_model
from keras_pdenets.training.phases import Measure, Record, Run, guards_of
from keras_pdenets.training.recipe_files import as_recipe
from keras_pdenets.training.starting import start_from
from keras_pdenets.transforms import respace
from keras_pdenets.utils.locking import locked
from keras_pdenets.utils.tables import write_rows
from keras_pdenets.utils.text import shown

STATE, LOG, WEIGHTS, RECIPE = "state.safetensors", "log.csv", "model.safetensors", "recipe.json"


def train(
    recipe,
    folder=None,
    limit_minutes=None,
    data_dir=None,
    verbose="auto",
    devices=None,
    data=None,
    callbacks=(),
    unreadable="error",
    start_folder=None,
):
    """Run a recipe, or resume it where it stopped.

    Into `folder` go, after every epoch, each written atomically: `state.safetensors` (all
    variables), `log.csv`; at the end (or, where the recipe keeps the best epoch, after each that is
    it) `model.safetensors`. A run that was killed at any moment and
    started again repeats the epoch that it was in, with the same batches. One process at a time
    works in a folder.

    With several devices each takes its part of every batch, and the steps are those of one device
    up to rounding, except for batch norm: on TensorFlow and torch it sees the part alone, and its
    averages are averaged over the devices. A run may go on with another number of devices.

    Args:
        recipe: A `Recipe`; or the name of a preset with a recipe in this checkout, or the path of a
            recipe file.
        folder: Folder of this run; None: `runs/` and the recipe's `preset`.
        limit_minutes: Stop before an epoch that would end after this time.
        data_dir: Folder of TFDS.
        verbose: As in `keras.Model.fit`.
        devices: None: one device, as Keras chooses it. A number or `"all"`: of the accelerators.
            `"gpu:2"`: of this kind. `"cpu:2"`: the CPU as two devices, for tests. Several
            machines, with `"all"`: torch through `torchrun`, JAX with Keras' variables
            KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID; the first process
            writes.
        data: None: the recipe's data set. A folder with one folder of images for each class, or
            with `train` and `test` that have these; an `.npz` file; or two pairs of arrays,
            `((images, labels), (test_images, test_labels))`, or two `data.ImageSet`s.
        callbacks: Keras callbacks. They see the measures on the recipe's `log_split` as `val_loss`
            and `val_accuracy`. Their own state does not outlast a kill, but for the rate that
            `RecoverFromDivergence` has cut. Where one ends the training, the net is written as it
            is then, and another call goes on.
        unreadable: `"skip"`: leave out files of a folder that cannot be read.
        start_folder: Folder that the path in the recipe's `start` counts from, which may be another
            when the run goes on; None: the working folder.

    Returns:
        The log: a list of one dictionary for each epoch.

    Raises:
        ValueError: If there are not so many devices, or they cannot share a batch evenly; if the
            data do not fit the net; if the recipe wants several steps at once on torch.
        RuntimeError: If the device has too little memory; the message names a batch that fits. If
            another process of the run has ended.
        InUseError: If another process trains in the folder now (a `RuntimeError`).
        WeightsError: If the folder holds a run of another recipe, or its state is damaged.

    Example:
    >>> import tempfile
    >>> import keras_pdenets
    >>> net = {"architecture": "preact_resnet20", "options": {"num_blocks": 1}}
    >>> net |= {"input_shape": (28, 28, 1), "classes": 10}
    >>> phases = ({"epochs": 1, "image_size": 7},)
    >>> recipe = keras_pdenets.training.Recipe("mine", net, "sample", phases, warmup_epochs=0.0)
    >>> log = keras_pdenets.train(recipe, tempfile.mkdtemp(), verbose=0)
    >>> sorted(log[0])
    ['accuracy', 'epoch', 'image_size', 'loss', 'seconds', 'test_accuracy', 'test_loss']
    """
    started = time.monotonic()
    recipe = as_recipe(recipe)
    folder = Path("runs", recipe.preset) if folder is None else Path(folder)
    _check_callbacks(callbacks, devices)
    _check_steps(recipe.steps_per_execution)
    others = {"recipe": recipe, "folder": folder, "limit_minutes": limit_minutes}
    others |= {"data_dir": data_dir, "verbose": 0, "devices": devices}
    others |= {"data": data, "unreadable": unreadable, "start_folder": start_folder}
    start = recipe.start
    if start is not None and start_folder is not None:
        start = Path(start_folder, start)
    with use_devices(devices, (train, others)) as group:
        if recipe.batch_size % group.size:
            raise ValueError(
                "`batch_size` of a recipe must be divisible by the number of devices. Received: "
                f"batch_size={recipe.batch_size}, devices={devices!r}, which are {group.size}"
            )
        # The first process of a group writes; the others may be on machines without the folder.
        with locked(folder) if group.first else contextlib.nullcontext():
            sources = _open_data(recipe, data, data_dir, unreadable)
            paths = (folder / STATE, folder / LOG, folder / WEIGHTS)
            run = Run(recipe, group, sources, paths, limit_minutes, started)
            return _train(run, folder, start, callbacks, verbose if group.first else 0)


def _check_callbacks(callbacks, devices):
    wrong = [c for c in callbacks if not isinstance(c, keras.callbacks.Callback)]
    if wrong or (callbacks and devices is not None and keras.backend.backend() == "torch"):
        rule = "be Keras callbacks" if wrong else "be left out with devices= on torch"
        raise ValueError(f"`callbacks` must {rule}. Received: {shown(wrong or callbacks)}")


def _check_steps(steps):
    if steps > 1 and keras.backend.backend() == "torch":
        raise ValueError(
            "`steps_per_execution` of a recipe must be 1 on torch, where Keras takes one step at a "
            f"time. Received: steps_per_execution={steps}"
        )


def _open_data(recipe, data, data_dir, unreadable):
    """The images to train on and those to measure on, which must fit the net."""
    if data is None:
        splits = (recipe.train_split, recipe.log_split)
        return [DataSource(recipe.dataset, split, data_dir) for split in splits]
    sources = open_data(data, recipe.checkpoint.input_shape[-1], unreadable)
    for source in sources:
        check_fits(source, recipe.checkpoint.input_shape[-1], recipe.checkpoint.classes)
    return sources


def _train(run, folder, start, callbacks, verbose):
    """The run, as one of the processes of a group."""
    recipe, group = run.recipe, run.group
    keras.utils.set_random_seed(recipe.seed)
    if run.source.num_examples < recipe.batch_size:
        raise ValueError(
            f"`batch_size` must be at most the {run.source.num_examples} images to train on. "
            f"Received: batch_size={recipe.batch_size}"
        )
    with group.scope():
        model = run.build()
    if group.first:
        warn_of_small_pixels(model, _some_images(run.source, recipe.image_size(0)))
    group.average_gradients(model.optimizer)
    history = run.history = group.begin(
        model, run.build, lambda which: _resume(which, recipe, folder, start)
    )
    run.guards = guards_of(callbacks, model, history)
    run.stopped = run.must_stop()
    while len(history) < recipe.epochs and not run.stopped:
        epochs = run.end_of_phase()
        _fit_phase(model, run, epochs, callbacks, verbose)
        if recipe.ema and len(history) < recipe.epochs:
            state.restore(model, run.values)
        if len(history) < epochs:  # a callback has ended it
            break
    if group.first and not run.stopped:
        _finish(model, run)
    return history


def _finish(model, run):
    """Write the weights of the last epoch; those of the best are there."""
    if run.recipe.keep == "last":
        write_weights(model, run.weights, run.recipe.checkpoint)
    elif not run.weights.is_file():
        raise WeightsError(
            f"{run.weights}, the weights of the best epoch, is gone. Put it back, or remove "
            f"{run.paths[0]} to start the run again."
        )


def _fit_phase(model, run, epochs, callbacks, verbose):
    """Train to the end of a phase, in one `fit`."""
    recipe, source, first = run.recipe, run.source, len(run.history)
    size = recipe.image_size(first)
    if recipe.respace and first:
        _respace(model, source, size, recipe.image_size(first - 1))
    on_device = recipe.data_on == "device"
    change = (recipe.flip, recipe.crop, recipe.seed, first, run.augment, on_device)
    batches = run.group.split(source.batches(recipe.batch_size, size, *change))
    tests = run.test.batches(500, size, on_device=on_device)
    side = size or source.image_shape[0]
    shape = (side, size or source.image_shape[1], source.image_shape[2])
    with name_the_batch_that_fits(recipe, run.build, shape):
        model.fit(
            batches,
            initial_epoch=first,
            epochs=epochs,
            shuffle=False,  # the batches are, by seed
            callbacks=[
                Measure(run, batches, tests),
                *callbacks,
                Record(run, side),
            ],
            verbose=verbose,
        )


def _respace(model, source, size, before):
    """Scale the derivatives where the images' side changes, which it does at most at a phase."""
    ratio = (size or source.image_shape[0]) / (before or source.image_shape[0])
    if ratio != 1:
        respace(model, ratio)


def _some_images(source, size):
    """The first images of a data set, as the net gets them."""
    return source.batches(64, size)[0][0]


def _resume(model, recipe, folder, start):
    """Bring a model to where its run stopped, or to where it begins; return the log."""
    history = []
    if (folder / STATE).exists():
        values, history, _ = state.read_state(folder / STATE, recipe)
        state.restore(model, values)
        write_rows(folder / LOG, history)
        if recipe.ema and len(history) == recipe.epochs:
            # The state holds the weights themselves; what ships is their average.
            model.optimizer.finalize_variable_values(model.trainable_variables)
    elif start is not None:
        start_from(model, recipe.checkpoint, start)
    recipe.write(folder / RECIPE)
    return history


def evaluate(
    checkpoint, weights, dataset, split="test", data_dir=None, data=None, unreadable="error"
):
    """Accuracy of a weight file on a split of a data set, or on own images.

    Args:
        checkpoint: The `Checkpoint` that the file belongs to; images of other sides than its
            `input_shape` are brought to them.
        weights: The weight file.
        dataset: TFDS name, or `"sample"` for the bundled sample.
        split: Split in TFDS's notation.
        data_dir: Folder of TFDS.
        data: Own images in place of these: a folder by class, or an `.npz` file (`open_test`).
        unreadable: As in `train`.

    Returns:
        Dictionary with `accuracy` (percent), `loss` and `images`.

    Example:
    >>> import tempfile
    >>> import numpy as np
    >>> import keras_pdenets
    >>> name = "decomposed_resnet20_fashion_mnist"
    >>> checkpoint = keras_pdenets.get_preset(name).checkpoint
    >>> weights = keras_pdenets.prefetch(name)[name]
    >>> images, labels = keras_pdenets.data.load_sample()
    >>> mine = f"{tempfile.mkdtemp()}/mine.npz"
    >>> np.savez(mine, images=images[:50], labels=labels[:50])
    >>> keras_pdenets.training.evaluate(checkpoint, weights, "sample", data=mine)["images"]
    50
    """
    channels, names = checkpoint.input_shape[-1], checkpoint.class_names
    source = DataSource(dataset, split, data_dir)
    if data is not None:
        source = open_test(data, channels, names, unreadable)
        check_fits(source, channels, checkpoint.classes)
    model = build_model(checkpoint)
    load_weights(model, weights)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
    )
    sides = tuple(checkpoint.input_shape[:2])
    size = None if sides == source.image_shape[:2] else sides[0]
    warn_of_small_pixels(model, _some_images(source, size))
    result = model.evaluate(source.batches(500, size), verbose=0, return_dict=True)
    accuracy = 100.0 * result["accuracy"]
    return {"accuracy": accuracy, "loss": result["loss"], "images": source.num_examples}
