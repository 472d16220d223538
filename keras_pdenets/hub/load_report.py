"""The report of loading weights: what happened to each variable."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keras_pdenets.utils.text import printable

if TYPE_CHECKING:  # avoids an import cycle
    from keras_pdenets.hub.source import WeightsSource


@dataclass
class LoadReport:
    """What happened to each variable.

    Args:
        source: The file and its origin, as text.
        loaded: Paths of variables with the file's values.
        adapted: Paths of variables with values adapted to another number of input channels.
        initialised: Paths of variables of a new head, which keep their random values.
        unused: Keys of the file without a variable in the model (the head, if left out).
        path: The file.
        origin: The source that `weights=` of a builder named.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PreActResNet20(weights="hub", input_shape=(32, 32, 3), classes=5)
    >>> model.load_report.adapted, model.load_report.initialised
    (['stem_conv/kernel'], ['classifier/kernel', 'classifier/bias'])
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
