"""Export in this process, or in another one with another backend."""

import contextlib
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.compat.keras import layers_inside
from keras_pdenets.export.formats import format_named
from keras_pdenets.export.runtime import runtime_of
from keras_pdenets.utils.processes import start_python

SIDE = 32  # of images if the model leaves it open
# Of torch's two older tracers, which Keras uses for ONNX and OpenVINO, and of tf2onnx.
_WARNINGS = (
    (DeprecationWarning, r".*legacy TorchScript-based ONNX export"),
    (DeprecationWarning, r"The feature will be removed\. Please remove usage of this function"),
    (DeprecationWarning, r"`torch\.jit\.\w+` is deprecated"),
    (UserWarning, r"Constant folding - Only steps=1 can be constant folded"),
    (DeprecationWarning, r"The `native_serialization` parameter is deprecated"),
    (FutureWarning, r"In the future `np\.object` will be defined"),
)
# Variables that keep all three backends of a new process on the CPU.
CPU_ONLY = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "KERAS_TORCH_DEVICE": "cpu"}
_REASON = "The net was not written: "  # separates the error from the converters' output


def convert(model, path, format, backend, folder):
    """Write a model with a backend: in this process if it is the current one, else in another.

    Args:
        model: A functional model.
        path: Where to write.
        format: Name of the format.
        backend: Name of the backend.
        folder: Folder for the model file that is passed to another process.
    """
    if backend == keras.backend.backend() and not _on_accelerator(backend):
        convert_here(model, path, format)
    else:
        file = folder / "model.keras"
        if not file.exists():
            model.save(file)
        _convert_elsewhere(file, path, format, backend)


def convert_here(model, path, format):
    """Write a model for any batch size with the backend of this process."""
    shapes = [tuple(SIDE if n is None else n for n in x.shape[1:]) for x in model.inputs]
    zeros = [keras.ops.zeros((1, *shape)) for shape in shapes]
    # ONNX needs a model that has been called.
    model(zeros if len(zeros) > 1 else zeros[0], training=False)
    row = format_named(format)
    if format == "openvino":
        runtime_of(row)  # before Keras imports it
    with warnings.catch_warnings(), _constants_in_numpy(model):
        for category, message in _WARNINGS:
            warnings.filterwarnings("ignore", message, category)
        if keras.backend.backend() == "torch":
            import torch

            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        row.write(model, path, format, shapes[0])


@contextlib.contextmanager
def _constants_in_numpy(model):
    """Make the constants of `Normalization` NumPy arrays.

    tf2onnx would turn TensorFlow tensors into inputs of the net.
    """
    kept = []
    layers = layers_inside(model) if keras.backend.backend() == "tensorflow" else ()
    for layer in layers:
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            kept.append((layer, layer.mean, layer.variance))
            layer.mean = np.array(keras.ops.convert_to_numpy(layer.mean))
            layer.variance = np.array(keras.ops.convert_to_numpy(layer.variance))
    try:
        yield
    finally:
        for layer, mean, variance in kept:
            layer.mean, layer.variance = mean, variance


def _on_accelerator(backend):
    """Whether this process traces for a GPU, so that the artefact would not run elsewhere."""
    if backend == "torch":
        return keras.ops.zeros(()).device.type != "cpu"
    if backend != "jax":
        return False
    import jax

    return jax.default_backend() != "cpu"


def _convert_elsewhere(file, path, format, backend):
    code = "from keras_pdenets.export.convert import main; main()"
    with start_python(
        ["-c", code, str(file), str(path), format],
        {**CPU_ONLY, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        try:
            _, said = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        reason = said.rpartition(_REASON)[2].strip()
        raise RuntimeError(reason or f"the process ended with status {process.returncode}")


def main():
    """Entry of the other process, with a .keras file, a path and a format as arguments."""
    file, path, format = sys.argv[1:]
    try:
        convert_here(keras.saving.load_model(Path(file), compile=False), path, format)
    except Exception as error:  # converters may raise anything
        sys.exit(f"{_REASON}{type(error).__name__}: {error}")
