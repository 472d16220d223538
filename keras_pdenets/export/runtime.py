"""Exported nets in their own runtimes, for comparison, accuracy and speed."""

import contextlib
import sys
import threading
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.export.formats import extra_of, format_named, format_of
from keras_pdenets.export.pt2 import seen_through
from keras_pdenets.utils.checks import check_integer, check_path
from keras_pdenets.utils.extras import require

_BATCH = 250
_PIXELS = _BATCH * 32 * 32 * 3  # elements in a batch of larger images


def open_exported(path, format=None, threads=None):
    """Open an exported net in the runtime of its format.

    The session is created once; each call of the result is one run.

    A SavedModel is a program that can read and write files when it is opened or called: open one
    only if you trust its author. A `.pt2` file is opened if it holds nothing but a net: one that
    needs pickle, a compiled library, or Python for its sizes, guards or operators is refused. The
    other formats are graphs of the runtime's own operators, which must guard against damaged files.

    Args:
        path: File or folder written by `export`.
        format: Name of the format, or None to infer it from the suffix.
        threads: Threads of one run, or None for the runtime's own choice. TensorFlow and PyTorch
            have one number for the whole process, and TensorFlow can set it only before its first
            use.

    Returns:
        A function from images (n, ...) to an array of outputs (n, ...), for any n. An ONNX net of
        several inputs takes as many arrays, and one of several outputs gives a list.

    Raises:
        ValueError: If the format is unknown, the number of threads out of range, or a `.pt2` file
            holds more than a net.
        FileNotFoundError: If there is nothing at `path`.
        ImportError: If the runtime is missing; the message says how to install it.

    Example:
    >>> import tempfile
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.export import export, open_exported
    >>> net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3)])
    >>> report = export(net, f"{tempfile.mkdtemp()}/net.onnx", "onnx")
    >>> predict = open_exported(report.path, threads=1)
    >>> predict(np.zeros((5, 8, 8, 1))).shape
    (5, 6, 6, 4)
    """
    path = check_path("path", path)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {path}.")
    row = format_of(path) if format is None else format_named(format)
    if threads is not None:
        threads = check_integer("threads", threads, 1, 4096)
    module = runtime_of(row)
    run = _OPENERS[row.name](module, str(path), threads)

    def predict(*inputs):
        outputs = run(*(np.ascontiguousarray(part, "float32") for part in inputs))
        return outputs if isinstance(outputs, list) else np.asarray(outputs)

    return predict


def accuracy_of(path, images, labels, format=None, threads=None):
    """Accuracy of an exported net, in its own runtime.

    Args:
        path: The artefact.
        images: Images in the net's format, pixels 0-255.
        labels: Integer labels.
        format: As in `open_exported`.
        threads: As in `open_exported`.

    Returns:
        Percentage of images whose largest output is that of their label.

    Raises:
        ValueError: If there is not one label per image.

    Example:
    >>> import tempfile
    >>> import keras
    >>> import numpy as np
    >>> from keras_pdenets.export import accuracy_of, export
    >>> net = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
    >>> report = export(net, f"{tempfile.mkdtemp()}/net.onnx", "onnx")
    >>> accuracy_of(report.path, np.array([[0, 1], [1, 0], [0, 1]]), [1, 0, 0])
    66.66666666666666
    """
    labels = np.asarray(labels)
    if len(images) != len(labels) or not len(images):
        raise ValueError(
            "`labels` must hold one label for each image, and there must be an image. "
            f"Received: {len(images)} images, {len(labels)} labels"
        )
    classes = classes_of(open_exported(path, format, threads), images)
    return 100.0 * float(np.mean(classes == labels))


def classes_of(predict, images):
    """The class of every image, in batches."""
    batch = batch_of(images)
    parts = [predict(images[i : i + batch]).argmax(-1) for i in range(0, len(images), batch)]
    return np.concatenate(parts)


def batch_of(images):
    """Number of images per batch: fewer if they are large, as inner features are too."""
    return max(1, min(_BATCH, _PIXELS // max(1, np.size(images[0]))))


def runtime_of(row):
    """The module that runs a format, or ImportError with the command that installs it."""
    if row.runtime != "openvino" or "openvino" in sys.modules:
        return require(row.runtime, extra_of(row.runtime))
    # OpenVINO reports its import over the network, from a fork that JAX's threads do not survive;
    # without that module it uses a stub.
    report = "openvino_telemetry"
    kept = sys.modules.get(report)
    sys.modules[report] = None
    try:
        return require(row.runtime, extra_of(row.runtime))
    finally:
        del sys.modules[report]
        if kept is not None:
            sys.modules[report] = kept


def _tensorflow(tf, path, threads):
    if keras.backend.backend() != "tensorflow":
        # TensorFlow would take all memory of the GPUs.
        with contextlib.suppress(RuntimeError):  # already in use
            tf.config.set_visible_devices([], "GPU")
    if threads is not None and tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    model = tf.saved_model.load(path)  # kept here, since its variables go with it
    return lambda images: model.serve(tf.constant(images)).numpy()


def _onnx(onnxruntime, path, threads):
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [source.name for source in session.get_inputs()]

    def run(*inputs):
        outputs = session.run(None, dict(zip(names, inputs, strict=True)))
        return outputs if len(outputs) > 1 else outputs[0]

    return run


def _litert(_, path, threads):
    module = require("ai_edge_litert.interpreter", "export")
    interpreter = module.Interpreter(path, num_threads=threads)
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    shape = []
    lock = threading.Lock()  # an interpreter holds one set of inputs

    def run(images):
        with lock:
            if shape != list(images.shape):
                interpreter.resize_tensor_input(source, images.shape)
                interpreter.allocate_tensors()
                shape[:] = images.shape
            interpreter.set_tensor(source, images)
            interpreter.invoke()
            return interpreter.get_tensor(target)

    return run


def _openvino(openvino, path, threads):
    # Half precision is the default on some processors.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return lambda images: compiled(images)[0]


def _torch(torch, path, threads):
    if threads is not None:
        torch.set_num_threads(threads)
    module = torch.export.load(seen_through(torch, Path(path))).module()

    def run(images):
        with torch.no_grad():
            return module(torch.from_numpy(images)).numpy()

    return run


_OPENERS = {
    "tf_saved_model": _tensorflow, "onnx": _onnx, "litert": _litert, "openvino": _openvino,
    "torch": _torch,
}  # fmt: skip
