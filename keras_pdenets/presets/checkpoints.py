"""The records of weight files, and the table of published checkpoints."""

import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_pdenets.builders import Preprocessing
from keras_pdenets.presets.architectures import ARCHITECTURES, Architecture
from keras_pdenets.utils.atomic import write_file
from keras_pdenets.utils.checks import lookup, matching
from keras_pdenets.utils.json_files import load_json
from keras_pdenets.utils.locking import locked
from keras_pdenets.utils.records import make, settle
from keras_pdenets.utils.text import printable, shown

# Control characters, direction marks, surrogates, line breaks; scripts need the joiners.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
PRESETS_FILE = Path(__file__).parents[1] / "presets.json"
LARGEST_SIDE = 2**16
_RECORD = "operator_options"
_LONGEST_WORD = 256  # names of classes in ImageNet have up to 130
_WAIT_SECONDS = 60.0  # writing a row takes no time


@dataclass(frozen=True)
class Checkpoint:
    """The record that determines the model of a weight file.

    It is stored in the header of the file.

    Args:
        architecture: Key of `ARCHITECTURES`.
        input_shape: Shape of the training images, channels last.
        classes: Number of classes.
        options: Options of the family's config besides those of the architecture, such as `stem`.
        mean: Mean of the pixels, 0-255, by channel.
        std: Standard deviation of the pixels, by channel.
        class_names: Names of the classes, in order.

    Example:
    >>> from keras_pdenets import Checkpoint
    >>> record = Checkpoint("pde_preact_resnet20", (28, 28, 1), 10, mean=(72.9,), std=(90.0,))
    >>> record.row.builder, record.preprocessing.mean
    ('PDEPreActResNet20', (72.9,))
    """

    architecture: str
    input_shape: tuple[int, int, int]
    classes: int
    options: dict[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Turn JSON's lists into tuples, and check every field."""
        settle(self)
        if not all(map(_can_be_shown, self.class_names)):
            raise ValueError(
                "`class_names` must be printable strings: no control characters, no lone "
                f"surrogates. Received: class_names={ascii(self.class_names)[:200]}"
            )
        row = self.row
        stem = {**row.options, **self.options}.get("stem")
        if "stem" in row.family.options and not stem:
            raise ValueError(
                f"`options` of a checkpoint of {row.builder} must name its `stem`: it does not "
                f"follow from the input's size. Received: options={self.options}"
            )

    @property
    def row(self) -> Architecture:
        """The model that it belongs to."""
        found: Architecture = lookup("architecture", self.architecture, ARCHITECTURES)
        return found

    @property
    def preprocessing(self) -> Preprocessing:
        """Normalisation of the pixels."""
        return Preprocessing(self.mean, self.std)


def _can_be_shown(name: Any) -> bool:
    """Whether a name is safe to print; values of other types fail elsewhere."""
    text = "".join(c for c in name if c not in _JOINERS) if isinstance(name, str) else ""
    return not any(unicodedata.category(c) in _UNSHOWN for c in text)


@dataclass(frozen=True)
class Preset:
    """A published checkpoint: its file, hash, source and results.

    Args:
        name: Key of the row.
        checkpoint: The model that it belongs to.
        dataset: TFDS name of the training data.
        split: Split that the metrics belong to.
        file: Name of the weight file.
        sha256: SHA-256 of the file.
        size: Size of the file in bytes.
        repo: Hub repository.
        revision: Commit of the Hub repository (40 hex digits), or None before publication.
        metrics: Results, by name.
        training: Command, hardware, seed, epochs, time.
        licences: Licence of `code`, `weights` and `data`.
        golden: `file`, `sha256` and `size` of the golden file, which `verify` reads, or None.

    Example:
    >>> import keras_pdenets
    >>> preset = keras_pdenets.get_preset("hyperbolic_resnet56_fashion_mnist")
    >>> preset.dataset, preset.split, preset.metrics["test_accuracy"]
    ('fashion_mnist', 'test', 94.0)
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
        """Check the type of every field; `hub.names.check_preset` checks the names."""
        settle(self)


def read_presets(path: Path = PRESETS_FILE) -> dict[str, Preset]:
    """The rows of a preset file, by name.

    Args:
        path: The JSON file; by default the table of this package.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a list of valid rows.

    Example:
    >>> from keras_pdenets.presets import read_presets
    >>> max(read_presets().values(), key=lambda preset: preset.size).name
    'pde_resnet50_fashion_mnist'
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
    """Write one row to a preset file, replacing a row of the same name.

    Args:
        preset: The row.
        path: The JSON file, which must exist; by default the table of this package.

    Raises:
        InUseError: If another process has locked its folder for a minute.

    Example:
    >>> import dataclasses, tempfile
    >>> from pathlib import Path
    >>> from keras_pdenets.presets import get_preset, read_presets, write_preset
    >>> table = Path(tempfile.mkdtemp(), "presets.json")
    >>> table.write_text("[]") > 0
    True
    >>> preset = dataclasses.replace(get_preset("resnet20_fashion_mnist"), name="mine")
    >>> write_preset(preset, table)
    >>> list(read_presets(table))
    ['mine']
    """
    path = Path(path)
    with locked(path.parent, _WAIT_SECONDS):
        rows = {**read_presets(path), preset.name: preset}
        text = json.dumps([asdict(rows[name]) for name in sorted(rows)], indent=1) + "\n"
        write_file(path, text)


def list_presets(pattern: str | None = None) -> list[str]:
    """Names of the checkpoints that `weights=` accepts.

    Args:
        pattern: Shell pattern such as `"pde*"`, ignoring case; None: all.

    Raises:
        ValueError: If the pattern is not a string.

    Example:
    >>> import keras_pdenets
    >>> keras_pdenets.list_presets("pde*")
    ['pde_resnet20_fashion_mnist', 'pde_resnet50_fashion_mnist']
    """
    return matching(pattern, sorted(read_presets()))


def get_preset(name: str) -> Preset:
    """The row of a checkpoint.

    Args:
        name: Name of the checkpoint, one of `list_presets`.

    Raises:
        ValueError: If there is none of this name; the message has the nearest ones first.

    Example:
    >>> import keras_pdenets
    >>> keras_pdenets.get_preset("pde_resnet20_fashion_mnist").checkpoint.input_shape
    (28, 28, 1)
    """
    return lookup("preset", name, read_presets())


def check_options(options: Mapping[str, Any], largest: float = LARGEST_SIDE) -> None:
    """Raise a ValueError unless options are numbers, short strings and lists of them.

    One option is a record: arguments of a layer, without nested records. A Keras layer would
    deserialise a nested record as an initialiser or activation: code from an untrusted file.

    Args:
        options: The options.
        largest: Largest allowed number.
    """
    for name, value in options.items():
        if name != _RECORD:
            check_flat(name, value, largest)
        elif not isinstance(value, Mapping):
            raise ValueError(f"`{name}` must be a record. Received: {name}={shown(value)}")
        else:
            for key, item in value.items():
                check_flat(f"{name}.{key}", item, largest)


def check_flat(name: str, value: Any, largest: float = math.inf) -> None:
    """Raise a ValueError unless a value is a number, a short string or a list of them."""
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, str):
            holds = len(item) <= _LONGEST_WORD
        else:
            holds = item is None or (isinstance(item, int | float) and abs(item) <= largest)
        if not holds:
            most = "" if largest == math.inf else f" of at most {largest}"
            raise ValueError(
                f"`{printable(name)}` must be a number{most}, a short string or a list of them. "
                f"Received: {printable(name)}={shown(value)}"
            )


def markdown_table() -> str:
    """The table of models in `weights/README.md`.

    Example:
    >>> from keras_pdenets.presets import markdown_table
    >>> print(markdown_table().splitlines()[0])
    | builder | operator | trainable parameters | checkpoint | accuracy |
    """
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
