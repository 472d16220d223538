"""The search space and the settings that all trials share."""

import math
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from keras_pdenets.blocks.operators import OPERATORS
from keras_pdenets.builders import ModelOptions, Preprocessing
from keras_pdenets.builders.steps import STARTS
from keras_pdenets.operators.stopping import MOST_BLOCKS
from keras_pdenets.presets import ARCHITECTURES, LARGEST_SIDE
from keras_pdenets.search.plan import GrowthRules
from keras_pdenets.training.recipe import MOST_SEED, check_dataset, check_precision
from keras_pdenets.utils.checks import lookup
from keras_pdenets.utils.records import Record, check_count
from keras_pdenets.utils.text import shown

_MOST_CHOICES = 100_000
SEARCHABLE = ("preact_resnet",)


@dataclass(frozen=True)
class SearchSpace(Record):
    """Everything that determines a search except the images; one JSON file.

    Args:
        architecture: Row of the model table whose depth is searched.
        depths: Blocks in a section, the same in all, that grid, random, Bayesian and Hyperband
            search choose from.
        operators: Choices of the 3x3 operator.
        widths: Choices of a factor of the filters.
        learning_rates: Choices of Adam's learning rate.
        rules: How the depth search grows its net (`GrowthRules`), including epsilon.
        tracks: Number of choices of operator, width and rate that grow after the first training.
        start: Initialisation of the residual branches: `"zero"`, `"1/L"` or `"ordinary"`. With the
            last, the distance of shallow nets depends on their depth, and the rule fails: see
            docs/guides/depth.md.
        filters: Width of each section, or None: the architecture's.
        stage_epochs: Epochs of every training of the depth search except for annealing.
        anneal_epochs: Epochs at the end of every full training in which the rate decays to 0.
        epochs: Epochs of a full training in the other searches.
        batch_size: Images per batch.
        dtype: Keras dtype policy, such as `"mixed_bfloat16"` on a GPU.
        jit_compile: As in `keras.Model.compile`; on JAX, false means `"auto"`.
        seed: Seed of the weights and of the order of the images.
        dataset: TFDS name, for the command `keras-pdenets search`.
        train_split: Split in TFDS's notation.
        validation_split: Images for the objective.
        test_split: Images for the test of the result.
        image_size: Side that images are resized to, or None.

    Raises:
        ValueError: If a field is out of range, or the architecture's shortcuts have weights.

    Example:
    >>> from keras_pdenets.search import SearchSpace
    >>> space = SearchSpace(learning_rates=(1e-3, 3e-3), rules={"epsilons": (0.5, 0.3)})
    >>> len(space.combinations), space.rules.start
    (2, (2, 2, 2))
    """

    title = "a search space"

    architecture: str = "preact_resnet20"
    depths: tuple[int, ...] = (1, 2, 4, 8, 16)
    operators: tuple[str, ...] = ("conv",)
    widths: tuple[float, ...] = (1.0,)
    learning_rates: tuple[float, ...] = (3e-3,)
    rules: GrowthRules = field(default_factory=GrowthRules)
    tracks: int = 1
    start: str = "zero"
    filters: tuple[int, ...] | None = None
    stage_epochs: int = 2
    anneal_epochs: int = 4
    epochs: int = 9
    batch_size: int = 128
    dtype: str = "float32"
    jit_compile: bool | str = "auto"
    seed: int = 0
    dataset: str = "fashion_mnist"
    train_split: str = "train[:55000]"
    validation_split: str = "train[55000:]"
    test_split: str = "test"
    image_size: int | None = None

    def __post_init__(self) -> None:
        """Convert the lists from JSON into tuples, and check every field."""
        super().__post_init__()
        for name in ("widths", "learning_rates"):  # JSON writes 1 for 1.0
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        check_dataset(self.dataset)
        check_precision(self.dtype, self.jit_compile)
        row = lookup("architecture", self.architecture, ARCHITECTURES)
        if row.family.name not in SEARCHABLE:
            names = [n for n, r in ARCHITECTURES.items() if r.family.name in SEARCHABLE]
            raise ValueError(
                "`architecture` must be of a family with identity shortcuts only, so that every "
                f"block can be measured: {', '.join(names)}. "
                f"Received: architecture={self.architecture!r}"
            )
        for name in ("tracks", "stage_epochs", "anneal_epochs", "epochs", "batch_size"):
            check_count(name, getattr(self, name))
        check_count("seed", self.seed, MOST_SEED, 0)
        check_count("image_size", self.image_size or 1, LARGEST_SIDE)
        for depth in self.depths:
            check_count("depths", depth, MOST_BLOCKS)
        for width in self.filters or ():
            check_count("filters", width, LARGEST_SIDE)
        choices = math.prod(
            len(part) for part in (self.depths, self.operators, self.widths, self.learning_rates)
        )
        self.check(
            ("depths", self.depths, "hold at least one number"),
            ("operators", self.operators and set(self.operators) <= set(OPERATORS),
             f"hold names of {', '.join(OPERATORS)}"),
            ("widths", self.widths and 0 < min(self.widths) <= max(self.widths) <= LARGEST_SIDE,
             f"hold positive numbers of at most {LARGEST_SIDE}"),
            ("learning_rates", self.learning_rates and min(self.learning_rates) > 0,
             "hold positive numbers"),
            ("start", self.start in STARTS, f"be one of {', '.join(STARTS)}"),
            ("anneal_epochs", self.anneal_epochs <= self.epochs, "not be above `epochs`"),
        )  # fmt: skip
        if choices > _MOST_CHOICES:
            raise ValueError(
                "`depths`, `operators`, `widths` and `learning_rates` must make "
                f"{_MOST_CHOICES} choices at most. Received: {choices}"
            )
        sections = len(row.config({}).num_blocks)
        if len(self.rules.start) != sections:
            raise ValueError(
                f"`rules.start` must have one number for each of the {sections} sections of "
                f"{self.architecture}. Received: start={shown(self.rules.start)}"
            )

    @property
    def sections(self) -> int:
        """Number of sections whose depth is searched."""
        return len(self.rules.start)

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """Every choice of operator, width and learning rate."""
        names = ("operator", "width", "learning_rate")
        choices = product(self.operators, self.widths, self.learning_rates)
        return [dict(zip(names, values, strict=True)) for values in choices]

    def build(self, values: dict[str, Any], input_shape: Any, classes: int) -> Any:
        """The untrained model of one choice, which returns logits."""
        row = ARCHITECTURES[self.architecture]
        base = self.filters or row.config({}).filters
        options: dict[str, Any] = {
            **STARTS[self.start],
            "num_blocks": depths_of(values, self.sections),
            "operator": values["operator"],
            "filters": tuple(max(1, round(values["width"] * n)) for n in base),
        }
        model_options = ModelOptions(
            tuple(input_shape), name=row.name, classes=classes, classifier_activation=None,
            preprocessing=Preprocessing(), data_format="channels_last", dtype=self.dtype,
        )  # fmt: skip
        return row.build(options, model_options)


def depths_of(values: dict[str, Any], sections: int) -> tuple[int, ...]:
    """Blocks in each section, from the hyperparameters of a trial."""
    if "depth_0" in values:
        return tuple(int(values[f"depth_{s}"]) for s in range(sections))
    return (int(values["depth"]),) * sections
