"""Int8 arithmetic for exported nets, after training."""

import contextlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_pdenets.export.formats import FORMATS
from keras_pdenets.export.placing import check_path, place, size_of
from keras_pdenets.export.ranges import Once, ranges_of
from keras_pdenets.export.runtime import batch_of, classes_of, open_exported
from keras_pdenets.utils.atomic import temporary_folder
from keras_pdenets.utils.checks import check_choice, lookup
from keras_pdenets.utils.extras import require

CALIBRATIONS = ("percentile", "minmax", "entropy")
# The state of a residual net stays in float: with the additions in int8 too, the hyperbolic
# checkpoint lost 7 points of accuracy, since the rounding errors of all blocks add up.
_OPERATIONS = ["Conv", "Gemm", "MatMul"]


@dataclass(frozen=True)
class Int8Report:
    """What `quantize_int8` did.

    Args:
        path: The new file.
        size: Size in bytes before and after.
        agreement: Percentage of the calibration images that keep their class.
        images: Number of calibration images.
        calibration: Method of the ranges.

    Example:
    >>> from pathlib import Path
    >>> from keras_pdenets.export import Int8Report
    >>> print(Int8Report(Path("int8.onnx"), (2_000_000, 560_000), 99.4, 500, "percentile"))
    int8.onnx: int8, 0.56 MB, 2.00 before
    99.4 % of 500 calibration images keep their class (percentile)
    """

    path: Path
    size: tuple[int, int]
    agreement: float
    images: int
    calibration: str

    def __str__(self) -> str:
        """The report in two lines."""
        before, after = (size / 1e6 for size in self.size)
        return (
            f"{self.path}: int8, {after:.2f} MB, {before:.2f} before\n"
            f"{self.agreement:.1f} % of {self.images} calibration images keep their class "
            f"({self.calibration})"
        )


def quantize_int8(
    source, path, images, calibration="percentile", keep_float=(), min_agreement=90.0,
    reduce_range=False,
):  # fmt: skip
    r"""Quantise the convolutions and dense layers of an exported ONNX net to int8.

    Weights $w \approx s_c\,q$ have one scale per output channel, $q$ in -127 ... 127; activations
    have 8 bits and one range per tensor, calibrated on `images`. Everything else, in particular the
    sums of residual nets, stays in float.

    Args:
        source: A `.onnx` file written by `export`.
        path: The `.onnx` file to write; it may be `source`.
        images: Images for calibration in the net's format: a few hundred from the training split;
            images of the test split would bias its accuracy. Apart from a float32 copy of them,
            the memory used does not depend on their number.
        calibration: `"percentile"` (99.99 % of the values are in range), `"minmax"` or `"entropy"`.
        keep_float: Names of convolutions and dense layers (Conv, Gemm, MatMul) of the ONNX graph
            that stay in float.
        min_agreement: Percentage of the calibration images that must keep their class.
        reduce_range: 7-bit weights, for processors with AVX2 or AVX512 without VNNI, whose sums of
            products saturate.

    Returns:
        An `Int8Report`.

    Raises:
        ValueError: If an argument is out of range.
        OSError: If a file cannot be read or written.
        ImportError: If onnxruntime or onnx is missing.
        RuntimeError: If too many images change their class; no file is written.

    Example:
    >>> import tempfile
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.export import export, quantize_int8
    >>> layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()]
    >>> net = keras.Sequential([*layers, keras.layers.Dense(3)])
    >>> folder = tempfile.mkdtemp()
    >>> file = export(net, f"{folder}/net.onnx", "onnx").path
    >>> images = np.random.default_rng(0).uniform(0, 255, (100, 8, 8, 1))
    >>> report = quantize_int8(file, f"{folder}/int8.onnx", images)
    >>> report.agreement >= 90
    True
    """
    source = Path(source)
    path = check_path(path, FORMATS["onnx"])
    check_choice("calibration", calibration, CALIBRATIONS)
    predict, nodes = open_exported(source, "onnx"), _nodes(source)
    images = _check_images(images, _shape(source))
    for name in keep_float:
        lookup("keep_float", name, dict.fromkeys(nodes))
    classes = classes_of(predict, images)
    with temporary_folder(path.parent) as name:
        made = Path(name, path.name)
        prepared = Path(name, "prepared.onnx")
        _prepare(source, prepared)
        kept = _names_after(keep_float, nodes, _nodes(prepared))
        options = {"nodes_to_exclude": kept, "reduce_range": reduce_range}
        _quantize(prepared, made, images, calibration, options)
        agreement = 100.0 * float(np.mean(classes_of(open_exported(made), images) == classes))
        if agreement < min_agreement:
            raise RuntimeError(
                f"{path} was not written: only {agreement:.1f} % of {len(images)} calibration "
                f"images keep their class in int8; `min_agreement` is {min_agreement:g} %. More "
                "images, another `calibration`, or layers in `keep_float` may help."
            )
        size = size_of(source), size_of(made)
        place([made], [path])
    return Int8Report(path, size, agreement, len(images), calibration)


def _check_images(images, shape):
    """The images as an array of float32, if their shape fits the net."""
    try:
        images = np.asarray(images, "float32")
        found = f"an array of shape {images.shape}"
    except (TypeError, ValueError) as error:
        images, found = np.zeros(0), f"{type(images).__name__} ({error})"
    sides = images.shape[1:]
    fits = len(sides) == len(shape) and all(
        wanted in (None, side) for side, wanted in zip(sides, shape, strict=True)
    )
    if not fits or not len(images):
        raise ValueError(f"`images` must be a batch of images {shape}. Received: {found}")
    return images


def _graph(path):
    return require("onnx", "export").load(path, load_external_data=False).graph


def _shape(path):
    """Shape of one input image of a graph, None where open."""
    dims = _graph(path).input[0].type.tensor_type.shape.dim[1:]
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def _nodes(path):
    """Names of the nodes of a graph that can be quantised."""
    return [node.name for node in _graph(path).node if node.op_type in _OPERATIONS]


def _names_after(names, before, after):
    """Names of nodes in the prepared graph: NAME, or NAME/FUSION after a fusion."""
    new = [name for name in after if name not in before]
    fused = [name for name in new if any(name.startswith(f"{old}/") for old in names)]
    return [*names, *fused]


def _prepare(source, prepared):
    """ONNX Runtime's graph optimisation, which must precede the quantisation."""
    shapes = require("onnxruntime.quantization.shape_inference", "export")
    with _quiet():
        shapes.quant_pre_process(source, prepared, skip_symbolic_shape=True)


def _quantize(prepared, made, images, calibration, options):
    """ONNX Runtime's static quantisation, with given ranges."""
    tools = require("onnxruntime.quantization", "export")
    with _quiet():
        # All outputs of the net are held at once here.
        batch = max(1, batch_of(images) // 5)
        ranges = ranges_of(prepared, images, calibration, _OPERATIONS, batch)
        tools.quantize_static(
            prepared, made, Once(_graph(prepared).input[0].name, images[:1]),
            op_types_to_quantize=_OPERATIONS,
            per_channel=True,
            # For signed activations, ONNX Runtime's x86 kernels are up to three times slower.
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod.MinMax,  # for one image, and unused
            extra_options={"TensorQuantOverrides": {
                name: [{"rmin": low, "rmax": high}] for name, (low, high) in ranges.items()
            }},
            **options,
        )  # fmt: skip


@contextlib.contextmanager
def _quiet():
    """Suppress prints and advice of the quantisation tools."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
