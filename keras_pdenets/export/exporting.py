"""Export of a net for another runtime, with a comparison of the outputs."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.compat.keras import layers_inside
from keras_pdenets.export.convert import SIDE, convert
from keras_pdenets.export.formats import format_named
from keras_pdenets.export.placing import check_path, place, size_of
from keras_pdenets.export.runtime import open_exported, runtime_of
from keras_pdenets.graphs.graph import functional
from keras_pdenets.transforms.copying import finite_outputs
from keras_pdenets.transforms.fold import FoldReport, fold
from keras_pdenets.utils.atomic import temporary_folder

_BATCHES = (1, 3)
_LONGEST_REASON = 800


@dataclass(frozen=True)
class ExportReport:
    """What `export` did.

    Args:
        path: The artefact.
        format: Its format.
        backend: Backend of Keras that wrote it.
        size: Size of all its files in bytes.
        difference: Largest absolute difference from the model's outputs.
        largest: Largest absolute output of the model.
        batch_sizes: Sizes of the compared batches.
        fold: Report of the folding, or None.
        failed: Backends that failed before, with the reason.

    Example:
    >>> import tempfile
    >>> import keras
    >>> from keras_pdenets.export import export
    >>> net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3)])
    >>> report = export(net, f"{tempfile.mkdtemp()}/net", "onnx")
    >>> report.path.name, report.format, report.batch_sizes
    ('net.onnx', 'onnx', (1, 3))
    """

    path: Path
    format: str
    backend: str
    size: int
    difference: float
    largest: float
    batch_sizes: tuple[int, ...]
    fold: FoldReport | None
    failed: dict[str, str]

    def __str__(self) -> str:
        """The report in a few lines."""
        sizes = " and ".join(map(str, self.batch_sizes))
        lines = [
            f"{self.path}: {self.format}, {self.size / 1e6:.2f} MB, written with {self.backend}",
            f"largest difference, measured on batches of {sizes}: {self.difference:.3g} "
            f"(outputs up to {self.largest:.3g})",
        ]
        lines += [f"{name} was tried before: {reason}" for name, reason in self.failed.items()]
        return "\n".join(lines + ([] if self.fold is None else [str(self.fold)]))


def export(model, path, format, fuse=True, data=None, tolerance=1e-4, decomposed="measure"):
    r"""Write a net for another runtime, and keep the file only if it gives the same outputs.

    Keras writes it (`model.export`) with the current backend if possible, else in another process
    with another one. The artefact is then opened in its own runtime and compared with the model on
    batches of two sizes; if $\max |y' - y| > \text{tolerance} \cdot \max(1, |y|)$, the next backend
    is tried. Anything at `path` is replaced only after success.

    Args:
        model: A functional or sequential model in float32, with one input and one output; for
            `"onnx"` any number of them.
        path: File to write (a folder for `"tf_saved_model"`), with the suffix of the format,
            which is added if there is none.
        format: `"tf_saved_model"`, `"onnx"`, `"litert"` (`.tflite`), `"openvino"` (`.xml`, with a
            `.bin` beside it) or `"torch"` (`.pt2`).
        fuse: Fold the model first (`transforms.fold`).
        data: Inputs to compare on (a list of arrays for several), or None: random pixels, 0-255.
        tolerance: Largest difference, relative to the largest output, or to 1; of several outputs
            each alone.
        decomposed: As in `fold`.

    Returns:
        An `ExportReport`.

    Raises:
        ValueError: If an argument is out of range, or the model's outputs are not finite.
        ImportError: If the runtime, or every backend that could write it, is missing.
        OSError: If the folder does not exist or is not writable.
        RuntimeError: If no backend writes a file with the same outputs; no file is left.

    Example:
    >>> import tempfile, keras_pdenets
    >>> from keras_pdenets.export import export, open_exported
    >>> model = keras_pdenets.PDEPreActResNet20(weights=None, input_shape=(16, 16, 3), classes=10)
    >>> folder = tempfile.TemporaryDirectory()
    >>> report = export(model, f"{folder.name}/net.onnx", "onnx")
    >>> report.difference < 1e-4
    True
    >>> open_exported(report.path)(np.zeros((5, 16, 16, 3))).shape
    (5, 10)
    >>> folder.cleanup()
    """
    row = format_named(format)
    path = check_path(path, row)
    model = _check_model(functional(model), row)
    if not tolerance > 0:
        raise ValueError(f"`tolerance` must be positive. Received: {tolerance!r}")
    batches = _batches(model, data)
    runtime_of(row)
    backends = row.backends(keras.backend.backend())
    wanted = [finite_outputs(model, parts if len(parts) > 1 else parts[0]) for parts in batches]
    report = None
    if fuse:
        model, report = fold(model, decomposed, portable=True)
    failed = {}
    # Beside the artefact, so that a rename moves it there.
    with temporary_folder(path.parent) as name:
        for backend in backends:
            made = Path(name, backend, path.name)
            made.parent.mkdir()
            try:
                convert(model, made, row.name, backend, Path(name))
                difference, largest = _compare(made, row, batches, wanted, tolerance)
            except Exception as error:  # converters may raise anything
                failed[backend] = _shorten(f"{type(error).__name__}: {error}")
                continue
            size = sum(map(size_of, row.pieces(made)))
            place(row.pieces(made), row.pieces(path))
            return ExportReport(
                path, row.name, backend, size, difference, largest,
                tuple(len(batch[0]) for batch in batches), report, failed,
            )  # fmt: skip
    reasons = "\n".join(f"{backend}: {reason}" for backend, reason in failed.items())
    raise RuntimeError(f"{path} was not written: no backend gave a valid {row.name}.\n{reasons}")


def _shorten(reason):
    """The beginning and the end of a long message."""
    half = _LONGEST_REASON // 2
    return reason if len(reason) <= 2 * half else f"{reason[:half]} ... {reason[-half:]}"


def _check_model(model, row):
    """The model, if the format takes its inputs and outputs and it computes in float32."""
    if row.name != "onnx" and (len(model.inputs) != 1 or len(model.outputs) != 1):
        raise ValueError(
            f"`model` must have one input and one output for format {row.name}. "
            f"Received: {len(model.inputs)} inputs, {len(model.outputs)} outputs"
        )
    types = {str(layer.compute_dtype) for layer in layers_inside(model)}
    others = sorted((types | {tensor.dtype for tensor in model.inputs}) - {"float32"})
    if others:
        raise ValueError(
            "`model` must compute in float32, as Keras' exporters require. Build it with "
            f"dtype='float32' and load its weights. Received: {', '.join(others)}"
        )
    return model


def _batches(model, data):
    """Two batches of different sizes, and of different sides if these are open.

    Each is a list with one array for each input.
    """
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if data is None:
        random = np.random.default_rng(0)
        return [
            [
                random.uniform(0, 255, (count, *(SIDE + 8 * i if n is None else n for n in shape)))
                .astype("float32")
                for shape in shapes
            ]
            for i, count in enumerate(_BATCHES)
        ]  # fmt: skip
    data = [np.asarray(part, "float32") for part in ([data] if len(shapes) == 1 else data)]
    fits = len(data) == len(shapes) and len(set(map(len, data))) == 1 and all(
        part.ndim == len(shape) + 1
        and all(n in (None, m) for n, m in zip(shape, part.shape[1:], strict=True))
        for part, shape in zip(data, shapes, strict=True)
    )  # fmt: skip
    if not fits or not len(data[0]):
        raise ValueError(
            f"`data` must be at least one input of shape {', '.join(map(str, shapes))}. "
            f"Received: shape {', '.join(str(part.shape) for part in data)}"
        )
    more = [part if len(part) > 1 else np.repeat(part, _BATCHES[-1], axis=0) for part in data]
    return [[part[:1] for part in data], more]


def _compare(path, row, batches, wanted, tolerance):
    """The largest difference in the artefact's own runtime, and the largest output."""
    predict = open_exported(path, row.name)
    worst, largest = 0.0, 0.0
    for batch, expected in zip(batches, wanted, strict=True):
        outputs = predict(*batch)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        for found, right in zip(outputs, expected, strict=True):
            difference, size = _difference(found, right, tolerance)
            worst, largest = max(worst, difference), max(largest, size)
    return worst, largest


def _difference(found, right, tolerance):
    """Largest difference of one output and its largest value; ValueError if it is too large."""
    if found.shape != right.shape:
        raise ValueError(f"its outputs are {found.shape}, the model's {right.shape}")
    # Unlike Python's, NumPy's max does not ignore NaN.
    difference = float(np.abs(found - np.asarray(right, "float64")).max())
    largest = float(np.abs(right).max())
    if not difference <= tolerance * max(1.0, largest):  # NaN too
        raise ValueError(
            f"its outputs differ from the model's by {difference:.3g}; the limit is "
            f"{tolerance:g} of max(1, {largest:.3g}), the largest output"
        )
    return difference, largest
