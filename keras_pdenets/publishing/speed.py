"""How fast a checkpoint was where somebody measured it: a small file beside it, for its card."""

from dataclasses import dataclass
from pathlib import Path

from keras_pdenets.utils.records import Record

SPEED = "speed.json"


@dataclass(frozen=True)
class Speed(Record):
    """Images that the folded net answers in a second.

    Args:
        images_per_second: Median, by backend.
        batch: Images in a step.
        rounds: Steps of each backend, in turn.
        where: Machine, threads and software, in a sentence.
        date: Day of the measurement.
    """

    title = "a measured speed"

    images_per_second: dict[str, float]
    batch: int
    rounds: int
    where: str
    date: str


def read_speed(folder):
    """The `Speed` that lies beside a checkpoint, or None."""
    path = Path(folder) / SPEED
    return Speed.from_file(path) if path.is_file() else None
