"""A trained plain net, deepened and trained on: flow steps against zero blocks and against itself.

python tuning/deepen.py tuning/deepen/images_2000.json --seeds 0 1 2 --out runs/deepen_2000

Every arm of a seed starts from the same trained net and sees the same batches. `plain` is that net
trained on for as many epochs, `plain_longer` for about as many seconds as the deeper nets need;
`refined` cuts every ReLU into flow steps with kernels; `zero` keeps the ReLUs and puts behind each
as many blocks of the same size whose last kernel starts at zero. What is done is not done again:
stop it at any moment, and go on with the same command.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_pdenets.data import DataSource
from keras_pdenets.hub.files import load_weights, write_weights
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.presets import get_preset
from keras_pdenets.training.models import build_model, compile_model
from keras_pdenets.training.optimizers import make_optimizer
from keras_pdenets.training.recipe import Recipe
from keras_pdenets.transforms import refine
from keras_pdenets.transforms.copying import give_weights
from keras_pdenets.utils.atomic import replace_file
from keras_pdenets.utils.records import Record

ARMS = ("plain", "plain_longer", "refined", "zero")


@dataclass(frozen=True)
class Experiment(Record):
    """What is compared.

    Args:
        preset: Recipe of the plain net, and its checkpoint.
        images: Training images of a seed, each seed its own, or None for all.
        base_epochs: Epochs that the plain net has on those images first; 0: the preset itself.
        base_rate: Learning rate of them.
        epochs: Epochs of every arm but `plain_longer`.
        longer_epochs: Epochs of that.
        rates: Learning rates; every arm is trained with each.
        batch_size: Images in a step.
        steps: Flow steps of every ReLU.
        promote: Their kernels: `"channel"`, `"depthwise"` or `"conv"`.
    """

    title = "an experiment"

    preset: str
    images: int | None
    base_epochs: int
    base_rate: float
    epochs: int
    longer_epochs: int
    rates: tuple[float, ...]
    batch_size: int = 128
    steps: int = 2
    promote: str = "depthwise"

    def __post_init__(self):
        """Check the type of every field."""
        super().__post_init__()


class ZeroBlock(keras.layers.Layer):
    """y + W2 relu(W1 y), with W1 as He et al. draw it and W2 = 0."""

    def __init__(self, depthwise, **kwargs):
        super().__init__(**kwargs)
        self.depthwise = depthwise

    def build(self, shape):
        """Two 3x3 kernels, of the shapes that a flow step has."""
        kernel = (3, 3, shape[-1], 1 if self.depthwise else shape[-1])
        spread = (2 / (9 * (1 if self.depthwise else shape[-1]))) ** 0.5
        draw = keras.initializers.RandomNormal(stddev=spread)
        self.inner_kernel = self.add_weight(shape=kernel, initializer=draw, name="inner_kernel")
        self.outer_kernel = self.add_weight(shape=kernel, initializer="zeros", name="outer_kernel")

    def call(self, y):
        """The block."""
        convolve = ops.depthwise_conv if self.depthwise else ops.conv
        hidden = ops.relu(convolve(y, self.inner_kernel, padding="same"))
        return y + convolve(hidden, self.outer_kernel, padding="same")


def insert_zero_blocks(model, steps, promote):
    """The same net with `steps` zero blocks behind every ReLU."""

    def call(layer, *args, **kwargs):
        y = layer(*args, **kwargs)
        if isinstance(layer, keras.layers.ReLU):
            for index in range(steps):
                y = ZeroBlock(promote == "depthwise", name=f"{layer.name}_zero{index}")(y)
        return y

    deeper = keras.models.clone_model(model, call_function=call)
    for layer in model.layers:
        give_weights(layer, deeper.get_layer(layer.name))
    return deeper


def recipe_of(experiment, seed, epochs, rate):
    """The preset's recipe, with one phase."""
    file = Path(__file__).parents[1] / "weights" / experiment.preset / "recipe.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    split = "train"
    if experiment.images is not None:
        split = f"train[{experiment.images * seed}:{experiment.images * (seed + 1)}]"
    values |= {
        "stages": [{"epochs": epochs}], "learning_rate": rate, "train_split": split, "seed": seed,
        "batch_size": experiment.batch_size, "warmup_epochs": 0.5 if epochs == 1 else 1.0,
    }  # fmt: skip
    return Recipe(**values)


