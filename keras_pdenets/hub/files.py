"""Weights in safetensors files, keyed by variable paths."""

import errno
import json
import warnings
from collections.abc import Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from keras.layers import Normalization
from safetensors import SafetensorError
from safetensors.numpy import save_file

from keras_pdenets.hub.checkpoint_header import HEADER_KEY, read_preprocessing
from keras_pdenets.hub.checkpoint_header import read_checkpoint as read_checkpoint
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.load_report import LoadReport as LoadReport
from keras_pdenets.hub.variable_names import own_variables
from keras_pdenets.hub.weight_file import LENGTH_BYTES, Header, WeightFile
from keras_pdenets.layers.pde_conv import form_in
from keras_pdenets.presets import Checkpoint
from keras_pdenets.utils.atomic import replace_file
from keras_pdenets.utils.checks import check_flag, check_path
from keras_pdenets.utils.text import printable


def write_weights(model: Any, path: Path, checkpoint: Checkpoint, float16: bool = False) -> None:
    """Write the weights of `model` to a safetensors file, atomically.

    The user's layers before the stem (`input_tensor=`) are not part of the net and are left out.

    Args:
        model: A `keras.Model`.
        path: The file.
        checkpoint: Record of the model, stored in the header of the file.
        float16: Whether to store tensors of two or more axes in 16 bits: half the size, with a
            relative rounding error of at most 5e-4. Vectors (batch norm, biases) stay in 32 bits.

    Raises:
        ValueError: If `path` is not a path, or `float16` not a bool.
        WeightsError: If two variables have the same name, as in a model that holds two nets, or a
            value is not finite.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> import keras_pdenets
    >>> path = Path(tempfile.mkdtemp(), "model.safetensors")
    >>> net = keras_pdenets.PreActResNet20(weights=None, input_shape=(28, 28, 1), classes=10)
    >>> record = keras_pdenets.Checkpoint("preact_resnet20", (28, 28, 1), 10)
    >>> keras_pdenets.write_weights(net, path, record)
    >>> keras_pdenets.load_model(path).output_shape
    (None, 10)
    """
    path, float16 = check_path("path", path), check_flag("float16", float16)
    tensors = {}
    for name, variable in own_variables(model).items():
        # Not `ascontiguousarray`, which turns scalars into vectors.
        value = np.array(ops.convert_to_numpy(variable), dtype="float32", order="C")
        if not np.isfinite(value).all():
            raise WeightsError(f"{name} holds NaN or infinite values; nothing was saved.")
        if float16 and value.ndim > 1 and np.abs(value).max() < np.finfo("float16").max:
            value = value.astype("float16")
        tensors[name] = value
    header = {HEADER_KEY: json.dumps(asdict(checkpoint), sort_keys=True), "format": "np"}
    save_tensors(tensors, path, header)


def save_tensors(tensors: dict[str, np.ndarray], path: Path, header: dict[str, str]) -> None:
    """Write a safetensors file atomically; the old one survives any failure.

    The same tensors and header give the same bytes.
    """

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, str(temporary), metadata=header)
        except SafetensorError as error:  # also for a full disk
            raise OSError(errno.EIO, str(error)) from error
        _sort_texts(temporary)

    replace_file(path, write)


def _sort_texts(path: Path) -> None:
    """Sort the metadata of a file, whose order in the library differs between processes."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > size:
            raise OSError(errno.EIO, "safetensors has written a header of unexpected form")
        file.seek(LENGTH_BYTES)
        file.write(text.ljust(size))


def load_weights(
    model: Any,
    path: str | Path,
    *,
    new_head: bool = False,
    sha256: str | None = None,
    allow_nonfinite: bool = False,
) -> LoadReport:
    """Load a weight file into a model: all variables, matched by path and shape, or none.

    Args:
        model: A `keras.Model` of the architecture that the file belongs to.
        path: The safetensors file.
        new_head: Whether to keep the model's own classifier.
        sha256: Expected SHA-256 of the file, or None.
        allow_nonfinite: Whether to load NaN and infinite values, with a warning, such as after a
            diverged training run.

    Returns:
        A `LoadReport`.

    Raises:
        IntegrityError: If the file has another hash than `sha256`.
        WeightsError: If the file is not a safetensors file, its names, shapes or values do not
            fit the model, or the model normalises pixels differently. The model is then unchanged.
        ValueError: If `path` is not a path, or `new_head` or `allow_nonfinite` not a bool.

    Example:
    >>> import keras_pdenets
    >>> net = keras_pdenets.load_model("resnet20_fashion_mnist")
    >>> other = keras_pdenets.load_model("resnet20_fashion_mnist")
    >>> report = keras_pdenets.load_weights(other, net.load_report.path)
    >>> len(report.loaded) == len(other.weights)
    True
    """
    path, new_head = check_path("path", path), check_flag("new_head", new_head)
    allow_nonfinite = check_flag("allow_nonfinite", allow_nonfinite)
    with WeightFile(path, digest=sha256) as file:
        return load_opened(model, file, new_head, allow_nonfinite)


def load_opened(
    model: Any, file: WeightFile, new_head: bool = False, allow_nonfinite: bool = False
) -> LoadReport:
    """Load an open weight file, as `load_weights` does for a path."""
    path, header = file.path, file.header
    variables = own_variables(model)
    report = LoadReport(file.name, path=path)
    _check_preprocessing(model, path, header)
    _sort_variables(model, variables, path, header, new_head, report)
    taken = {name: variables[name] for name in (*report.loaded, *report.adapted)}
    # One tensor at a time, twice: all of them in 32 bits may not fit into memory.
    bad = [n for n, variable in taken.items() if not np.isfinite(_value(n, variable, file)).all()]
    if bad:
        message = f"{path}: {', '.join(bad[:3])} holds NaN or infinite values"
        if not allow_nonfinite:
            raise WeightsError(
                f"{message}. Nothing was loaded; use allow_nonfinite=True to load them."
            )
        warnings.warn(
            f"{message}, loaded because of allow_nonfinite=True.", RuntimeWarning, stacklevel=3
        )
    for name, variable in taken.items():
        variable.assign(_value(name, variable, file))
    return report


def _sort_variables(
    model: Any,
    variables: dict[str, Any],
    path: Path,
    header: Header,
    new_head: bool,
    report: LoadReport,
) -> None:
    """Fill the report from names and shapes only, before anything large is read."""
    keys = header.tensors.keys()
    for name, variable in variables.items():
        shape = tuple(variable.shape)
        if new_head and name.startswith("classifier/"):
            report.initialised.append(name)
        elif name not in keys:
            raise WeightsError(_mismatch(path, model, variables.keys(), keys))
        elif header.tensors[name].shape == shape:
            report.loaded.append(name)
        else:
            _check_stem(path, name, header.tensors[name].shape, shape)
            report.adapted.append(name)
    report.unused = sorted(keys - {*report.loaded, *report.adapted})
    has_head = any(name.startswith("classifier/") for name in variables)
    if any(not k.startswith("classifier/") for k in report.unused) or (
        report.unused and has_head and not new_head
    ):
        raise WeightsError(_mismatch(path, model, variables.keys(), keys))


def _value(name: str, variable: Any, file: WeightFile) -> np.ndarray:
    """The file's value for a variable, in 32 bits and of its shape."""
    shape = tuple(variable.shape)
    # Values beyond the range of float32 become infinite, which is detected.
    with np.errstate(over="ignore"):
        value = file.tensor(name).astype("float32")
    return value if value.shape == shape else _fit_stem(value, shape)


