"""A sweep: the perturbations of one net at many depths, for the figures of Hauser's paper."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from keras_pdenets.analysis import fit_exponent, measure_perturbation
from keras_pdenets.builders.steps import STARTS
from keras_pdenets.data import DataSource
from keras_pdenets.hub.files import load_weights
from keras_pdenets.operators.stopping import MOST_BLOCKS
from keras_pdenets.training.models import build_model
from keras_pdenets.training.recipe import Recipe
from keras_pdenets.training.trainer import LOG, WEIGHTS
from keras_pdenets.utils.records import Record, check_count
from keras_pdenets.utils.tables import read_rows, write_rows

RESULTS = "sweep.csv"
_BLOCKS = "blocks.csv"


@dataclass(frozen=True)
class Sweep(Record):
    """The nets of a sweep and their training.

    Args:
        recipe: Recipe of every net; depth and start are set in its checkpoint's options.
        depths: Numbers of blocks per section, one net for each.
        starts: Names of initialisations (`builders.steps.STARTS`), each with all depths.
        split: Images of the recipe's data set for the measurement.
        batch_sizes: Pairs of a number of blocks and the batch size of nets up to that depth, in
            increasing order; deeper nets use the recipe's.
        reference: A paper's results, printed beside these; may be empty.

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

    title = "a sweep"

    recipe: Recipe
    depths: tuple[int, ...] = (2, 4, 8, 16, 32)
    starts: tuple[str, ...] = ("zero",)
    split: str = "test[:1000]"
    batch_sizes: tuple[tuple[int, int], ...] = ()
    reference: str = ""

    def __post_init__(self) -> None:
        """Convert the lists from JSON into tuples, and check them."""
        super().__post_init__()
        for depth in self.depths:
            check_count("depths", depth, MOST_BLOCKS)
        for number in (n for pair in self.batch_sizes for n in pair):
            check_count("batch_sizes", number)
        limits = [pair[0] for pair in self.batch_sizes]
        unknown = [start for start in self.starts if start not in STARTS]
        self.check(
            ("batch_sizes", limits == sorted(set(limits)),
             "be pairs of blocks and images, in increasing order"),
            ("starts", self.starts and not unknown, f"be of {', '.join(STARTS)}"),
            ("depths", self.depths and len(set(self.depths)) == len(self.depths),
             "not be empty or contain duplicates"),
            ("starts", len(set(self.starts)) == len(self.starts), "not contain duplicates"),
        )  # fmt: skip
        for start in self.starts:  # the longest name, and the options of a run
            self.recipe_of(start, max(self.depths))

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

    @property
    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each net, by the name of its run."""
        return self._recipes(self.depths)

    @property
    def samples(self) -> dict[str, Recipe]:
        """The recipes of the shallowest and the deepest net with each start, by name."""
        return self._recipes(sorted({min(self.depths), max(self.depths)}))

    def _recipes(self, depths: Iterable[int]) -> dict[str, Recipe]:
        recipes = (self.recipe_of(*net) for net in product(self.starts, depths))
        return {recipe.preset: recipe for recipe in recipes}

    def read(self, run: Path) -> list[dict[str, str]] | None:
        """The rows of the blocks of a run, or None if it is not finished."""
        return read_rows(run / _BLOCKS) if (run / _BLOCKS).is_file() else None

    def measure(self, recipe: Recipe, run: Path, history: Any, data_dir: Any) -> Any:
        """Measure the blocks of a trained run and write their rows."""
        model = build_model(recipe.checkpoint)
        load_weights(model, run / WEIGHTS)
        images = DataSource(recipe.dataset, self.split, data_dir)
        report = measure_perturbation(model, images.batches(100, recipe.image_size(0)))
        report.write_csv(run / _BLOCKS)
        return self.read(run)


def collect(sweep, folder):
    """Write `sweep.csv` of all finished nets: one row for each block.

    Args:
        sweep: The `Sweep`.
        folder: Folder of its runs.

    Returns:
        The rows: dictionaries of strings, as in the CSV file.
    """
    rows = []
    for start, depth in product(sweep.starts, sweep.depths):
        run = Path(folder) / sweep.recipe_of(start, depth).preset
        blocks = sweep.read(run)
        if blocks is not None:
            log = read_rows(run / LOG)[-1]
            common = {"start": start, "depth": str(depth), "accuracy": log["test_accuracy"]}
            rows.extend({**common, **block} for block in blocks)
    if rows:
        write_rows(Path(folder) / RESULTS, rows)
    return rows


def exponents(rows):
    """A line for each start and section: the power law of the mean scaled perturbation in L."""
    lines = []
    for start in dict.fromkeys(row["start"] for row in rows):
        sums = defaultdict(Counter)
        for row in rows:
            if row["start"] == start and row["kind"] != "projection":
                sums[int(row["section"])][int(row["depth"])] += float(row["scaled"])
        for section, distances in sorted(sums.items()):
            if len(distances) < 2:
                continue
            depths, distances = zip(*sorted(distances.items()), strict=True)
            means = [d / n for d, n in zip(distances, depths, strict=True)]
            exponent, error = fit_exponent(depths, means)
            listed = ", ".join(f"{d:.2f}" for d in distances)
            lines.append(
                f"start {start}, section {section + 1}: mean change ~ L^({exponent:.2f} +- "
                f"{error:.2f}); d_scaled {listed} at L = {', '.join(map(str, depths))}"
            )
    return lines
