"""The model card of a preset, which the Hub and GitHub show beside its weights."""

import dataclasses
import json

from huggingface_hub import EvalResult, ModelCardData

from keras_pdenets.presets import ARCHITECTURES
from keras_pdenets.training.models import build_model, trainable_parameters
from keras_pdenets.transforms import count_operations, fold

CARD, PICTURE = "README.md", "predictions.png"
_TASK = "image-classification"
# TFDS name: the Hub's name, the display name.
_DATA = {
    "fashion_mnist": ("zalando-datasets/fashion_mnist", "Fashion-MNIST"),
    "mnist": ("ylecun/mnist", "MNIST"),
    "cifar10": ("uoft-cs/cifar10", "CIFAR-10"),
    "cifar100": ("uoft-cs/cifar100", "CIFAR-100"),
}


def card(preset, recipe, picture=False, speed=None):
    """The card of a preset in Markdown, preceded by the Hub's metadata.

    Args:
        preset: The row.
        recipe: How it was trained.
        picture: Whether `predictions.png` lies beside the card.
        speed: A `Speed`, or None if not measured.

    Returns:
        The text.
    """
    row = ARCHITECTURES[preset.checkpoint.architecture]
    parts = [
        f"---\n{_metadata(preset, row).to_yaml()}\n---\n",
        f"# {preset.name}\n\n`{row.builder}` ({row.reference}), trained on `{preset.dataset}`.\n",
        _usage(preset, row),
        _results(preset, recipe, speed),
    ]
    if picture:
        parts.append(
            f"![Test images with the net's answers; wrong ones are red]({PICTURE})\n\n"
            "Test images with the net's answers; wrong ones are red.\n"
        )
    return "\n".join([*parts, _training(preset, recipe), _files(preset, row), _limits(preset)])


def _metadata(preset, row):
    """The metadata by which the Hub finds and ranks models."""
    hub_name, words = _DATA.get(preset.dataset, (preset.dataset, preset.dataset))
    data = {"dataset_type": hub_name, "dataset_name": words, "dataset_split": preset.split}
    return ModelCardData(
        library_name="keras",
        pipeline_tag=_TASK,
        license=preset.licences["weights"].lower(),
        datasets=[hub_name],
        metrics=["accuracy"],
        tags=["keras_pdenets", "partial-differential-equations", row.family.name.replace("_", "-")],
        model_name=preset.name,
        eval_results=[
            EvalResult(
                task_type=_TASK, metric_type="accuracy", metric_name="accuracy",
                metric_value=round(preset.metrics["test_accuracy"] / 100, 6), **data,
            ),
            EvalResult(
                task_type=_TASK, metric_type="loss", metric_name="cross-entropy",
                metric_value=preset.metrics["test_loss"], **data,
            ),
        ],
    )  # fmt: skip


def _usage(preset, row):
    return f"""```python
import keras_pdenets

model = keras_pdenets.{row.builder}(weights="{preset.name}")  # pixels 0-255 in, softmax out
print(keras_pdenets.verify(model))  # weights and outputs: as published?
```

`weights="hf://{preset.repo}"` loads the Hub's copy. Without this package, on any backend:

```python
import keras
from huggingface_hub import hf_hub_download

model = keras.saving.load_model(hf_hub_download("{preset.repo}", "model.keras"))
```
"""


def _results(preset, recipe, speed):
    """The table of results."""
    metrics, (parameters, operations) = preset.metrics, _size(preset.checkpoint)
    sample = metrics.get("sample_accuracy")
    deviation = (metrics["test_accuracy"] * (100 - metrics["test_accuracy"]) / 1000) ** 0.5
    sample_line = (
        f"| accuracy on the bundled sample of 1,000 test images | {sample:.2f} % "
        f"(by chance it would stray by {deviation:.1f} points) |\n"
        if sample is not None
        else ""
    )
    count = "" if operations is None else (
        f"| operations for an image, folded (2 for each product) | {operations:,} |\n"
    )  # fmt: skip
    return f"""| result | |
|---|---|
| accuracy on the {metrics["test_images"]:,} images of `{recipe.test_split}` | \
{metrics["test_accuracy"]:.2f} % |
| the same with the weights in 32 bits | {metrics["test_accuracy_float32"]:.2f} % |
| cross-entropy | {metrics["test_loss"]:.4f} |
{sample_line}| trainable parameters | {parameters:,} |
{count}{_speed_line(speed)}
`keras-pdenets evaluate --preset {preset.name}` gives the first number again.
{_speed_note(preset, speed)}"""


