"""What became of each variable when weights were loaded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keras_pdenets.utils.text import printable

if TYPE_CHECKING:  # it reads golden files, which are written as weights are
    from keras_pdenets.hub.source import WeightsSource


@dataclass
class LoadReport:
    """What became of each variable.

    Args:
        source: The file, and where it came from.
        loaded: Paths of the variables that took the file's values as they are.
        adapted: Paths of those whose values were fitted to another number of input channels.
        initialised: Paths of those that kept their random start, because the head is new.
        unused: Keys of the file that the model has no variable for (a head left out).
        path: The file.
        origin: What `weights=` named, where a builder loaded them.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    initialised: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    path: Path | None = None
    origin: "WeightsSource | None" = None

    def __str__(self) -> str:
        """One line."""
        parts = [f"{len(self.loaded)} variables loaded from {self.source}"]
        for label in ("adapted", "initialised", "unused"):
            names = getattr(self, label)
            if names:
                parts.append(f"{label}: {', '.join(map(printable, names))}")
        return "; ".join(parts)
