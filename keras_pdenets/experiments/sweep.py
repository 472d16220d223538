"""One net at many depths: the perturbations of each, for the figures of Hauser's paper."""

import csv
import time
from dataclasses import dataclass, replace
from pathlib import Path

from keras_pdenets.analysis import fit_exponent, measure_perturbation
from keras_pdenets.builders.steps import STARTS
from keras_pdenets.data import DataSource
from keras_pdenets.experiments.first_steps import first_steps
from keras_pdenets.hub.files import load_weights
from keras_pdenets.operators.stopping import MOST_BLOCKS
from keras_pdenets.training import Recipe, train
from keras_pdenets.training.trainer import RECIPE, WEIGHTS, build_model
from keras_pdenets.utils.locking import locked
from keras_pdenets.utils.records import check_count, read_record, settle
from keras_pdenets.utils.tables import write_rows
from keras_pdenets.utils.text import shown

RESULTS = "sweep.csv"
_BLOCKS = "blocks.csv"


@dataclass(frozen=True)
class Sweep:
    """Which nets are trained, and how.

    Args:
        recipe: Recipe of every net; its checkpoint's options get the depth and the start.
        depths: Blocks in each section, one net for each.
        starts: Names of starts (`builders.steps.STARTS`), all depths for each.
        split: Images of the recipe's data set that are measured.
        batch_sizes: Pairs of a number of blocks and the images in a step of nets of up to so many,
            rising; deeper nets take the recipe's.
        reference: What a paper states, which the results are printed beside; empty if nothing.

    Raises:
        ValueError: If a field is out of range.

    Example:
    >>> from keras_pdenets.experiments import Sweep
    >>> checkpoint = {"architecture": "preact_resnet20", "input_shape": (28, 28, 1), "classes": 10}
    >>> recipe = {"preset": "mine", "dataset": "fashion_mnist", "checkpoint": checkpoint}
    >>> recipe |= {"stages": [{"epochs": 2}]}
    >>> Sweep(recipe, depths=(2, 4)).recipe_of("zero", 4).checkpoint.options["num_blocks"]
    4
    """

    recipe: Recipe
    depths: tuple[int, ...] = (2, 4, 8, 16, 32)
    starts: tuple[str, ...] = ("zero",)
    split: str = "test[:1000]"
    batch_sizes: tuple[tuple[int, int], ...] = ()
    reference: str = ""

    def __post_init__(self) -> None:
        """Turn the lists that JSON gives into tuples, and check them."""
        settle(self)
        for depth in self.depths:
            check_count("depths", depth, MOST_BLOCKS)
        for number in (n for pair in self.batch_sizes for n in pair):
            check_count("batch_sizes", number)
        limits = [pair[0] for pair in self.batch_sizes]
        unknown = [start for start in self.starts if start not in STARTS]
        for name, holds, rule in (
            ("batch_sizes", limits == sorted(set(limits)),
             "be pairs of blocks and images, with rising blocks"),
            ("starts", self.starts and not unknown, f"be of {', '.join(STARTS)}"),
            ("depths", self.depths and len(set(self.depths)) == len(self.depths),
             "not be empty or hold anything twice"),
            ("starts", len(set(self.starts)) == len(self.starts), "not hold anything twice"),
        ):  # fmt: skip
            if not holds:
                raise ValueError(
                    f"`{name}` must {rule}. Received: {name}={shown(getattr(self, name))}"
                )
        for start in self.starts:  # the longest name, and the options that a run adds
            self.recipe_of(start, max(self.depths))

    @classmethod
    def from_file(cls, path: Path) -> "Sweep":
        """The sweep in a JSON file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is no JSON, or a field is unknown, of another type or range.
        """
        return read_record(cls, path, "a sweep")

    def recipe_of(self, start: str, depth: int) -> Recipe:
        """The recipe of one net."""
        checkpoint, batch_size = self.recipe.checkpoint, self.recipe.batch_size
        options = {**checkpoint.options, **STARTS[start], "num_blocks": depth}
        return replace(
            self.recipe,
            preset=f"{self.recipe.preset}_{start.replace('/', '_')}_{depth}",
            checkpoint=replace(checkpoint, options=options),
            batch_size=next((b for most, b in self.batch_sizes if depth <= most), batch_size),
        )