def _speed_line(speed):
    if speed is None:
        return ""
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in speed.images_per_second.items())
    return f"| images a second, folded, batch {speed.batch} | {rates} |\n"


def _speed_note(preset, speed):
    if speed is None:
        return ""
    return (
        f"Speed: median of {speed.rounds} steps, backends in turn, {speed.date}, {speed.where} "
        f"`keras-pdenets dev speed {preset.name}` measures it again.\n"
    )


def _size(checkpoint):
    """Trainable parameters, and operations of the folded net for one image."""
    model = build_model(checkpoint, sides=checkpoint.input_shape[:2])
    folded, _ = fold(model, decomposed="keep", portable=True)
    return trainable_parameters(model), count_operations(folded)


def _training(preset, recipe):
    """The training."""
    training = preset.training
    phases = ", then ".join(
        f"{phase.epochs} epochs at {phase.image_size or preset.checkpoint.input_shape[0]} px"
        + (f" from {phase.restart} of the peak rate" if phase.restart else "")
        for phase in recipe.stages
    )
    return f"""## Training

- Command: `{training["command"]}`, which reads `recipe.json` beside this card.
- {beginning(recipe)}{training["epochs"]} epochs ({phases}) on `{recipe.train_split}`; the last \
epoch ships. `log.csv` follows `{recipe.log_split}`.
- Batch {recipe.batch_size}, {recipe.optimizer}, peak learning rate {recipe.learning_rate} after \
{recipe.warmup_epochs} epochs of warm-up, weight decay {recipe.weight_decay} of kernels\
{", sigma, b and c" if recipe.decay_pde else ""}, label smoothing {recipe.label_smoothing}, \
{"flips, " if recipe.flip else ""}{_crops(recipe.crop)}, gradient norm \
{recipe.gradient_norm or "free"}, average of weights {recipe.ema or "off"}, {recipe.dtype}.
- {training["minutes"]} minutes on {training["hardware"]}; {training["software"]}; seed \
{training["seed"]}; {training["runs"]} run. {training["remark"]}
"""


def _crops(crop):
    return "crops of random areas" if crop == "area" else f"crops by {crop} px"


def beginning(recipe):
    """The initial weights, if they were not random."""
    return f"From the weights of `{recipe.start}`: " if recipe.start else ""


def _files(preset, row):
    """The files, inputs and outputs."""
    checkpoint = preset.checkpoint
    options = json.dumps(dataclasses.asdict(row.config(checkpoint.options)), sort_keys=True)
    return f"""## Files

- `{preset.file}`: the net to train on, safetensors, {preset.size:,} bytes, SHA-256 \
`{preset.sha256}`. Tensors of two and more axes are stored in 16 bits, vectors in 32. \
Architecture: `{options}`.
- `golden.safetensors`, for `verify`: a digest of every weight, by which it names any that was \
changed; a few images, their logits and a fingerprint of every layer's output, by which it \
names the layer where a backend or a processor computes something else.
- On the Hub, `model.keras`: the same net for inference, folded into Keras' own layers; \
`config.json`, `metadata.json` and `model.weights.h5` are its parts.

Input {checkpoint.input_shape}, pixels 0-255, which are normalised inside the model with mean \
{checkpoint.mean} and standard deviation {checkpoint.std}. Output: probabilities of \
{", ".join(checkpoint.class_names)}.
"""


def _limits(preset):
    return f"""## Licences and limits

Code {preset.licences["code"]}, weights {preset.licences["weights"]}, data \
{preset.licences["data"]}. The net knows {preset.checkpoint.classes} kinds of small images and \
gives one of them for any input. Its probabilities are not calibrated.
"""
