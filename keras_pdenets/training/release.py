"""From a finished run to a pinned preset: weight file, card and row of the table."""

import dataclasses
import functools
import json
import math
import shutil
from pathlib import Path

from keras_pdenets.hub.files import load_weights, write_weights
from keras_pdenets.hub.resolve import CHECKOUT_WEIGHTS, sha256_of
from keras_pdenets.presets import ARCHITECTURES, Preset, config_of, write_preset
from keras_pdenets.training import state
from keras_pdenets.training.recipe import Recipe
from keras_pdenets.training.trainer import (
    LOG,
    RECIPE,
    STATE,
    WEIGHTS,
    build_model,
    evaluate,
)

_ORGANISATION = "keras-pdenets"
_LICENCES = {"code": "Apache-2.0", "weights": "Apache-2.0"}
_DATA_LICENCES = dict.fromkeys(("fashion_mnist", "sample"), "MIT (Zalando SE)")


def pin(
    run,
    hardware,
    remark="",
    data_dir=None,
    weights_folder=CHECKOUT_WEIGHTS,
    presets_file=None,
):
    """Make a preset of a finished run.

    Stores the weights in 16 bits, evaluates what was stored on the whole test split, and writes
    `weights/<preset>/` (weights, recipe, log, card) and the row in the preset table.

    Args:
        run: Folder of the run.
        hardware: What it was trained on, for the card.
        remark: Sentence about the training, for the card.
        data_dir: Folder of TFDS.
        weights_folder: Folder of the checkout's weights.
        presets_file: The table to write to; None: the package's.

    Returns:
        The new `Preset`.

    Raises:
        ValueError: If the run is not finished.
    """
    run = Path(run)
    recipe = Recipe.from_file(run / RECIPE)
    _, history, software = state.read_state(run / STATE, recipe)
    if len(history) < recipe.epochs or not (run / WEIGHTS).is_file():
        raise ValueError(
            f"`run` must be finished before it is pinned. Received: {run}, after "
            f"{len(history)} of {recipe.epochs} epochs"
        )
    folder = Path(weights_folder) / recipe.preset
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
    )
    for name in (RECIPE, LOG):
        if (run / name).resolve() != (folder / name).resolve():
            shutil.copyfile(run / name, folder / name)
    (folder / "README.md").write_text(card(preset, recipe), encoding="utf-8")
    write_preset(preset, *([presets_file] if presets_file else []))
    return preset


def card(preset, recipe):
    """The card of a preset, in Markdown."""
    row = ARCHITECTURES[preset.checkpoint.architecture]
    config = config_of(row, preset.checkpoint.options)
    metrics, training = preset.metrics, preset.training
    stages = ", then ".join(
        f"{stage.epochs} epochs at {stage.image_size or preset.checkpoint.input_shape[0]} px"
        + (f" from {stage.restart} of the peak rate" if stage.restart else "")
        for stage in recipe.stages
    )
    sample = metrics.get("sample_accuracy")
    deviation = (metrics["test_accuracy"] * (100 - metrics["test_accuracy"]) / 1000) ** 0.5
    sample_line = (
        f"| accuracy on the bundled sample of 1,000 test images | {sample:.2f} % "
        f"(by chance it would stray by {deviation:.1f} points) |\n"
        if sample is not None
        else ""
    )
    options = json.dumps(dataclasses.asdict(config), sort_keys=True)
    return f"""# {preset.name}

`{row.builder}` ({row.reference}), trained on `{preset.dataset}`.

```python
import keras_pdenets

model = keras_pdenets.{row.builder}(weights="{preset.name}")  # pixels 0-255 in, softmax out
```

| result | |
|---|---|
| accuracy on the {metrics["test_images"]:,} images of `{recipe.test_split}` | \
{metrics["test_accuracy"]:.2f} % |
| the same with the weights in 32 bits | {metrics["test_accuracy_float32"]:.2f} % |
| cross-entropy | {metrics["test_loss"]:.4f} |
{sample_line}| trainable parameters | {_parameters(preset):,} |

`keras-pdenets evaluate --preset {preset.name}` gives the first number again.

## Training

- Command: `{training["command"]}`, which reads `recipe.json` beside this card.
- {_beginning(recipe)}{training["epochs"]} epochs ({stages}) on `{recipe.train_split}`; the last \
epoch ships. `log.csv` follows `{recipe.log_split}`.
- Batch {recipe.batch_size}, {recipe.optimizer}, peak learning rate {recipe.learning_rate} after \
{recipe.warmup_epochs} epochs of warm-up, weight decay {recipe.weight_decay} of kernels\
{", sigma, b and c" if recipe.decay_pde else ""}, label smoothing {recipe.label_smoothing}, \
{"flips, " if recipe.flip else ""}crops by {recipe.crop} px, gradient norm \
{recipe.gradient_norm or "free"}, average of weights {recipe.ema or "off"}, {recipe.dtype}.
- {training["minutes"]} minutes on {training["hardware"]}; {training["software"]}; seed \
{training["seed"]}; {training["runs"]} run. {training["remark"]}

## File

`{preset.file}`: safetensors, {preset.size:,} bytes, SHA-256 `{preset.sha256}`. Tensors of two and \
more axes are stored in 16 bits, vectors in 32. Architecture: `{options}`. Input \
{preset.checkpoint.input_shape}; pixels are normalised inside the model with mean \
{preset.checkpoint.mean} and standard deviation {preset.checkpoint.std}.

Classes: {", ".join(preset.checkpoint.class_names)}.

## Licences and limits

Code {preset.licences["code"]}, weights {preset.licences["weights"]}, data \
{preset.licences["data"]}. The net knows {preset.checkpoint.classes} kinds of small images and \
gives one of them for any input. Its probabilities are not calibrated.
"""


def _beginning(recipe):
    """Where the weights came from, if they were not random."""
    return f"From the weights of `{recipe.start}`: " if recipe.start else ""


def _parameters(preset):
    """Number of trainable parameters."""
    model = build_model(preset.checkpoint)
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
