"""THE table: one row for each model size, one row for each checkpoint."""

import fnmatch
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from keras_pdenets.builders import FAMILIES, Preprocessing
from keras_pdenets.utils.atomic import replace_file
from keras_pdenets.utils.checks import lookup
from keras_pdenets.utils.locking import locked
from keras_pdenets.utils.records import load_json, make, settle
from keras_pdenets.utils.text import printable, shown

# Control characters, direction marks, halves of characters, line breaks; scripts need the joiners.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
PRESETS_FILE = Path(__file__).with_name("presets.json")
LARGEST_SIDE = 2**16
_RECORD = "operator_options"
_LONGEST_WORD = 256  # names of classes in ImageNet have up to 130
_WAIT_SECONDS = 60.0  # one that writes a row is done at once


@dataclass(frozen=True)
class Architecture:
    """A model size.

    Args:
        name: Key of the row and default name of the model.
        builder: Name of the public function.
        family: Key of `builders.FAMILIES`.
        options: Arguments of the family's config.
        side: Side of the input, in pixels, where nobody gives one.
        parameters: Trainable parameters with the small stem, 10 classes and 3 input channels.
        reference: Where the architecture comes from.
        preset: Name of the checkpoint behind `weights="hub"`, or None.
    """

    name: str
    builder: str
    family: str
    options: dict[str, Any]
    side: int
    parameters: int
    reference: str
    preset: str | None = None

    @property
    def operator(self) -> str:
        """What stands for a 3x3 convolution inside the residual branch."""
        return str(self.options.get("operator", "quasi-linear"))


_PREFIXES = {"conv": "", "pde": "PDE", "decomposed": "Decomposed"}
_HE, _HAUSER = "He et al. 2015, arXiv 1512.03385", "Hauser 2019, arXiv 1902.04106, Eq. (13)"
_YIN = "Yin et al. 2019, arXiv 1904.07568, Eq. (44)"
_LIU = "Liu et al. 2023, arXiv 2308.01621"
_VGG = "Simonyan and Zisserman 2014, arXiv 1409.1556, with batch norm and one dense layer"
_LI = "Li and Shi 2017, arXiv 1708.05115, section 3"

# depth, blocks in each stage, block, trainable parameters of conv, pde, decomposed
_RESNETS = (
    (18, (2, 2, 2, 2), "basic", (11_173_962, 7_512_138, 8_028_234)),
    (34, (3, 4, 6, 3), "basic", (21_282_122, 14_253_386, 14_769_482)),
    (50, (3, 4, 6, 3), "bottleneck", (23_520_842, 19_748_426, 19_748_426)),
    (101, (3, 4, 23, 3), "bottleneck", (42_512_970, 35_398_218, 35_398_218)),
)
# depth = 6 L + 2, L, the same three counts
_PREACT_RESNETS = (
    (20, 3, (295_418, 198_650, 198_650)),
    (32, 5, (489_850, 328_570, 328_570)),
    (44, 7, (684_282, 458_490, 458_490)),
    (56, 9, (878_714, 588_410, 588_410)),
    (110, 18, (1_753_658, 1_173_050, 1_173_050)),
)
# depth, blocks in each stage, trainable parameters; the blocks have no bottleneck, so that 34 and
# 50 are one net
_HYPERBOLIC_RESNETS = (
    (18, (2, 2, 2, 2), 4_046_954),
    (34, (3, 4, 6, 3), 8_555_018),
    (50, (3, 4, 6, 3), 8_555_018),
    (101, (3, 4, 23, 3), 17_512_046),
)
# depth = 9 L + 2 (three convolutions in a row in each block), L, trainable parameters
_SMALL_HYPERBOLIC_RESNETS = ((20, 2, 51_843), (38, 4, 121_289), (56, 6, 190_735), (74, 8, 260_181))
_SMALL_HYPERBOLIC = {
    "equation": "cp", "multiplier": 2, "stem": "cifar", "filters": (16, 32, 64)
}  # fmt: skip
_SMALL_PLAIN = {"stem": "cifar", "filters": (16, 32, 64)}
_VGG16 = {"stem": "cifar", "filters": (64, 128, 256, 512, 512), "downsampling": "pool"}
_STEPS = {"steps": 2, "promote": "depthwise"}
# builder, options, side, trainable parameters as they are and refined, reference
_PLAIN_NETS = (
    ("PlainNet18", {"num_layers": (4, 4, 4, 4)}, 224, (11_000_138, 11_140_682), _HE),
    ("PlainNet34", {"num_layers": (6, 8, 12, 6)}, 224, (21_108_298, 21_382_474), _HE),
    ("PlainNet20", {"num_layers": (6, 6, 6), **_SMALL_PLAIN}, 32, (269_722, 294_490), _HE),
    ("PlainNet56", {"num_layers": (18, 18, 18), **_SMALL_PLAIN}, 32, (853_018, 926_170), _HE),
    ("VGG16", {"num_layers": (1, 2, 3, 3, 3), **_VGG16}, 32, (14_724_042, 14_876_106), _VGG),
)
_DEFAULT_PRESETS = {
    "pde_resnet50": "pde_resnet50_fashion_mnist",
    "preact_resnet20": "resnet20_fashion_mnist",
    "pde_preact_resnet20": "pde_resnet20_fashion_mnist",
    "decomposed_preact_resnet20": "decomposed_resnet20_fashion_mnist",
    "hyperbolic_resnet56": "hyperbolic_resnet56_fashion_mnist",
    "plain_net20": "plain_net20_fashion_mnist",
    "refined_plain_net20": "refined_plain_net20_fashion_mnist",
}