def run_sweep(sweep, folder, limit_minutes=None, data_dir=None, verbose="auto"):
    """Train and measure every net that is not yet done; write `sweep.csv`.

    A sweep that was stopped at any moment goes on in the epoch that it was in.

    Args:
        sweep: The `Sweep`.
        folder: Folder of the runs, one subfolder for each net.
        limit_minutes: Stop before an epoch that would end after this time.
        data_dir: Folder of TFDS.
        verbose: As in `keras.Model.fit`.

    Returns:
        One row (dictionary of strings, as in the CSV file) for each block of each finished net.

    Raises:
        InUseError: If another process works in the folder now (a `RuntimeError`).
    """
    with locked(Path(folder)):
        return _run_sweep(sweep, Path(folder), limit_minutes, data_dir, verbose)


def _run_sweep(sweep, folder, limit_minutes, data_dir, verbose):
    begin = time.monotonic()
    for start in sweep.starts:
        for depth in sweep.depths:
            recipe = sweep.recipe_of(start, depth)
            run = folder / recipe.preset
            if (run / _BLOCKS).exists() and Recipe.from_file(run / RECIPE) == recipe:
                continue
            left = None
            if limit_minutes is not None:
                left = max(0.0, limit_minutes - (time.monotonic() - begin) / 60)
            history = train(recipe, run, left, data_dir, verbose)
            if len(history) < recipe.epochs:
                return collect(sweep, folder)
            model = build_model(recipe.checkpoint)
            load_weights(model, run / WEIGHTS)
            images = DataSource(recipe.dataset, sweep.split, data_dir)
            report = measure_perturbation(model, images.batches(100, recipe.image_size(0)))
            report.write_csv(run / _BLOCKS)
    return collect(sweep, folder)


def dry_run_sweep(sweep, steps=2, batch_size=None, data_dir=None):
    """Take the shallowest and the deepest net through their first steps; keep nothing.

    Args:
        sweep: The `Sweep`.
        steps: Number of training steps.
        batch_size: Images in a step; None: as in the sweep.
        data_dir: Folder of TFDS.

    Yields:
        Recipe, number of trainable weights, and the loss of each step.
    """
    source = DataSource(sweep.recipe.dataset, sweep.recipe.train_split, data_dir)
    for start in sweep.starts:
        for depth in sorted({min(sweep.depths), max(sweep.depths)}):
            recipe = sweep.recipe_of(start, depth)
            if batch_size is not None:
                recipe = replace(recipe, batch_size=batch_size)
            yield recipe, *first_steps(recipe, source, steps)


def collect(sweep, folder):
    """Write `sweep.csv` of all nets that are finished, and return its rows."""
    rows = []
    for start in sweep.starts:
        for depth in sweep.depths:
            run = Path(folder) / sweep.recipe_of(start, depth).preset
            if (run / _BLOCKS).exists():
                log = _read(run / "log.csv")[-1]
                common = {"start": start, "depth": str(depth), "accuracy": log["test_accuracy"]}
                rows.extend({**common, **block} for block in _read(run / _BLOCKS))
    if rows:
        write_rows(Path(folder) / RESULTS, rows)
    return rows


def exponents(rows):
    """One line for each start and section: mean scaled perturbation against L, as a power law."""
    lines = []
    for start in dict.fromkeys(row["start"] for row in rows):
        chosen = [r for r in rows if r["start"] == start and r["kind"] != "projection"]
        depths = sorted({int(row["depth"]) for row in chosen})
        if len(depths) < 2:
            continue
        for section in sorted({int(row["section"]) for row in chosen}):
            distances = [
                sum(
                    float(r["scaled"]) for r in chosen
                    if (int(r["depth"]), int(r["section"])) == (depth, section)
                )
                for depth in depths
            ]  # fmt: skip
            means = [d / n for d, n in zip(distances, depths, strict=True)]
            exponent, error = fit_exponent(depths, means)
            listed = ", ".join(f"{d:.2f}" for d in distances)
            lines.append(
                f"start {start}, section {section + 1}: mean change ~ L^({exponent:.2f} +- "
                f"{error:.2f}); d_scaled {listed} at L = {', '.join(map(str, depths))}"
            )
    return lines


def _read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
