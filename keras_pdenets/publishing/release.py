"""From a finished run to a pinned preset: weight file, card and row of the table."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from keras_pdenets.analysis.verification import record_golden
from keras_pdenets.data import load_sample
from keras_pdenets.hub.digests import sha256_of
from keras_pdenets.hub.files import load_weights, write_weights
from keras_pdenets.hub.golden import GOLDEN_FILE, write_golden
from keras_pdenets.hub.source import CHECKOUT_WEIGHTS, WeightsSource
from keras_pdenets.presets import PRESETS_FILE, Preset, get_preset, write_preset
from keras_pdenets.publishing.card import CARD, card
from keras_pdenets.publishing.speed import SPEED, read_speed
from keras_pdenets.training import state
from keras_pdenets.training.models import build_model
from keras_pdenets.training.recipe import Recipe
from keras_pdenets.training.trainer import LOG, RECIPE, STATE, WEIGHTS, evaluate
from keras_pdenets.utils.atomic import write_file
from keras_pdenets.utils.locking import locked

_ORGANISATION = "keras-pdenets"
_LICENCES = {"code": "Apache-2.0", "weights": "Apache-2.0"}
_GOLDEN_IMAGES = 8
_DATA_LICENCES = dict.fromkeys(("fashion_mnist", "sample"), "MIT (Zalando SE)")


def pin(
    run,
    hardware,
    remark="",
    data_dir=None,
    weights_folder=CHECKOUT_WEIGHTS,
    presets_file=PRESETS_FILE,
):
    """Create a preset from a finished run.

    Stores the weights in 16 bits, evaluates them on the whole test split, and writes
    `weights/<preset>/` (weights, golden file, recipe, log, card) and the row in the preset table.

    Args:
        run: Folder of the run.
        hardware: Hardware of the training, for the card.
        remark: Sentence about the training, for the card.
        data_dir: Folder of TFDS.
        weights_folder: Folder of the checkout's weights.
        presets_file: The table to write to.

    Returns:
        The new `Preset`.

    Raises:
        ValueError: If the run is not finished.
        InUseError: If another process is using one of the two folders (a `RuntimeError`).
    """
    run = Path(run)
    recipe = Recipe.from_file(run / RECIPE)
    folder = Path(weights_folder) / recipe.preset
    with locked(run), locked(folder):
        preset = _pin(run, recipe, folder, hardware, remark, data_dir)
        write_preset(preset, presets_file)
    return preset


def _pin(run, recipe, folder, hardware, remark, data_dir):
    """Write the files of a preset; return its row."""
    _, history, software = state.read_state(run / STATE, recipe)
    if len(history) < recipe.epochs or not (run / WEIGHTS).is_file():
        raise ValueError(
            f"`run` must be finished before it is pinned. Received: {run}, after "
            f"{len(history)} of {recipe.epochs} epochs"
        )
    measure = functools.partial(evaluate, recipe.checkpoint)
    split = (recipe.dataset, recipe.test_split, data_dir)
    full = measure(run / WEIGHTS, *split)
    model = build_model(recipe.checkpoint)
    load_weights(model, run / WEIGHTS)
    write_weights(model, folder / WEIGHTS, recipe.checkpoint, float16=True)
    stored = measure(folder / WEIGHTS, *split)
    metrics = {
        "test_accuracy": round(stored["accuracy"], 2),
        "test_loss": round(stored["loss"], 4),
        "test_images": stored["images"],
        "test_accuracy_float32": round(full["accuracy"], 2),
    }
    if recipe.dataset == "fashion_mnist":
        sample = measure(folder / WEIGHTS, "sample")
        metrics["sample_accuracy"] = round(sample["accuracy"], 2)
    preset = Preset(
        name=recipe.preset,
        checkpoint=recipe.checkpoint,
        dataset=recipe.dataset,
        split=recipe.test_split,
        file=WEIGHTS,
        sha256=sha256_of(folder / WEIGHTS),
        size=(folder / WEIGHTS).stat().st_size,
        repo=f"{_ORGANISATION}/{recipe.preset}",
        revision=None,
        metrics=metrics,
        training={
            "command": f"keras-pdenets train --preset {recipe.preset}",
            "hardware": hardware,
            "software": software,
            "epochs": recipe.epochs,
            "minutes": round(sum(row["seconds"] for row in history) / 60, 1),
            "seed": recipe.seed,
            "runs": 1,
            "remark": remark,
        },
        licences={**_LICENCES, "data": _DATA_LICENCES.get(recipe.dataset, "see the data set")},
        golden=_record(recipe.checkpoint, folder / WEIGHTS, folder / GOLDEN_FILE),
    )
    for name in (RECIPE, LOG):
        if (run / name).resolve() != (folder / name).resolve():
            write_file(folder / name, (run / name).read_bytes())
    (folder / SPEED).unlink(missing_ok=True)  # of the previous net
    write_file(folder / CARD, card(preset, recipe))
    return preset


def refresh(name, weights_folder=CHECKOUT_WEIGHTS, presets_file=PRESETS_FILE):
    """Rewrite the golden file and the card of a preset of this checkout.

    A golden file in the row is kept: only new weights may change it.

    Args:
        name: The preset.
        weights_folder: Folder of the checkout's weights.
        presets_file: The table to write to.

    Returns:
        The `Preset`, with its golden file.

    Raises:
        InUseError: If another process is using the folder (a `RuntimeError`).
    """
    preset = get_preset(name)
    folder = Path(weights_folder) / name
    with locked(folder):
        return _refresh(preset, folder, weights_folder, presets_file)


def _refresh(preset, folder, weights_folder, presets_file):
    if preset.golden is None:
        weights = WeightsSource.of(preset, weights_folder).resolve().path
        golden = _record(preset.checkpoint, weights, folder / GOLDEN_FILE)
        preset = dataclasses.replace(preset, golden=golden)
        write_preset(preset, presets_file)
    text = card(preset, Recipe.from_file(folder / RECIPE), speed=read_speed(folder))
    write_file(folder / CARD, text)
    return preset


def _record(checkpoint, weights, path):
    """Write the golden file of stored weights; return its entry in the row."""
    model = build_model(checkpoint)
    load_weights(model, weights)
    write_golden(record_golden(model, _golden_images(checkpoint)), path)
    return {"file": path.name, "sha256": sha256_of(path), "size": path.stat().st_size}


def _golden_images(checkpoint):
    """Images of the bundled sample if they fit, else noise; they are stored in the file."""
    images, _ = load_sample()
    if tuple(checkpoint.input_shape) == images.shape[1:]:
        return images[:: len(images) // _GOLDEN_IMAGES]
    shape = (_GOLDEN_IMAGES, *checkpoint.input_shape)
    return np.random.default_rng(0).integers(0, 256, shape)
