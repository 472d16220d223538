"""The measured speed of a checkpoint: a small file beside it, for its card."""

from dataclasses import dataclass
from pathlib import Path

from keras_pdenets.utils.records import Record

SPEED = "speed.json"


@dataclass(frozen=True)
class Speed(Record):
    """Throughput of the folded net.

    Args:
        images_per_second: Median by backend.
        batch: Images per batch.
        rounds: Steps of each backend, run alternately.
        where: Machine, threads and software, in a sentence.
        date: Date of the measurement.
    """

    title = "a measured speed"

    images_per_second: dict[str, float]
    batch: int
    rounds: int
    where: str
    date: str


def read_speed(folder):
    """The `Speed` beside a checkpoint, or None."""
    path = Path(folder) / SPEED
    return Speed.from_file(path) if path.is_file() else None
