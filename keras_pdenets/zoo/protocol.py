"""Which nets are trained, and the one recipe that all of them get."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_pdenets.training.peers import check_net
from keras_pdenets.training.recipe import Recipe, read_json

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclass(frozen=True)
class Entry:
    """A net of a protocol.

    Args:
        name: Name of its runs: small letters, digits, `_`, `-` and dots.
        architecture: Row of the model table, or `"keras:NAME"` for a net of `keras.applications`.
        options: Other options of the row, or arguments of the function there.
        paper: What the paper states for this net, on the paper's data; empty if nothing.
        recipe: Fields of the recipe in which this net differs from the others, for ablations;
            the table says so.
    """

    name: str
    architecture: str
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the name, the row and its options."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"`name` must match {_NAME.pattern}. Received: name={self.name!r}")
        shared = sorted({"checkpoint", "preset", "seed"} & set(self.recipe))
        if shared:
            raise ValueError(f"`recipe` of {self.name} must not hold {', '.join(shared)}.")
        check_net(self.architecture, self.options)


@dataclass(frozen=True)
class Protocol:
    """Nets, seeds, and the recipe of all runs.

    Args:
        entries: The nets.
        seeds: One run of every net for each.
        recipe: Fields of `training.Recipe` but `preset` and `seed`; its `checkpoint` lacks
            `architecture` and `options`.
        reference: Where the figures of `paper` come from, and the data they are of; empty if
            there are none.
    """

    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]
    recipe: Mapping[str, Any]
    reference: str = ""

    def __post_init__(self) -> None:
        """Check that every run has a name of its own and a valid recipe."""
        entries = tuple(Entry(**e) if isinstance(e, dict) else e for e in self.entries)
        object.__setattr__(self, "entries", entries)
        object.__setattr__(self, "seeds", tuple(self.seeds))
        names = [entry.name for entry in entries]
        for field_name, values in (("entries", names), ("seeds", list(self.seeds))):
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"`{field_name}` must not be empty or hold anything twice. Received: {values}"
                )
        for entry in entries:
            self.recipe_of(entry, self.seeds[0])

    @classmethod
    def from_file(cls, path: Path) -> "Protocol":
        """The protocol in a JSON file.

        Raises:
            ValueError: If the file is no JSON, or holds a field that a protocol does not have.
        """
        return read_json(cls, path, "a protocol")

    @property
    def runs(self) -> dict[str, tuple[Entry, int]]:
        """Entry and seed of each run, by its name; all nets with the first seed come first."""
        return {f"{e.name}-seed{s}": (e, s) for s in self.seeds for e in self.entries}

    @property
    def varied(self) -> set[str]:
        """Fields of the recipe that some net has for itself."""
        return {name for entry in self.entries for name in entry.recipe}

    def recipe_of(self, entry: Entry, seed: int) -> Recipe:
        """The recipe of a run."""
        given = {**self.recipe, **entry.recipe}
        model = {"architecture": entry.architecture, "options": dict(entry.options)}
        own = sorted({"preset", "seed"} & set(given))
        own += sorted(set(model) & set(given.get("checkpoint", {})))
        if own:
            raise ValueError(f"`recipe` must leave {', '.join(own)} to the runs. Received: {given}")
        try:
            given["checkpoint"] = given["checkpoint"] | model
            return Recipe(preset=entry.name, seed=seed, **given)
        except (KeyError, TypeError) as error:
            raise ValueError(f"`recipe` must hold the fields of a recipe: {error}") from error