def _check_preprocessing(model: Any, path: Path, header: Header) -> None:
    """Raise a WeightsError if the model normalises pixels differently from the file's net.

    Mean and standard deviation are not weights: only the record holds them.
    """
    layers = [layer for layer in getattr(model, "layers", []) if layer.name == "preprocessing"]
    wanted = read_preprocessing(header, path)
    if not layers or wanted is None:
        return
    layer = layers[0]
    if not isinstance(layer, Normalization):  # a layer of the user
        return
    # Not from its config: Keras imports TensorFlow for that.
    mean, variance = (np.ravel(ops.convert_to_numpy(v)) for v in (layer.mean, layer.variance))
    found = mean, np.sqrt(variance)
    for name, ours, theirs in zip(
        ("mean", "std"), found, wanted.for_channels(len(found[0])), strict=True
    ):
        if not np.allclose(ours, theirs, rtol=1e-5, atol=1e-5):
            raise WeightsError(
                f"{path} belongs to a net whose pixels have {name} {_short(theirs)}; "
                f"{model.name!r} has {_short(ours)}. Build the model with weights={str(path)!r}, "
                "which takes both from the file, or with include_preprocessing=False. Nothing was "
                "loaded."
            )


def _short(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values[:4])


def _check_stem(path: Path, name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Only the stem may differ in shape, and only in the number of input channels."""
    fits = len(found) == len(shape) == 4 and found[:2] + found[3:] == shape[:2] + shape[3:]
    if name != "stem_conv/kernel" or not fits:
        raise WeightsError(f"{path}: {name} has shape {found}; the model needs {shape}.")


def _fit_stem(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Stem kernel for another number of input channels.

    It preserves the sum over the channels, and so the response to grey images if all channels have
    the same normalisation.
    """
    old, new = kernel.shape[2], shape[2]
    if new < old:
        mean = kernel.sum(axis=2, keepdims=True) / new
        return np.repeat(mean, new, axis=2)
    taken = np.arange(new) % old
    counts = np.bincount(taken)[taken].astype("float32")
    return kernel[:, :, taken] / counts[:, None]


def _mismatch(path: Path, model: Any, paths: Set[str], keys: Set[str]) -> str:
    missing, extra = (
        [printable(name) for name in sorted(names)] for names in (paths - keys, keys - paths)
    )
    return (
        f"{path} belongs to another model than {model.name!r}: {len(missing)} variables are not in "
        f"the file (such as {', '.join(missing[:3]) or '-'}), {len(extra)} entries of the file "
        f"are not in the model (such as {', '.join(extra[:3]) or '-'}). "
        f"{_other_form(paths, keys)}Nothing was loaded."
    )


def _other_form(paths: Set[str], keys: Set[str]) -> str:
    ours, theirs = form_in(paths), form_in(keys)
    if None in (ours, theirs) or ours == theirs:
        return ""
    ways = {"linear": "to_linear_form", "quadratic": "to_quadratic_form"}
    convert = f", and `transforms.{ways[ours]}` converts it to yours" if ours in ways else ""
    return (
        f"Its PDE layers have the form {theirs!r}, the model's {ours!r}: a model built with "
        f"operator_options={{'form': {theirs!r}}} can load the file{convert}. "
    )
