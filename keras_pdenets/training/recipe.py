"""Everything that decides a training run, as one JSON file."""

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from keras_pdenets.data.augmentation import AREA, check_crop
from keras_pdenets.data.keras_layers import make_layers
from keras_pdenets.presets import LARGEST_SIDE, Checkpoint
from keras_pdenets.presets.checkpoints import check_flat
from keras_pdenets.training.peers import check_checkpoint, checkpoint_of
from keras_pdenets.utils.names import check_name
from keras_pdenets.utils.records import Record, check_count
from keras_pdenets.utils.text import shown

MOST_SEED = 2**32 - 2
_MOST_PHASES = 1000
_MOST_LAYERS = 20
DTYPES = ("float32", "float64", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
# A set of TFDS, its config, its version, some of its classes. Not one of TFDS's communities, which
# come before a colon and bring code from elsewhere.
_DATASET = re.compile(r"\w+(/[\w-][\w.-]*)?(:[\d.*]+)?(\[[\d:-]*\])?", re.ASCII)


@dataclass(frozen=True)
class Phase(Record):
    """Some epochs at one image size.

    Args:
        epochs: Number of epochs.
        image_size: Side of the images in pixels; None: the data set's own.
        restart: Start a new cosine here, from this share of the peak rate; None: the cosine goes
            on.

    Example:
    >>> from keras_pdenets.training import Phase, Recipe
    >>> net = {"architecture": "preact_resnet20", "input_shape": (28, 28, 1), "classes": 10}
    >>> stages = (Phase(8, image_size=14), Phase(4, restart=0.5))
    >>> recipe = Recipe("mine", net, "fashion_mnist", stages)
    >>> recipe.epochs, recipe.cycles
    (12, [(8, 1.0), (4, 0.5)])
    >>> recipe.image_size(0), recipe.image_size(8)
    (14, None)
    """

    epochs: int
    image_size: int | None = None
    restart: float | None = None


@dataclass(frozen=True)
class Recipe(Record):
    """How a checkpoint is trained.

    Args:
        preset: Name of the checkpoint, and of its folder (`utils.names`).
        checkpoint: The model.
        dataset: TFDS name of the data, or of some of its classes (`data.load_dataset`).
        train_split: Split to train on.
        test_split: Split that `evaluate` and the card report.
        log_split: Part of the test split that the log follows; nothing is chosen by it, but where
            `keep` is `"best"`.
        stages: The phases, in order.
        start: Preset or weight file that the run starts from: of the same net, perhaps with other
            classes, whose classifier is new then, or another number of channels; or of one with
            fewer blocks or without flow steps (`transforms.deepen`). None: random weights.
        freeze: What stays as it is: `"backbone"`, all but the classifier; the name of a stage or
            a block, all up to it; `""`, the batch norms alone (`transforms.freeze`). None: nothing.
        keep: `"last"`, or `"best"`: the weights after the epoch that was most accurate on
            `log_split`, of equals the one with the least loss.
        batch_size: Images in a step.
        optimizer: `"sgd"` (momentum 0.9, Nesterov) or `"adamw"`.
        learning_rate: Peak rate, reached after the warm-up; a cosine leads from it to 0 at the
            end, or at the next phase with a `restart`.
        warmup_epochs: Epochs of linear warm-up.
        weight_decay: Decoupled weight decay of kernels. Batch norm, biases and the kernels of
            flow steps, which start as the identity, have none.
        decay_pde: Also decay sigma, b and c of PDE layers, which enter quadratically.
        respace: Where a phase changes the images' side, scale the factors of derivatives of PDE
            layers with it, so that they keep their meaning (`transforms.respace`).
        label_smoothing: In [0, 1).
        gradient_norm: Global norm that gradients are clipped to, or None.
        ema: Momentum of an exponential moving average of the weights, which is then what is
            evaluated and saved; None: off.
        dtype: Keras dtype policy: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`.
        jit_compile: `"auto"`, true or false, as in `keras.Model.compile`; on JAX false is
            `"auto"`.
        steps_per_execution: Steps that Keras takes at once, between which no callback runs, as in
            `keras.Model.compile`; not on torch.
        flip: Mirror one half of the images.
        crop: Pixels of padding before a random crop, or `"area"` (`data.load_dataset`).
        augmentations: Layers of Keras for the finished batches, in order, with their arguments:
            `[{"layer": "RandomErasing", "factor": 0.5}, {"layer": "MixUp"}]`. Where one mixes
            images, labels become shares of the classes.
        data_on: `"host"`, or `"device"`: all images lie on the accelerator, where they are mirrored
            and cropped, to the same batches; without `augmentations`, for sets below 1 GiB.
        seed: Seed of weights, order and augmentation.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from keras_pdenets.training import Recipe
    >>> net = {"architecture": "pde_preact_resnet20", "input_shape": (28, 28, 1), "classes": 10}
    >>> recipe = Recipe("mine", net, "fashion_mnist", ({"epochs": 15},), crop=2, ema=0.999)
    >>> path = Path(tempfile.mkdtemp(), "recipe.json")
    >>> recipe.write(path)
    >>> Recipe.from_file(path) == recipe
    True
    """

    title = "a recipe"

    preset: str
    checkpoint: Checkpoint
    dataset: str
    stages: tuple[Phase, ...]
    start: str | None = None
    freeze: str | None = None
    keep: str = "last"
    train_split: str = "train"
    test_split: str = "test"
    log_split: str = "test"
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    warmup_epochs: float = 1.0
    weight_decay: float = 5e-4
    decay_pde: bool = False
    respace: bool = False
    label_smoothing: float = 0.0
    gradient_norm: float | None = None
    ema: float | None = None
    dtype: str = "float32"
    jit_compile: bool | str = "auto"
    steps_per_execution: int = 1
    flip: bool = True
    crop: int | str = 4
    augmentations: tuple[dict[str, Any], ...] = ()
    data_on: str = "host"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field; the message names it."""
        if isinstance(self.checkpoint, dict):
            object.__setattr__(self, "checkpoint", checkpoint_of(self.checkpoint))
        if isinstance(self.start, os.PathLike):
            object.__setattr__(self, "start", os.fspath(self.start))
        super().__post_init__()
        check_checkpoint(self.checkpoint)
        check_name("preset", self.preset)
        check_dataset(self.dataset)
        check_precision(self.dtype, self.jit_compile)
        if self.start is not None:
            _check_start(self.start)
        if len(self.stages) > _MOST_PHASES:
            raise ValueError(
                f"`stages` must be {_MOST_PHASES} at most. Received: {len(self.stages)}"
            )
        for phase in self.stages:
            check_count("stages.epochs", phase.epochs)
            check_count("stages.image_size", phase.image_size or 1, LARGEST_SIDE)
            if not (phase.restart is None or phase.restart > 0):
                raise ValueError(
                    f"`stages.restart` must be null or positive. Received: restart={phase.restart}"
                )
        check_count("batch_size", self.batch_size)
        check_count("steps_per_execution", self.steps_per_execution)
        check_count("seed", self.seed, MOST_SEED, 0)
        check_crop(self.crop)
        if not isinstance(self.crop, str):
            check_count("crop", self.crop, LARGEST_SIDE, 0)
        _check_layers(self.augmentations)
        if self.optimizer not in ("sgd", "adamw"):
            raise ValueError(
                f"`optimizer` must be 'sgd' or 'adamw'. Received: optimizer={self.optimizer!r}"
            )
        if not self.stages:
            raise ValueError("`stages` must hold at least one phase. Received: stages=()")
        self.check(
            ("learning_rate", self.learning_rate > 0, "be positive"),
            ("keep", self.keep in ("last", "best"), "be 'last' or 'best'"),
            ("weight_decay", self.weight_decay >= 0, "not be negative"),
            ("stages", self.stages[0].restart is None, "begin with a phase without `restart`"),
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
            ("respace", not (self.respace and self.ema), "be false where `ema` averages weights"),
            ("ema", self.ema is None or 0 < self.ema < 1, "be None or in (0, 1)"),
            ("data_on", self.data_on in ("host", "device"), "be 'host' or 'device'"),
            (
                "data_on",
                self.data_on == "host" or not (self.augmentations or self.crop == AREA),
                f"be 'host' with `augmentations`, and with crop={AREA!r}",
            ),
        )

    @property
    def epochs(self) -> int:
        """Number of epochs of all phases."""
        return sum(phase.epochs for phase in self.stages)

    @property
    def cycles(self) -> list[tuple[int, float]]:
        """Epochs and peak rate, as a share of `learning_rate`, of each cosine."""
        cycles = [(0, 1.0)]
        for phase in self.stages:
            if phase.restart is not None:
                cycles.append((0, phase.restart))
            cycles[-1] = (cycles[-1][0] + phase.epochs, cycles[-1][1])
        return cycles

    def image_size(self, epoch: int) -> int | None:
        """Side of the images in epoch number `epoch`, counted from 0."""
        for phase in self.stages:
            if epoch < phase.epochs:
                return phase.image_size
            epoch -= phase.epochs
        raise ValueError(f"`epoch` must be below {self.epochs}. Received: {epoch + self.epochs}")


def check_dataset(name: str) -> None:
    """Raise ValueError unless a text can be the name of a data set, and no path or program."""
    if not _DATASET.fullmatch(name) or ".." in name:
        raise ValueError(
            "`dataset` must be the name of a set of TFDS, with its config, version or classes "
            f"where need be, such as 'imagenet2012[::10]'. Received: dataset={shown(name)}"
        )


def check_precision(dtype: str, jit_compile: bool | str) -> None:
    """Raise ValueError unless Keras knows the two."""
    if dtype not in DTYPES:
        raise ValueError(
            f"`dtype` must be one of {', '.join(DTYPES)}. Received: dtype={shown(dtype)}"
        )
    if jit_compile not in (True, False, "auto"):
        raise ValueError(
            f"`jit_compile` must be 'auto', true or false. Received: {shown(jit_compile)}"
        )


def _check_layers(records: tuple[dict[str, Any], ...]) -> None:
    """Raise ValueError unless Keras has the layers, and they take the arguments."""
    if len(records) > _MOST_LAYERS:
        raise ValueError(
            f"`augmentations` must be {_MOST_LAYERS} layers at most. Received: {len(records)}"
        )
    for record in records:
        for key, value in record.items():
            check_flat(f"augmentations.{key}", value)
    make_layers(records)


def _check_start(start: str) -> None:
    """Raise ValueError unless a text is a preset or the path of a file on this machine."""
    parts = {*PurePosixPath(start).parts, *PureWindowsPath(start).parts}
    if not start or not start.isprintable() or ".." in parts or start[:2] in ("//", "\\\\"):
        raise ValueError(
            "`start` must be a preset or the path of a weight file without `..`, on this machine. "
            f"Received: start={shown(start)}"
        )