def _row(
    family: str,
    builder: str,
    options: dict[str, Any],
    side: int,
    parameters: int,
    reference: str,
    operator: str | None = None,
) -> Architecture:
    if operator is not None:
        prefix, options = _PREFIXES[operator], {**options, "operator": operator}
        builder = f"{prefix}{builder}"
        if prefix:
            reference = f"{reference}; {_YIN}"
    # PDEPreActResNet20: pde_preact_resnet20
    name = re.sub(r"(PDE|Decomposed|PreAct|Hyperbolic|Plain|Refined)", r"\1_", builder).lower()
    preset = _DEFAULT_PRESETS.get(name)
    return Architecture(name, builder, family, options, side, parameters, reference, preset)


ARCHITECTURES = {
    row.name: row
    for row in (
        *(
            row
            for index, operator in enumerate(_PREFIXES)
            for row in (
                *(
                    _row("resnet", f"ResNet{depth}", {"num_blocks": n, "block": block}, 224,
                         counts[index], _HE, operator)
                    for depth, n, block, counts in _RESNETS
                ),
                *(
                    _row("preact_resnet", f"PreActResNet{depth}", {"num_blocks": n}, 32,
                         counts[index], _HAUSER, operator)
                    for depth, n, counts in _PREACT_RESNETS
                ),
            )
        ),
        *(
            _row("plain_net", builder, options, side, counts[0], reference, "conv")
            for builder, options, side, counts, reference in _PLAIN_NETS
        ),
        *(
            _row("refined_plain_net", f"Refined{builder}", {**options, **_STEPS}, side, counts[1],
                 f"{reference}; {_LI}", "conv")
            for builder, options, side, counts, reference in _PLAIN_NETS
        ),
        *(
            _row("hyperbolic_resnet", f"HyperbolicResNet{depth}", {"num_blocks": n}, 224, count,
                 f"{_LIU}, Eq. (3)")
            for depth, n, count in _HYPERBOLIC_RESNETS
        ),
        *(
            _row("hyperbolic_resnet", f"HyperbolicResNet{depth}",
                 {"num_blocks": n, **_SMALL_HYPERBOLIC}, 32, count,
                 f"{_LIU}, Eq. (1)-(2) as a sum of products")
            for depth, n, count in _SMALL_HYPERBOLIC_RESNETS
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """What has to be known to build the model that a weight file belongs to.

    The same record stands in the header of the file.

    Args:
        architecture: Key of `ARCHITECTURES`.
        input_shape: Shape of the images that it was trained on, channels last.
        classes: Number of classes.
        options: Options of the family's config beside the architecture's own, such as `stem`.
        mean: Mean of the pixels, 0-255, by channel.
        std: Standard deviation of the pixels, by channel.
        class_names: Names of the classes, in order.
    """

    architecture: str
    input_shape: tuple[int, int, int]
    classes: int
    options: dict[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Turn the lists that JSON gives into tuples, and check every field."""
        settle(self)
        if not all(map(_can_be_shown, self.class_names)):
            raise ValueError(
                "`class_names` must be texts that can be shown: no control characters, no halves "
                f"of characters. Received: class_names={ascii(self.class_names)[:200]}"
            )
        row = lookup("architecture", self.architecture, ARCHITECTURES)
        stem = {**row.options, **self.options}.get("stem")
        if "stem" in FAMILIES[row.family].options and not stem:
            raise ValueError(
                f"`options` of a checkpoint of {row.builder} must name its `stem`: the input's "
                f"size does not tell it later. Received: options={self.options}"
            )

    @property
    def preprocessing(self) -> Preprocessing:
        """Normalisation of the pixels."""
        return Preprocessing(self.mean, self.std)


def _can_be_shown(name: Any) -> bool:
    """Whether a name does nothing to a terminal but stand there; other types have other errors."""
    text = "".join(c for c in name if c not in _JOINERS) if isinstance(name, str) else ""
    return not any(unicodedata.category(c) in _UNSHOWN for c in text)


@dataclass(frozen=True)
class Preset:
    """A published checkpoint: where its bytes are, what they must be, and what it scores.

    Args:
        name: Key of the row.
        checkpoint: The model that it belongs to.
        dataset: TFDS name of the training data.
        split: Split that the metrics belong to.
        file: Name of the weight file.
        sha256: Hash of its bytes.
        size: Number of its bytes.
        repo: Hub repository.
        revision: Commit of the Hub repository (40 hex digits), or None before publication.
        metrics: Results, by name.
        training: Command, hardware, seed, epochs, time.
        licences: Licence of `code`, `weights` and `data`.
        golden: `file`, `sha256` and `size` of the golden file, which `verify` reads, or None.
    """

    name: str
    checkpoint: Checkpoint
    dataset: str
    split: str
    file: str
    sha256: str
    size: int
    repo: str
    revision: str | None
    metrics: dict[str, float]
    training: dict[str, Any]
    licences: dict[str, str]
    golden: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check the type of every field; `hub.names.check_preset` looks at the names."""
        settle(self)


def read_presets(path: Path = PRESETS_FILE) -> dict[str, Preset]:
    """The rows of a preset file, by name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything but rows.
    """
    rows = load_json(path)
    try:
        if not isinstance(rows, list):
            raise ValueError(f"it must be a list. Received: {shown(rows)}")
        presets = [make(Preset, row, "a row") for row in rows]
    except ValueError as error:
        raise ValueError(
            f"{path} is not a table of presets: {printable(str(error), 1000)}"
        ) from error
    return {preset.name: preset for preset in presets}


def write_preset(preset: Preset, path: Path = PRESETS_FILE) -> None:
    """Put one row in a preset file, in place of the row of the same name; the others stay.

    Raises:
        InUseError: If another process has held its folder for a minute.
    """
    path = Path(path)
    with locked(path.parent, _WAIT_SECONDS):
        rows = {**read_presets(path), preset.name: preset}
        text = json.dumps([asdict(rows[name]) for name in sorted(rows)], indent=1) + "\n"
        replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def list_presets(pattern: str | None = None) -> list[str]:
    """Names of the checkpoints that `weights=` takes.

    Args:
        pattern: Those that match, as file names match in a shell, whatever the case: `"pde*"`;
            None: all.

    Raises:
        ValueError: If the pattern is not a text.

    Example:
    >>> import keras_pdenets
    >>> keras_pdenets.list_presets("pde*")
    ['pde_resnet20_fashion_mnist', 'pde_resnet50_fashion_mnist']
    """
    return _matching(pattern, sorted(read_presets()))


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the builders, as `getattr(keras_pdenets, name)` takes them.

    Args:
        pattern: Those that match, as file names match in a shell, whatever the case: `"pde*"`;
            None: all.

    Raises:
        ValueError: If the pattern is not a text.

    Example:
    >>> import keras_pdenets
    >>> keras_pdenets.list_models("pderesnet*")
    ['PDEResNet18', 'PDEResNet34', 'PDEResNet50', 'PDEResNet101']
    """
    return _matching(pattern, [row.builder for row in ARCHITECTURES.values()])


def _matching(pattern: str | None, names: list[str]) -> list[str]:
    if pattern is None:
        return names
    if not isinstance(pattern, str):
        raise ValueError(
            f"`pattern` must be a text such as 'pde*', or None. Received: pattern={pattern!r}"
        )
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower())]


def get_preset(name: str) -> Preset:
    """The row of a checkpoint, or ValueError with all names, the nearest first."""
    return lookup("preset", name, read_presets())


def config_of(architecture: Architecture, options: Mapping[str, Any]) -> Any:
    """The family's config: the row's options, overridden by `options`.

    Raises:
        ValueError: If the family has no such option, or not with such a value.
    """
    kind: Any = FAMILIES[architecture.family].config
    unknown = sorted(set(options) - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(
            f"`options` of {architecture.builder} must be of "
            f"{', '.join(field.name for field in fields(kind))}. Received: {shown(unknown)}"
        )
    try:
        return kind(**{**architecture.options, **options})
    except (TypeError, AttributeError, KeyError, IndexError, ArithmeticError) as error:
        raise ValueError(
            f"`options` of {architecture.builder} must have values of the right kinds "
            f"({printable(str(error), 200)}). Received: options={shown(dict(options))}"
        ) from error


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ValueError unless options are numbers, short words and lists of them.

    One of them is a record, of arguments of a layer. A Keras layer takes a record for an
    initialiser or an activation and builds what it names: such a record would be code from whoever
    wrote the file.
    """
    for name, value in options.items():
        if name == _RECORD and isinstance(value, Mapping):
            for key, item in value.items():
                _check_flat(f"{name}.{key}", item)
        elif name == _RECORD:
            raise ValueError(f"`{name}` must be a record. Received: {name}={shown(value)}")
        else:
            _check_flat(name, value)


def _check_flat(name: str, value: Any) -> None:
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, str):
            holds = len(item) <= _LONGEST_WORD
        else:
            holds = item is None or (isinstance(item, int | float) and abs(item) <= LARGEST_SIDE)
        if not holds:
            raise ValueError(
                f"`options` must hold numbers of at most {LARGEST_SIDE}, short words and lists of "
                f"them. Received: {printable(name)}={shown(value)}"
            )


def markdown_table() -> str:
    """The table of models, as it stands in the README."""
    presets = read_presets()
    lines = ["| builder | operator | trainable parameters | checkpoint | accuracy |"]
    lines.append("|---|---|---:|---|---:|")
    for row in ARCHITECTURES.values():
        preset = presets.get(row.preset or "")
        name, accuracy = "", ""
        if preset is not None:
            name = f"`{preset.name}`"
            accuracy = f"{preset.metrics['test_accuracy']:.2f} %"
        lines.append(
            f"| `{row.builder}` | {row.operator} | {row.parameters:,} | {name} | {accuracy} |"
        )
    return "\n".join(lines)
