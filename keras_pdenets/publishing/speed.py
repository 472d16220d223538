"""How fast a checkpoint was where somebody measured it: a small file beside it, for its card."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from keras_pdenets.utils.atomic import replace_file
from keras_pdenets.utils.records import read_record, settle

SPEED = "speed.json"


@dataclass(frozen=True)
class Speed:
    """Images that the folded net answers in a second.

    Args:
        images_per_second: Median, by backend.
        batch: Images in a step.
        rounds: Steps of each backend, in turn.
        where: Machine, threads and software, in a sentence.
        date: Day of the measurement.
    """

    images_per_second: dict[str, float]
    batch: int
    rounds: int
    where: str
    date: str

    def __post_init__(self) -> None:
        """Check the type of every field."""
        settle(self)


def write_speed(speed, folder):
    """Put a `Speed` beside a checkpoint, whole or not at all."""
    text = json.dumps(asdict(speed), indent=1) + "\n"
    replace_file(Path(folder) / SPEED, lambda path: path.write_text(text, encoding="utf-8"))


def read_speed(folder):
    """The `Speed` that lies beside a checkpoint, or None."""
    path = Path(folder) / SPEED
    return read_record(Speed, path, "a measured speed") if path.is_file() else None
