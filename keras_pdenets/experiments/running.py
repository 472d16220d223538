"""The runs of a protocol: those that are missing, one after the other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_pdenets.data import DataSource
from keras_pdenets.experiments.first_steps import first_steps, trainable_parameters
from keras_pdenets.experiments.results import RESULT, Result, read_result, write_result
from keras_pdenets.hub.files import load_weights
from keras_pdenets.training.recipe import Recipe
from keras_pdenets.training.trainer import RECIPE, WEIGHTS, build_model, evaluate, train
from keras_pdenets.transforms import count_operations, fold
from keras_pdenets.utils.locking import InUseError, locked
from keras_pdenets.utils.machine import machine


def run_protocol(protocol, folder, only=None, limit_minutes=None, data_dir=None, devices=None):
    """Train what is missing; kill it at any moment, the same call goes on.

    Several processes may work on one folder: each takes runs that no other one is in.

    Args:
        protocol: A `Protocol`.
        folder: Folder of the runs, one folder in it for each.
        only: Names of runs, such as `("pde-seed1",)`; None: all.
        limit_minutes: Stop a run before an epoch that would end after this time.
        data_dir: Folder of TFDS.
        devices: As in `training.train`.

    Yields:
        Name and `Result` of each run, those that were there too; None in place of the result
        where another process is in the run, or time was short.

    Raises:
        ValueError: If the folder holds a run of another recipe, or `only` names none.
    """
    runs = protocol.runs
    unknown = sorted(set(only or ()) - set(runs))
    if unknown:
        raise ValueError(f"`only` must name runs: {', '.join(runs)}. Received: {unknown}")
    recipes = {name: protocol.recipe_of(*run) for name, run in runs.items()}
    for name, recipe in recipes.items():
        _check_recipe(Path(folder) / name, recipe)
    for name in only or runs:
        yield name, _run(recipes[name], Path(folder) / name, limit_minutes, data_dir, devices)


def _check_recipe(run, recipe):
    """Refuse a folder with a run of another recipe."""
    if (run / RECIPE).is_file() and Recipe.from_file(run / RECIPE) != recipe:
        raise ValueError(
            f"{run} holds a run of another recipe. Give another folder, or the old protocol."
        )


def _run(recipe, run, limit_minutes, data_dir, devices):
    try:
        with locked(run):
            if (run / RESULT).is_file():
                return read_result(run)
            history = train(recipe, run, limit_minutes, data_dir, devices=devices)
            if len(history) < recipe.epochs:
                return None
            result = _measure(recipe, run, history, data_dir)
            write_result(result, run)
            return result
    except InUseError:
        return None


def _measure(recipe, run, history, data_dir):
    """The `Result` of a finished run."""
    measured = evaluate(
        recipe.checkpoint, run / WEIGHTS, recipe.dataset, recipe.test_split, data_dir
    )
    model = build_model(recipe.checkpoint, sides=recipe.checkpoint.input_shape[:2])
    load_weights(model, run / WEIGHTS)
    whole = max(row["image_size"] for row in history)
    return Result(
        entry=recipe.preset,
        seed=recipe.seed,
        recipe=json.loads(recipe.to_json()),
        accuracy=round(measured["accuracy"], 4),
        loss=round(measured["loss"], 6),
        images=measured["images"],
        parameters=trainable_parameters(model),
        operations=count_operations(fold(model, "keep", portable=True)[0]),
        epoch_seconds=float(np.median([r["seconds"] for r in history if r["image_size"] == whole])),
        machine=machine(),
        history=history,
    )


def dry_run(protocol, steps=2, batch_size=None, only=None, data_dir=None):
    """Take every net of a protocol through its first steps, without keeping anything.

    Args:
        protocol: A `Protocol`.
        steps: Number of training steps.
        batch_size: Images in a step; None: as in the recipe.
        only: Names of nets; None: all.
        data_dir: Folder of TFDS.

    Yields:
        Entry, number of trainable weights, and the loss of each step.

    Raises:
        ValueError: If `only` names no net, or the data do not fill the steps.
    """
    entries = {entry.name: entry for entry in protocol.entries}
    unknown = sorted(set(only or ()) - set(entries))
    if unknown:
        raise ValueError(f"`only` must name nets: {', '.join(entries)}. Received: {unknown}")
    source = None
    for name in only or entries:
        recipe = protocol.recipe_of(entries[name], protocol.seeds[0])
        if batch_size is not None:
            recipe = replace(recipe, batch_size=batch_size)
        # One for all nets: to count the images of some classes takes a pass over the data.
        source = source or DataSource(recipe.dataset, recipe.train_split, data_dir)
        yield entries[name], *first_steps(recipe, source, steps)
