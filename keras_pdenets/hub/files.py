"""Weights in safetensors files, keyed by the path of each variable."""

import errno
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from keras_pdenets.hub.atomic import replace_file
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.presets import Checkpoint

_HEADER_KEY = "keras_pdenets"


@dataclass
class LoadReport:
    """What became of each variable.

    Args:
        source: The file, and where it came from.
        loaded: Paths of the variables that took the file's values as they are.
        adapted: Paths of those whose values were fitted to another number of input channels.
        initialised: Paths of those that kept their random start, because the head is new.
        unused: Keys of the file that the model has no variable for (a head left out).
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    initialised: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line."""
        parts = [f"{len(self.loaded)} variables loaded from {self.source}"]
        for label in ("adapted", "initialised", "unused"):
            names = getattr(self, label)
            if names:
                parts.append(f"{label}: {', '.join(names)}")
        return "; ".join(parts)


def write_weights(model: Any, path: Path, checkpoint: Checkpoint, float16: bool = False) -> None:
    """Write the weights of `model` to a safetensors file, whole or not at all.

    Args:
        model: A `keras.Model`.
        path: The file.
        checkpoint: How to build the model; it goes into the header of the file.
        float16: Store tensors of two and more axes in 16 bits: half the size, a relative
            rounding error of 5e-4 at most. Vectors (batch norm, biases) stay in 32 bits.
    """
    tensors = {}
    for variable in model.weights:
        # Not `ascontiguousarray`, which makes a vector of a single number.
        value = np.array(ops.convert_to_numpy(variable), dtype="float32", order="C")
        if not np.isfinite(value).all():
            raise WeightsError(f"{variable.path} holds NaN or infinite values; nothing was saved.")
        if float16 and value.ndim > 1 and np.abs(value).max() < np.finfo("float16").max:
            value = value.astype("float16")
        tensors[variable.path] = value
    header = {_HEADER_KEY: json.dumps(asdict(checkpoint), sort_keys=True), "format": "np"}
    save_tensors(tensors, Path(path), header)


def save_tensors(tensors: dict[str, np.ndarray], path: Path, header: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all; the old one survives any failure."""

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, str(temporary), metadata=header)
        except SafetensorError as error:  # its own name for a full disk
            raise OSError(errno.EIO, str(error)) from error

    replace_file(path, write)


def read_checkpoint(path: Path) -> Checkpoint:
    """The header of a weight file that this package wrote."""
    with _opened(path) as file:
        header = (file.metadata() or {}).get(_HEADER_KEY)
    if header is None:
        raise WeightsError(f"{path} has no keras_pdenets header: another program wrote it.")
    try:
        return Checkpoint(**json.loads(header))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} has a header that cannot be read: {error}") from error


def load_weights(model: Any, path: Path, source: str = "", new_head: bool = False) -> LoadReport:
    """Load a weight file into a model: every variable, by path and shape, or none.

    Args:
        model: A `keras.Model` of the architecture that the file belongs to.
        path: The safetensors file.
        source: Where it came from, for the report.
        new_head: Keep the model's own classifier.

    Returns:
        A `LoadReport`.

    Raises:
        WeightsError: If the file is not a safetensors file, or its names, shapes or values do
            not fit the model; the model is as before.
    """
    report = LoadReport(source or str(path))
    values = {}
    with _opened(path) as file:
        keys = set(file.keys())
        for variable in model.weights:
            name = variable.path
            if new_head and name.startswith("classifier/"):
                report.initialised.append(name)
                continue
            if name not in keys:
                raise WeightsError(_mismatch(path, model, keys))
            value = file.get_tensor(name)
            if value.shape != tuple(variable.shape):
                value = _fit_stem(path, name, value, tuple(variable.shape))
                report.adapted.append(name)
            else:
                report.loaded.append(name)
            if not np.isfinite(value).all():
                raise WeightsError(f"{path}: {name} holds NaN or infinite values.")
            values[name] = value
    report.unused = sorted(k for k in keys - values.keys())
    has_head = any(v.path.startswith("classifier/") for v in model.weights)
    if any(not k.startswith("classifier/") for k in report.unused) or (
        report.unused and has_head and not new_head
    ):
        raise WeightsError(_mismatch(path, model, keys))
    for variable in model.weights:
        if variable.path in values:
            variable.assign(values[variable.path].astype("float32"))
    return report


def _opened(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="numpy")
    except FileNotFoundError:
        raise WeightsError(f"There is no weight file {path}.") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({error}). It may be truncated, or in another "
            "format: this package reads no .h5 and no .keras files as weights."
        ) from error


def _fit_stem(path: Path, name: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Stem kernel for another number of input channels.

    The sum over the channels is kept, and so is the response to grey images where the channels
    are normalised alike.
    """
    fits = len(value.shape) == len(shape) == 4 and value.shape[:2] + value.shape[3:] == (
        shape[:2] + shape[3:]
    )
    if name != "stem_conv/kernel" or not fits:
        raise WeightsError(f"{path}: {name} has shape {value.shape}; the model needs {shape}.")
    old, new = value.shape[2], shape[2]
    kernel = value.astype("float32")
    if new < old:
        mean = kernel.sum(axis=2, keepdims=True) / new
        return np.repeat(mean, new, axis=2)
    taken = np.arange(new) % old
    return kernel[:, :, taken] / np.bincount(taken)[taken][:, None]


def _mismatch(path: Path, model: Any, keys: set[str]) -> str:
    paths = {variable.path for variable in model.weights}
    missing, extra = sorted(paths - keys), sorted(keys - paths)
    return (
        f"{path} belongs to another model than {model.name!r}: {len(missing)} variables are not in "
        f"the file (such as {', '.join(missing[:3]) or '-'}), {len(extra)} entries of the file "
        f"are not in the model (such as {', '.join(extra[:3]) or '-'}). Nothing was loaded."
    )
