"""The record of a model in the header of its weight file, checked against the tensors.

The record names a builder of this package's table and its options. It is untrusted, so it holds
only numbers and short strings: no class, no config, no code. It is compared with the tensors of the
file before a model of that size is built: the file must hold every weight of the builder's net, in
its shape. So a model needs no more memory than its file, except for a missing classifier, whose
size is bounded.
"""

import math
from pathlib import Path
from typing import Any

from keras_pdenets.builders import Preprocessing
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.weight_file import Header, WeightFile
from keras_pdenets.hub.weight_shapes import weight_shapes
from keras_pdenets.presets import LARGEST_SIDE, Checkpoint
from keras_pdenets.presets.checkpoints import check_flat, check_options
from keras_pdenets.utils.checks import as_integer
from keras_pdenets.utils.json_files import parse_json
from keras_pdenets.utils.text import printable

HEADER_KEY = "keras_pdenets"
_HEAD = "classifier/"
# Largest classifier that a file may omit: 64 MiB, 8192 classes of 2048 features.
_LARGEST_HEAD = 2**24


def read_checkpoint(file: WeightFile | str | Path) -> Checkpoint:
    """The record in a weight file of this package.

    Args:
        file: The safetensors file, or its path.

    Raises:
        WeightsError: If the file is corrupted, another program wrote it, or its record contradicts
            its tensors.
    """
    if not isinstance(file, WeightFile):
        with WeightFile(Path(file)) as opened:
            return read_checkpoint(opened)
    header, path = file.header, file.path
    text = header.metadata.get(HEADER_KEY)
    if text is None:
        raise WeightsError(f"{path} has no keras_pdenets header: another program wrote it.")
    try:
        record = parse_json(text)
        # Before the dataclass, which copies all values.
        _check_words(record)
        checkpoint = Checkpoint(**record)
        _check_numbers(checkpoint, header)
        _check_config(checkpoint, header)
        _check_tensors(checkpoint, header)
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
        raise WeightsError(
            f"{path} has a header that cannot be read: {printable(str(error), 300)} "
            "Another version of this package may have written it."
        ) from None
    return checkpoint


def read_preprocessing(header: Header, path: Path) -> Preprocessing | None:
    """Normalisation of the pixels of a weight file's net, or None if the file has no record.

    Raises:
        WeightsError: If the file has a record that cannot be read.
    """
    text = header.metadata.get(HEADER_KEY)
    if text is None:
        return None
    try:
        record = parse_json(text)
        found = [tuple(map(float, record[field])) for field in ("mean", "std")]
    except (TypeError, ValueError, KeyError, OverflowError):
        found = [(), ()]
    if not all(found) or not all(map(math.isfinite, (*found[0], *found[1]))):
        raise WeightsError(f"{path} has a record with an invalid mean or std.")
    return Preprocessing(*found)


def _check_words(record: Any) -> None:
    """Raise a ValueError unless a record consists of numbers and short strings."""
    if not isinstance(record, dict) or not isinstance(record.get("options", {}), dict):
        raise ValueError("not a record of a model.")
    if not isinstance(record.get("architecture"), str):
        raise ValueError("architecture must be a short string.")
    check_options(record.get("options", {}), math.inf)
    for name, value in record.items():
        if name != "options":
            check_flat(name, value)


def _check_numbers(checkpoint: Checkpoint, header: Header) -> None:
    """Raise a ValueError unless the record's numbers are plausible for the file's tensors.

    A file of a few bytes must not cause a model of a million blocks: the net must not be deeper
    than the number of tensors, nor wider than the widest one.
    """
    shapes = {name: entry.shape for name, entry in header.tensors.items()}
    sides = checkpoint.input_shape
    if not all(0 < n <= LARGEST_SIDE for n in sides):
        raise ValueError(f"input_shape {sides}.")
    names = checkpoint.class_names
    if len(names) not in (0, checkpoint.classes):
        raise ValueError(f"{len(names)} names of {checkpoint.classes} classes.")
    for field in ("mean", "std"):
        values = getattr(checkpoint, field)
        if len(values) not in (1, sides[2]) or (field == "std" and min(values) <= 0):
            raise ValueError(f"{field} {values} for {sides[2]} channels.")
    widest = max((n for shape in shapes.values() for n in shape), default=0)
    for name, value in checkpoint.options.items():
        most = widest if name == "filters" else len(shapes)
        inner = value.values() if isinstance(value, dict) else [value]
        for item in (i for v in inner for i in (v if isinstance(v, list | tuple) else [v])):
            if isinstance(item, int | float) and not abs(item) <= most:
                raise ValueError(f"{name} {item}, more than the file has tensors for.")


def _check_config(checkpoint: Checkpoint, header: Header) -> None:
    """Raise a ValueError unless the options give a config with one width for each stage.

    It must not have more blocks than the file can hold: to compute the shapes of many takes
    seconds.
    """
    row = checkpoint.row
    config, usual = row.config(checkpoint.options), row.config({})
    widths, stages = getattr(config, "filters", ()), len(getattr(usual, "filters", ()))
    if not isinstance(widths, list | tuple) or len(widths) != stages:
        raise ValueError(f"filters {widths} for {stages} stages.")
    if not all((as_integer(n) or 0) > 0 for n in widths):
        raise ValueError(f"filters {widths}.")
    if 2 * config.blocks > len(header.tensors):  # each has at least two weights
        raise ValueError(f"{config.blocks} blocks, more than the file has tensors for.")


def _check_tensors(checkpoint: Checkpoint, header: Header) -> None:
    """Raise a ValueError unless the file has exactly the weights of the record's net."""
    found = {name: entry.shape for name, entry in header.tensors.items()}
    wanted = weight_shapes(checkpoint)
    head = {name: shape for name, shape in wanted.items() if name.startswith(_HEAD)}
    if not found.keys() & head.keys():
        if max(map(math.prod, head.values())) > _LARGEST_HEAD:
            raise ValueError(f"{checkpoint.classes} classes without a classifier in the file.")
        wanted = {name: shape for name, shape in wanted.items() if name not in head}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"{printable(name)} of shape {found.get(name)} in the file and "
                f"{wanted.get(name)} by the record."
            )
