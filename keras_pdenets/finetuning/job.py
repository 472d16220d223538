"""What decides a fine-tuning, as a file in its folder, where another job is refused."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_pdenets.presets import LARGEST_SIDE, Checkpoint
from keras_pdenets.training import Phase, Recipe
from keras_pdenets.training.models import BACKBONE
from keras_pdenets.training.trainer import WEIGHTS
from keras_pdenets.utils.locking import LOCK
from keras_pdenets.utils.records import Record, check_count
from keras_pdenets.utils.text import shown

JOB = "job.json"
FROZEN, UNFROZEN = "frozen", "unfrozen"
# Cheap on every backend, where layers that turn and shift are not; the shift is the recipe's crop.
AUGMENTATIONS = (
    {"layer": "RandomBrightness", "factor": 0.1},
    {"layer": "RandomContrast", "factor": 0.1},
)
_CROP_SHARE = 16  # of the side, on which images are shifted by up to that


@dataclass(frozen=True)
class Job(Record):
    """A fine-tuning; fields as the arguments of `finetune`.

    Args:
        preset: The net that it starts from.
        images: Digest of the images.
        checkpoint: The new net.
        epochs: With the backbone frozen, and with all layers trained.
        learning_rates: Of the two phases.
        batch_size: Images in a step.
        validation: Share of each class that chooses the epoch.
        flip: Mirror one half of the images.
        augmentations: As in a recipe.
        seed: Of weights, division, order and augmentation.
    """

    title = "a fine-tuning"

    preset: str
    images: str
    checkpoint: Checkpoint
    epochs: tuple[int, int]
    learning_rates: tuple[float, float]
    batch_size: int
    validation: float
    flip: bool
    augmentations: tuple[dict[str, Any], ...]
    seed: int

    def __post_init__(self) -> None:
        """Check the fields that the recipes do not check."""
        super().__post_init__()
        for count in self.epochs:
            check_count("epochs", count)
        check_count("image_size", self.checkpoint.input_shape[0], LARGEST_SIDE)
        self.check(("validation", 0 < self.validation < 1, "be in (0, 1)"))

    def claim(self, folder: Path) -> None:
        """Write the job into a folder, which must be new or hold the same one.

        Raises:
            ValueError: If it holds anything else; the message says what differs.
        """
        path = folder / JOB
        if not path.is_file():
            there = sorted(p.name for p in folder.iterdir() if p.name != LOCK)
            if there:
                raise ValueError(
                    f"`out` must be a new folder, or that of the same job. Received: {folder}, "
                    f"which holds {', '.join(there[:3])}"
                )
            self.write(path)
            return
        before = Job.from_file(path)
        ours, theirs = dataclasses.asdict(self), dataclasses.asdict(before)
        differ = [
            f"{name} ({shown(theirs[name])}, now {shown(ours[name])})"
            for name in ours
            if Job.from_json_value(ours[name]) != Job.from_json_value(theirs[name])
        ]
        if differ:
            raise ValueError(
                f"`out` must be a new folder, or that of the same job. Received: {folder}, whose "
                f"job has other {', '.join(differ)}"
            )

    @staticmethod
    def from_json_value(value: Any) -> Any:
        """A value with lists for tuples, as JSON has them."""
        if isinstance(value, list | tuple):
            return [Job.from_json_value(item) for item in value]
        if isinstance(value, dict):
            return {key: Job.from_json_value(item) for key, item in value.items()}
        return value

    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each phase, by its name: the head alone, then all but the batch norms.

        The second starts from a file in the job's folder, wherever that is.
        """
        side = self.checkpoint.input_shape[0]
        shared: dict[str, Any] = {
            "checkpoint": self.checkpoint, "dataset": "folder", "batch_size": self.batch_size,
            "optimizer": "adamw", "weight_decay": 1e-4, "gradient_norm": 1.0, "flip": self.flip,
            "crop": side // _CROP_SHARE, "augmentations": self.augmentations, "seed": self.seed,
            "keep": "best",
        }  # fmt: skip
        rows = {FROZEN: (self.preset, BACKBONE), UNFROZEN: (f"{FROZEN}/{WEIGHTS}", "")}
        return {
            name: Recipe(
                preset=name, stages=(Phase(epochs),), learning_rate=rate, start=start,
                freeze=freeze, warmup_epochs=1.0 if name == UNFROZEN and epochs > 1 else 0.0,
                **shared,
            )
            for (name, (start, freeze)), epochs, rate in zip(
                rows.items(), self.epochs, self.learning_rates, strict=True
            )
        }  # fmt: skip