def fit(model, recipe, verbose):
    """Train by a recipe; return test accuracy (percent), loss of the last epoch, and seconds."""
    source = DataSource(recipe.dataset, recipe.train_split)
    test = DataSource(recipe.dataset, recipe.test_split)
    keras.utils.set_random_seed(recipe.seed)
    optimizer = make_optimizer(recipe, model, source.num_examples // recipe.batch_size)
    compile_model(model, optimizer, recipe)
    begin, last = time.monotonic(), {}
    for epoch in range(recipe.epochs):
        batches = source.batches(
            recipe.batch_size, None, recipe.flip, recipe.crop, recipe.seed, epoch
        )
        last = model.fit(batches, shuffle=False, verbose=verbose).history
    seconds = time.monotonic() - begin
    measured = model.evaluate(test.batches(500), verbose=0, return_dict=True)
    return {
        "test_accuracy": 100 * measured["accuracy"], "test_loss": measured["loss"],
        "train_loss": last["loss"][-1], "seconds": seconds, "epochs": recipe.epochs,
    }  # fmt: skip


def start(experiment, seed, folder, verbose):
    """The trained plain net that every arm of a seed starts from, and its test accuracy."""
    recipe = recipe_of(experiment, seed, max(1, experiment.base_epochs), experiment.base_rate)
    file, note = folder / "base.safetensors", folder / "base.json"
    keras.utils.set_random_seed(seed)
    model = build_model(recipe.checkpoint)
    if not experiment.base_epochs:
        preset = get_preset(experiment.preset)
        load_weights(model, WeightsSource.of(preset).resolve().path)
        return model, preset.metrics["test_accuracy"]
    if not note.exists():
        result = fit(model, recipe, verbose)
        write_weights(model, file, recipe.checkpoint)
        replace_file(note, lambda path: path.write_text(json.dumps(result), encoding="utf-8"))
    load_weights(model, file)
    return model, json.loads(note.read_text(encoding="utf-8"))["test_accuracy"]


def run_arm(arm, rate, experiment, seed, folder, verbose):
    """The result of one training, as a dictionary."""
    file = folder / f"{arm}_{rate:g}.json"
    if not file.exists():
        model, accuracy = start(experiment, seed, folder, verbose)
        keras.utils.set_random_seed(seed)
        if arm == "refined":
            model, _ = refine(model, experiment.steps, promote=experiment.promote)
        elif arm == "zero":
            model = insert_zero_blocks(model, experiment.steps, experiment.promote)
        epochs = experiment.longer_epochs if arm == "plain_longer" else experiment.epochs
        result = {"seed": seed, "arm": arm, "rate": rate, "start_accuracy": accuracy}
        result["experiment"] = asdict(experiment)
        result |= fit(model, recipe_of(experiment, seed, epochs, rate), verbose)
        result["parameters"] = model.count_params()
        replace_file(file, lambda path: path.write_text(json.dumps(result), encoding="utf-8"))
    result = json.loads(file.read_text(encoding="utf-8"))
    if result.pop("experiment") != json.loads(json.dumps(asdict(experiment))):
        raise SystemExit(f"{file} is of another experiment: give another folder with --out")
    return result


def report(experiment, results):
    """Markdown: means over the seeds, and the differences from `plain`, pair by pair."""
    seeds = sorted({r["seed"] for r in results})
    lines = [
        f"`{json.dumps(asdict(experiment))}`, seeds {seeds}, {keras.backend.backend()}.",
        "",
        "| arm | rate | epochs | weights | test %, by seed | mean | less plain's, by seed | "
        "training loss | seconds |",
        "|---|---:|---:|---:|---|---:|---|---:|---:|",
    ]
    table = {(r["arm"], r["rate"], r["seed"]): r for r in results}
    starts = [next(r for r in results if r["seed"] == s)["start_accuracy"] for s in seeds]
    listed = " ".join(f"{a:.2f}" for a in starts)
    lines.append(f"| start | | | | {listed} | {np.mean(starts):.2f} | | | |")
    for arm in ARMS:
        for rate in experiment.rates:
            rows = [table.get((arm, rate, seed)) for seed in seeds]
            plain = [table.get(("plain", rate, seed)) for seed in seeds]
            if None in rows or None in plain:
                continue
            test = np.array([r["test_accuracy"] for r in rows])
            less = test - [r["test_accuracy"] for r in plain]
            mean = {key: np.mean([r[key] for r in rows]) for key in ("train_loss", "seconds")}
            lines.append(
                f"| {arm} | {rate:g} | {rows[0]['epochs']} | {rows[0]['parameters']:,} | "
                f"{' '.join(f'{t:.2f}' for t in test)} | {test.mean():.2f} | "
                f"{' '.join(f'{d:+.2f}' for d in less)} (mean {less.mean():+.2f}) | "
                f"{mean['train_loss']:.4f} | {mean['seconds']:.0f} |"
            )
    return "\n".join(lines) + "\n"


def main():
    """Run what is missing, then write report.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--verbose", default="auto")
    options = parser.parse_args()
    experiment = Experiment.from_file(options.experiment)
    results = []
    for seed in options.seeds:
        folder = options.out / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        for arm in options.arms:
            for rate in experiment.rates:
                result = run_arm(arm, rate, experiment, seed, folder, options.verbose)
                results.append(result)
                print(
                    f"seed {seed}, {arm}, rate {rate:g}: {result['start_accuracy']:.2f} % -> "
                    f"{result['test_accuracy']:.2f} %",
                    flush=True,
                )
    text = report(experiment, results)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
