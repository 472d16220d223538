"""The nets of an experiment and their common recipe."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_pdenets.experiments.results import RESULT, RunResult, measure_run, read_result
from keras_pdenets.training.peers import check_net
from keras_pdenets.training.recipe import MOST_SEED, Recipe
from keras_pdenets.utils.names import check_name
from keras_pdenets.utils.records import Record, check_count, make
from keras_pdenets.utils.text import shown

# Lower case, since some file systems ignore case.
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_MOST_RUNS = 2_000


@dataclass(frozen=True)
class Entry(Record):
    """A net of a protocol.

    Args:
        name: Name of its runs: lower-case letters, digits, `_`, `-` and dots.
        architecture: Row of the model table, or `"keras:NAME"` for a net of `keras.applications`.
        options: Further options of the row, or arguments of the function in `keras.applications`.
        paper: The paper's result for this net, on its data; may be empty.
        recipe: Fields of the recipe that differ for this net, for ablations; the table lists
            them.

    Example:
    >>> from keras_pdenets.experiments import Entry
    >>> deep = Entry("pde-deep", "pde_preact_resnet20", {"num_blocks": 9}, recipe={"ema": 0.999})
    >>> deep.options, deep.recipe
    ({'num_blocks': 9}, {'ema': 0.999})
    """

    name: str
    architecture: str
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the name, the row and its options."""
        super().__post_init__()
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"`name` must match {_NAME.pattern}. Received: name={shown(self.name)}"
            )
        check_name("name", self.name)
        shared = sorted({"checkpoint", "preset", "seed"} & set(self.recipe))
        if shared:
            raise ValueError(f"`recipe` of {self.name} must not hold {', '.join(shared)}.")
        check_net(self.architecture, self.options)


@dataclass(frozen=True)
class Protocol(Record):
    """Nets, seeds and the recipe of all runs.

    Args:
        entries: The nets.
        seeds: Seeds of the runs of every net.
        recipe: Fields of `training.Recipe` but `preset` and `seed`; its `checkpoint` lacks
            `architecture` and `options`.
        reference: Source and data of the figures in `paper`; may be empty.

    Example:
    >>> from keras_pdenets.experiments import Entry, Protocol
    >>> recipe = {"dataset": "fashion_mnist", "stages": [{"epochs": 15}]}
    >>> recipe["checkpoint"] = {"input_shape": (28, 28, 1), "classes": 10}
    >>> nets = (Entry("conv", "preact_resnet20"), Entry("pde", "pde_preact_resnet20"))
    >>> list(Protocol(nets, seeds=(0, 1), recipe=recipe).recipes)
    ['conv-seed0', 'pde-seed0', 'conv-seed1', 'pde-seed1']
    """

    title = "a protocol"

    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]
    recipe: Mapping[str, Any]
    reference: str = ""

    def __post_init__(self) -> None:
        """Check that every run has a unique name and a valid recipe."""
        runs = [len(part) for part in (self.entries, self.seeds) if isinstance(part, list | tuple)]
        if math.prod(runs) > _MOST_RUNS:  # before making a record of each
            raise ValueError(
                f"`entries` and `seeds` must make {_MOST_RUNS} runs at most. Received: {runs}"
            )
        super().__post_init__()
        entries = self.entries
        for seed in self.seeds:
            check_count("seeds", seed, MOST_SEED, 0)
        names = [entry.name for entry in entries]
        for field_name, values in (("entries", names), ("seeds", list(self.seeds))):
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"`{field_name}` must not be empty or contain duplicates. "
                    f"Received: {shown(values)}"
                )
        for entry in entries:
            self.recipe_of(entry, self.seeds[0])

    @property
    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each run, by its name; all nets with the first seed come first."""
        return {f"{e.name}-seed{s}": self.recipe_of(e, s) for s in self.seeds for e in self.entries}

    @property
    def samples(self) -> dict[str, Recipe]:
        """A recipe of each net, by its name."""
        return {entry.name: self.recipe_of(entry, self.seeds[0]) for entry in self.entries}

    def read(self, run: Path) -> RunResult | None:
        """The result in the folder of a run, or None if it is not finished."""
        return read_result(run) if (run / RESULT).is_file() else None

    def measure(self, recipe: Recipe, run: Path, history: Any, data_dir: Any) -> RunResult:
        """Measure a trained run and write its result."""
        result = measure_run(recipe, run, history, data_dir)
        result.write(run / RESULT)
        return result

    @property
    def varied(self) -> set[str]:
        """Fields of the recipe that differ for some net."""
        return {name for entry in self.entries for name in entry.recipe}

    def recipe_of(self, entry: Entry, seed: int) -> Recipe:
        """The recipe of a run."""
        given = {**self.recipe, **entry.recipe}
        model = {"architecture": entry.architecture, "options": dict(entry.options)}
        own = sorted({"preset", "seed"} & set(given))
        checkpoint = given.get("checkpoint")
        if not isinstance(checkpoint, Mapping):
            raise ValueError(
                "`recipe` must hold the fields of a recipe, `checkpoint` among them. "
                f"Received: {shown(given)}"
            )
        own += sorted(set(model) & set(checkpoint))
        if own:
            raise ValueError(
                f"`recipe` must leave {', '.join(own)} to the runs. Received: {shown(given)}"
            )
        given |= {"checkpoint": {**checkpoint, **model}, "preset": entry.name, "seed": seed}
        try:
            return make(Recipe, given, "a recipe")
        except ValueError as error:
            raise ValueError(f"`recipe` must hold the fields of a recipe: {error}") from error
