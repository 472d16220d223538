"""Everything that decides a training run, as one JSON file."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from keras_pdenets.data.augmentation import check_crop
from keras_pdenets.layers.images import check_positive_integer
from keras_pdenets.presets import Checkpoint
from keras_pdenets.training.peers import checkpoint_of


@dataclass(frozen=True)
class Stage:
    """Some epochs at one image size.

    Args:
        epochs: Number of epochs.
        image_size: Side of the images in pixels; None: the data set's own.
        restart: Start a new cosine here, from this share of the peak rate; None: the cosine goes
            on.
    """

    epochs: int
    image_size: int | None = None
    restart: float | None = None


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint is trained.

    Args:
        preset: Name of the checkpoint.
        checkpoint: The model.
        dataset: TFDS name of the data, or of some of its classes (`data.load_dataset`).
        train_split: Split to train on.
        test_split: Split that `evaluate` and the card report.
        log_split: Part of the test split that the log follows; nothing is chosen by it.
        stages: Epochs, by image size.
        start: Preset or weight file that the run starts from: of the same net, or of one with
            fewer blocks or without flow steps (`transforms.grow`). None: random weights.
        batch_size: Images in a step.
        optimizer: `"sgd"` (momentum 0.9, Nesterov) or `"adamw"`.
        learning_rate: Peak rate, reached after the warm-up; a cosine leads from it to 0 at the
            end, or at the next stage with a `restart`.
        warmup_epochs: Epochs of linear warm-up.
        weight_decay: Decoupled weight decay of kernels. Batch norm, biases and the kernels of
            flow steps, which start as the identity, have none.
        decay_pde: Also decay sigma, b and c of PDE layers, which enter quadratically.
        label_smoothing: In [0, 1).
        gradient_norm: Global norm that gradients are clipped to, or None.
        ema: Momentum of an exponential moving average of the weights, which is then what is
            evaluated and saved; None: off.
        dtype: Keras dtype policy: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`.
        jit_compile: `"auto"`, true or false, as in `keras.Model.compile`; on JAX false is
            `"auto"`.
        flip: Mirror one half of the images.
        crop: Pixels of padding before a random crop, or `"area"` (`data.load_dataset`).
        seed: Seed of weights, order and augmentation.
    """

    preset: str
    checkpoint: Checkpoint
    dataset: str
    stages: tuple[Stage, ...]
    start: str | None = None
    train_split: str = "train"
    test_split: str = "test"
    log_split: str = "test"
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    warmup_epochs: float = 1.0
    weight_decay: float = 5e-4
    decay_pde: bool = False
    label_smoothing: float = 0.0
    gradient_norm: float | None = None
    ema: float | None = None
    dtype: str = "float32"
    jit_compile: bool | str = "auto"
    flip: bool = True
    crop: int | str = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every number; the message names the field."""
        if isinstance(self.checkpoint, dict):
            object.__setattr__(self, "checkpoint", checkpoint_of(self.checkpoint))
        stages = tuple(Stage(**s) if isinstance(s, dict) else s for s in self.stages)
        object.__setattr__(self, "stages", stages)
        for stage in stages:
            check_positive_integer("stages.epochs", stage.epochs)
        check_positive_integer("batch_size", self.batch_size)
        check_crop(self.crop)
        if self.optimizer not in ("sgd", "adamw"):
            raise ValueError(
                f"`optimizer` must be 'sgd' or 'adamw'. Received: optimizer={self.optimizer!r}"
            )
        if not stages:
            raise ValueError("`stages` must hold at least one stage. Received: stages=()")
        rules = (
            ("learning_rate", self.learning_rate > 0, "be positive"),
            ("weight_decay", self.weight_decay >= 0, "not be negative"),
            ("stages", self.stages[0].restart is None, "begin with a stage without `restart`"),
            (
                "warmup_epochs",
                0 <= self.warmup_epochs < self.cycles[0][0],
                "be in [0, epochs of the first cosine)",
            ),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "be in [0, 1)"),
            (
                "gradient_norm",
                self.gradient_norm is None or self.gradient_norm > 0,
                "be None or positive",
            ),
            ("ema", self.ema is None or 0 < self.ema < 1, "be None or in (0, 1)"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise ValueError(f"`{name}` must {rule}. Received: {name}={getattr(self, name)!r}")

    @property
    def epochs(self) -> int:
        """Number of epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def cycles(self) -> list[tuple[int, float]]:
        """Epochs and peak rate, as a share of `learning_rate`, of each cosine."""
        cycles = [(0, 1.0)]
        for stage in self.stages:
            if stage.restart is not None:
                cycles.append((0, stage.restart))
            cycles[-1] = (cycles[-1][0] + stage.epochs, cycles[-1][1])
        return cycles

    def image_size(self, epoch: int) -> int | None:
        """Side of the images in epoch number `epoch`, counted from 0."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage.image_size
            epoch -= stage.epochs
        raise ValueError(f"`epoch` must be below {self.epochs}. Received: {epoch + self.epochs}")

    def to_json(self) -> str:
        """The recipe as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_file(cls, path: Path) -> "Recipe":
        """The recipe in a JSON file.

        Raises:
            ValueError: If the file is no JSON, or holds a field that a recipe does not have.
        """
        return read_json(cls, path, "a recipe")


def read_json(kind: Any, path: Path, name: str) -> Any:
    """An instance of a dataclass from a JSON file of its fields.

    Args:
        kind: The dataclass.
        path: The file.
        name: What it is, with its article, for messages.

    Raises:
        ValueError: If the file is no JSON, lacks a field or has one that the dataclass has not.
    """
    try:
        values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    unknown = sorted(set(values) - {f.name for f in fields(kind)})
    if unknown:
        raise ValueError(f"{path} is not {name}: {name} has no field {', '.join(unknown)}.")
    try:
        return kind(**values)
    except TypeError as error:  # a field is missing, or one inside does not exist
        raise ValueError(f"{path} is not {name}: {error}") from error
