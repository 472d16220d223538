"""The runner of an experiment, a `Protocol` or a `Sweep`."""

import itertools
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.data import DataSource
from keras_pdenets.data.keras_layers import Augmenter
from keras_pdenets.training.models import compiled_model, trainable_parameters
from keras_pdenets.training.recipe import Recipe
from keras_pdenets.training.trainer import RECIPE, train
from keras_pdenets.utils.locking import InUseError, locked


def run(
    experiment,
    folder,
    only=None,
    limit_minutes=None,
    data_dir=None,
    verbose="auto",
    devices=None,
):
    """Train and measure the missing runs; if killed at any moment, the same call resumes.

    Several processes may share a folder: each takes runs that no other is working on.

    Args:
        experiment: A `Protocol` or a `Sweep`.
        folder: Folder of the runs, with a folder for each.
        only: Names of runs, such as `("pde-seed1",)`; None: all.
        limit_minutes: Stop before an epoch that would end after this time.
        data_dir: Folder of TFDS.
        verbose: As in `keras.Model.fit`.
        devices: As in `training.train`.

    Yields:
        Name and result of each run, including finished ones (for a protocol a `RunResult`, for a
        sweep the rows of its blocks); the result is None if another process is working on the run,
        or time ran out.

    Raises:
        ValueError: If the folder holds a run of another recipe, or `only` is not a run.

    Example:
    >>> import tempfile
    >>> from keras_pdenets.experiments import Entry, Protocol, run
    >>> recipe = {"dataset": "sample", "stages": [{"epochs": 1}], "warmup_epochs": 0.5}
    >>> recipe["checkpoint"] = {"input_shape": (7, 7, 1), "classes": 10}
    >>> net = Entry("small", "preact_resnet20", {"num_blocks": 1, "filters": (4, 4, 4)})
    >>> protocol = Protocol((net,), seeds=(0,), recipe=recipe)
    >>> for name, result in run(protocol, tempfile.mkdtemp(), verbose=0):
    ...     print(name, result.parameters, result.images)
    small-seed0 1038 1000
    """
    begin, folder = time.monotonic(), Path(folder)
    recipes = experiment.recipes
    chosen = _chosen(only, recipes, "runs")
    for name, recipe in recipes.items():
        path = folder / name / RECIPE
        if path.is_file() and Recipe.from_file(path) != recipe:
            raise ValueError(
                f"{path.parent} holds a run of another recipe. Use another folder, or the old "
                "protocol."
            )
    for name, recipe in chosen.items():
        left = limit_minutes
        if limit_minutes is not None:
            left = max(0.0, limit_minutes - (time.monotonic() - begin) / 60)
        try:
            with locked(folder / name):
                result = experiment.read(folder / name)
                if result is None:
                    history = train(recipe, folder / name, left, data_dir, verbose, devices)
                    if len(history) == recipe.epochs:
                        result = experiment.measure(recipe, folder / name, history, data_dir)
        except InUseError:
            result = None
        yield name, result


def dry_run(experiment, steps=2, batch_size=None, only=None, data_dir=None):
    """Train nets of an experiment for a few steps, without saving anything.

    Every net of a protocol; of a sweep, the shallowest and the deepest with each start.

    Args:
        experiment: A `Protocol` or a `Sweep`.
        steps: Number of training steps.
        batch_size: Images per batch; None: as in the recipe.
        only: Names of nets; None: all.
        data_dir: Folder of TFDS.

    Yields:
        Name of the net, number of trainable weights and the loss of each step.

    Raises:
        ValueError: If `only` is not a net, or there are too few images.
        RuntimeError: If a loss is not finite.

    Example:
    >>> from keras_pdenets.experiments import Entry, Protocol, dry_run
    >>> recipe = {"dataset": "sample", "stages": [{"epochs": 15, "image_size": 7}]}
    >>> recipe["checkpoint"] = {"input_shape": (28, 28, 1), "classes": 10}
    >>> net = Entry("small", "pde_preact_resnet20", {"num_blocks": 1, "filters": (4, 4, 4)})
    >>> protocol = Protocol((net,), seeds=(0,), recipe=recipe)
    >>> for name, parameters, losses in dry_run(protocol, steps=2, batch_size=10):
    ...     print(name, parameters, len(losses))
    small 750 2
    """
    source = None
    for name, recipe in _chosen(only, experiment.samples, "nets").items():
        if batch_size is not None:
            recipe = replace(recipe, batch_size=batch_size)
        # Shared by all nets: counting the images of some classes takes a pass over the data.
        source = source or DataSource(recipe.dataset, recipe.train_split, data_dir)
        yield name, *_first_steps(recipe, source, steps)


def _chosen(only, known, what):
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise ValueError(f"`only` must name {what}: {', '.join(known)}. Received: {unknown}")
    return {name: known[name] for name in only or known}


def _first_steps(recipe, source, steps):
    """Number of trainable weights, and the losses of the first steps of a run."""
    if source.num_examples < steps * recipe.batch_size:
        raise ValueError(
            f"`batch_size` must leave {steps} batches of the {source.num_examples} images of "
            f"{recipe.dataset}. Received: batch_size={recipe.batch_size}"
        )
    keras.utils.set_random_seed(recipe.seed)
    model = compiled_model(recipe, source)
    layers = recipe.augmentations
    batches = source.batches(
        recipe.batch_size, recipe.image_size(0), recipe.flip, recipe.crop, recipe.seed,
        augment=Augmenter(layers, recipe.checkpoint.classes) if layers else None,
    )  # fmt: skip
    losses = [
        float(model.train_on_batch(images, labels)[0])
        for images, labels in itertools.islice(batches, steps)
    ]
    if not np.all(np.isfinite(losses)):
        raise RuntimeError(f"The loss of {recipe.preset} is not finite: {losses}")
    return trainable_parameters(model), losses
