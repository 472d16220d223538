"""Exported nets as the page takes them: small graphs that share one file of weights.

A graph keeps its weights in ONNX's external data, a row of numbers in 32 bits, which the page makes
from the file: there every tensor that 16 bits hold exactly (the kernels of a shipped checkpoint)
takes these, and the variants of a net have all tensors once that they have in common. So the page
can also add noise to the kernels before it opens a graph.
"""

import gzip
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_pdenets.utils.extras import require

WEIGHTS = "weights"  # the name of the external data in every graph
_SMALLEST = 2  # numbers of a tensor that is worth a place in it
# Rules of ONNX Runtime that change kernels: no noise could be added to them then.
_MERGING = [
    "ConstantFolding", "ConvAddFusion", "ConvBNFusion", "ConvMulFusion", "MatMulAddFusion",
]  # fmt: skip


@dataclass
class WeightStore:
    """The tensors of all variants of a net, each once.

    Args:
        kernels: Fingerprints of the tensors that noise is added to.
    """

    kernels: set[str]
    tensors: list[np.ndarray] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def add(self, tensor):
        """The place of a tensor, counted in numbers of 32 bits."""
        key = f"{tensor.shape} {hashlib.sha256(tensor.tobytes()).hexdigest()}"
        if key not in self.places:
            self.places[key] = self.size
            self.tensors.append(tensor)
            self.size += tensor.size
        return self.places[key]

    def table(self):
        """For each tensor its count of numbers, whether in 16 bits, whether it is a kernel."""
        return [
            [tensor.size, int(in_16_bits(tensor)), int(fingerprint(tensor) in self.kernels)]
            for tensor in self.tensors
        ]

    def stored(self):
        """The bytes of the file, before compression."""
        return b"".join(
            np.ascontiguousarray(tensor, "<f2" if in_16_bits(tensor) else "<f4").tobytes()
            for tensor in self.tensors
        )

    def write_spread(self, folder):
        """The same in a folder as the graphs take it, in 32 bits; returns the path."""
        path = Path(folder, WEIGHTS)
        with path.open("wb") as file:
            for tensor in self.tensors:
                file.write(np.ascontiguousarray(tensor, "<f4").tobytes())
        return path

    def missing(self):
        """Fingerprints of kernels that no graph has."""
        return self.kernels - {fingerprint(tensor) for tensor in self.tensors}


def fingerprint(values):
    """A text that is the same for all orders of the axes: exporters transpose kernels."""
    values = np.sort(np.asarray(values, "float32"), axis=None)
    return hashlib.sha256(values.tobytes()).hexdigest()


def in_16_bits(tensor):
    """Whether 16 bits hold a tensor exactly."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(tensor, tensor.astype("float16").astype("float32")))


def simplify(path):
    """Have ONNX Runtime rewrite a file without what does nothing: casts, pairs of transposes.

    The page then opens it as it is, in a fraction of the time. Kernels stay what they are.
    """
    onnxruntime = require("onnxruntime", "export")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=_MERGING
    )


def split(path, store):
    """An ONNX file as a graph whose weights are in a store.

    Args:
        path: The file, as `export` writes it.
        store: The `WeightStore`, which gets the tensors.

    Returns:
        The bytes of the graph.
    """
    onnx = require("onnx", "export")
    net = onnx.load(path)
    for tensor in net.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= _SMALLEST:
            place = store.add(values)
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            entries = {"location": WEIGHTS, "offset": 4 * place, "length": 4 * values.size}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
    return net.SerializeToString()


def write_packed(path, data):
    """Write bytes compressed; the same bytes give the same file."""
    Path(path).write_bytes(gzip.compress(data, 9, mtime=0))
