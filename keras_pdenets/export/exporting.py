"""A net in, a file for another runtime out, if the file gives the same numbers."""

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
        size: Bytes of all its files.
        difference: Largest absolute difference from the model's outputs.
        largest: Largest absolute output of the model.
        batch_sizes: Sizes of the batches that were compared.
        fold: Report of the folding, or None.
        failed: Backends that were tried before, and why they failed.
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
    r"""Write a net for another runtime, and keep the file only if it gives the same numbers.

    Keras writes it (`model.export`): with the current backend where that can, else in another
    process with one that can. The artefact is then opened in its own runtime and compared with the
    model on batches of two sizes; where $\max |y' - y| > \text{tolerance} \cdot \max(1, |y|)$ the
    next backend is tried. What was at `path` before stays as it is until then.

    Args:
        model: A functional or sequential model with one input and one output, in float32.
        path: File to write (a folder for `"tf_saved_model"`), with the suffix of the format; one
            without any gets it.
        format: `"tf_saved_model"`, `"onnx"`, `"litert"` (`.tflite`), `"openvino"` (`.xml`, with a
            `.bin` beside it) or `"torch"` (`.pt2`).
        fuse: Fold the model first (`transforms.fold`).
        data: Inputs to compare on, or None: random pixels, 0-255.
        tolerance: Largest difference, relative to the largest output, or to 1.
        decomposed: As in `fold`.

    Returns:
        An `ExportReport`.

    Raises:
        ValueError: If an argument is out of range, or the model's outputs are not finite.
        ImportError: If the runtime, or every backend that could, is missing.
        OSError: If the folder does not exist or cannot be written to.
        RuntimeError: If no backend writes a file that gives the same numbers; there is no new file.

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
    model = _check_model(functional(model))
    if not tolerance > 0:
        raise ValueError(f"`tolerance` must be positive. Received: {tolerance!r}")
    batches = _batches(model, data)
    runtime_of(row)
    backends = row.backends(keras.backend.backend())
    wanted = [output for batch in batches for output in finite_outputs(model, batch)]
    report = None
    if fuse:
        model, report = fold(model, decomposed, portable=True)
    failed = {}
    # A neighbour of the artefact: a rename then puts it in place.
    with temporary_folder(path.parent) as name:
        for backend in backends:
            made = Path(name, backend, path.name)
            made.parent.mkdir()
            try:
                convert(model, made, row.name, backend, Path(name))
                difference, largest = _compare(made, row, batches, wanted, tolerance)
            except Exception as error:  # the converters raise whatever they like
                failed[backend] = _shorten(f"{type(error).__name__}: {error}")
                continue
            size = sum(map(size_of, row.pieces(made)))
            place(row.pieces(made), row.pieces(path))
            return ExportReport(
                path, row.name, backend, size, difference, largest, tuple(map(len, batches)),
                report, failed,
            )  # fmt: skip
    reasons = "\n".join(f"{backend}: {reason}" for backend, reason in failed.items())
    raise RuntimeError(f"{path} was not written; no backend gave a good {row.name}.\n{reasons}")


def _shorten(reason):
    """The beginning and the end: converters tell pages, Keras whole configs."""
    half = _LONGEST_REASON // 2
    return reason if len(reason) <= 2 * half else f"{reason[:half]} ... {reason[-half:]}"


def _check_model(model):
    """The model, if it has one input and one output of float32."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "`model` must have one input and one output. "
            f"Received: {len(model.inputs)} inputs, {len(model.outputs)} outputs"
        )
    types = {str(layer.compute_dtype) for layer in layers_inside(model)}
    others = sorted((types | {model.inputs[0].dtype}) - {"float32"})
    if others:
        raise ValueError(
            "`model` must compute in float32: exporters of Keras take no other. Build it with "
            f"dtype='float32' and load its weights. Received: {', '.join(others)}"
        )
    return model


def _batches(model, data):
    """Two batches of different sizes, and of different sides where those are open."""
    shape = tuple(model.inputs[0].shape[1:])
    if data is None:
        random = np.random.default_rng(0)
        sides = [tuple(SIDE + 8 * i if n is None else n for n in shape) for i in (0, 1)]
        return [
            random.uniform(0, 255, (count, *side)).astype("float32")
            for count, side in zip(_BATCHES, sides, strict=True)
        ]
    data = np.asarray(data, "float32")
    fits = data.ndim == len(shape) + 1 and all(
        n in (None, m) for n, m in zip(shape, data.shape[1:], strict=True)
    )
    if not fits or not len(data):
        raise ValueError(
            f"`data` must be at least one input of shape {shape}. Received: shape {data.shape}"
        )
    return [data[:1], data if len(data) > 1 else np.repeat(data, _BATCHES[-1], axis=0)]


def _compare(path, row, batches, wanted, tolerance):
    """The largest difference in the artefact's own runtime, and the largest output."""
    predict = open_exported(path, row.name)
    outputs = [predict(batch) for batch in batches]
    for output, expected in zip(outputs, wanted, strict=True):
        if output.shape != expected.shape:
            raise ValueError(f"its outputs are {output.shape}, the model's {expected.shape}")
    pairs = list(zip(outputs, wanted, strict=True))
    # Python's max passes over NaN.
    difference = float(np.max([np.abs(a - np.asarray(b, "float64")).max() for a, b in pairs]))
    largest = max(float(np.abs(b).max()) for b in wanted)
    if not difference <= tolerance * max(1.0, largest):  # NaN too
        raise ValueError(
            f"its outputs differ from the model's by {difference:.3g}; allowed are "
            f"{tolerance:g} of max(1, {largest:.3g}), the largest output"
        )
    return difference, largest
