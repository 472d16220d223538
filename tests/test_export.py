"""Exported nets: the same numbers in other runtimes, or no file."""

import argparse
import importlib
import sys

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill
from keras import layers

import keras_pdenets
from keras_pdenets import data as data_module
from keras_pdenets import layers as own
from keras_pdenets.cli import export as command
from keras_pdenets.data import load_sample
from keras_pdenets.export import (
    FORMATS,
    accuracy_of,
    export,
    exporting,
    formats,
    open_exported,
    quantize_int8,
    runtime,
)
from keras_pdenets.export.convert import convert_here
from keras_pdenets.export.placing import place

PRESET = "pde_resnet20_fashion_mnist"
# Format, folded, and the backend that writes it; from torch two of them take another process.
MATRIX = {
    "torch": [
        ("tf_saved_model", False, "tensorflow"), ("onnx", True, "torch"),
        ("litert", True, "tensorflow"), ("openvino", True, "torch"), ("torch", True, "torch"),
    ],
    "tensorflow": [
        ("tf_saved_model", True, "tensorflow"), ("onnx", True, "tensorflow"),
        ("litert", False, "tensorflow"),
    ],
    "jax": [("tf_saved_model", True, "jax")],
}[BACKEND]  # fmt: skip
TORCH = pytest.mark.once


@pytest.fixture(scope="module")
def model():
    if BACKEND == "jax":  # compiles every shape
        inputs = keras.Input((8, 8, 3))
        x = layers.BatchNormalization()(own.PDEConv2D(8)(layers.Rescaling(1 / 255)(inputs)))
        return fill(keras.Model(inputs, layers.Dense(10)(layers.Flatten()(layers.ReLU()(x)))))
    return fill(build("pde_preact_resnet20", side=8, config={"num_blocks": 1}))


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(1).uniform(0, 255, (5, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A shipped net in ONNX, and images."""
    model = keras_pdenets.PDEPreActResNet20(weights=PRESET)
    path = tmp_path_factory.mktemp("trained") / "net.onnx"
    export(model, path, "onnx")
    return path, *load_sample()


@pytest.fixture
def here(monkeypatch):
    """One backend, the current one: no other process."""
    monkeypatch.setattr(formats.Format, "backends", lambda row, current: [current])


@pytest.mark.slow
@pytest.mark.parametrize(("format", "fuse", "backend"), MATRIX)
def test_the_numbers_are_the_same(format, fuse, backend, model, data, tmp_path):
    path = tmp_path / f"net{FORMATS[format].suffix}"
    report = export(model, path, format, fuse)
    assert report.backend == backend
    assert not report.failed
    assert report.difference < 1e-5
    assert report.batch_sizes == (1, 3)
    assert (report.fold is not None) == fuse
    assert report.size > 4_000
    assert "largest difference" in str(report)
    assert sorted(tmp_path.iterdir()) == sorted(FORMATS[format].pieces(path))
    predict = open_exported(path, threads=None if format == "tf_saved_model" else 1)
    for images in (data, data[:1], data[:2]):  # sizes that were not compared before
        np.testing.assert_allclose(predict(images), model.predict(images, verbose=0), atol=1e-5)


@TORCH
@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_channels_first_and_images_of_any_size(format, data, tmp_path):
    inputs = x = keras.Input((3, None, None))
    for i in range(2):
        x = layers.ZeroPadding2D(1, data_format="channels_first")(x)
        x = layers.Conv2D(4, 3, 2, data_format="channels_first", name=f"conv{i}")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(layers.ReLU()(x))
    model = fill(keras.Model(inputs, layers.Dense(3)(x)))
    path = tmp_path / f"net{FORMATS[format].suffix}"
    assert export(model, path, format).backend == "torch"
    images = np.moveaxis(np.tile(data, (1, 2, 3, 1)), -1, 1)
    want = model.predict(images, verbose=0)
    np.testing.assert_allclose(open_exported(path)(images), want, atol=1e-5 * np.abs(want).max())


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "jax", reason="writes no ONNX itself")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [(lambda y: y + 0.02, r"differ from the model's by 0\.02; the limit is 0\.0001"),
     (lambda y: y * np.nan, "differ from the model's by nan"),
     (lambda y: y if len(y) == 1 else y * np.nan, "differ from the model's by nan"),
     (lambda y: y[:1], r"outputs are \(1, 10\), the model's \(3, 10\)")],
)  # fmt: skip
def test_wrong_numbers_leave_nothing(wrong, message, model, here, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"older")
    opened = runtime._OPENERS["onnx"]

    def opener(*arguments):
        run = opened(*arguments)
        return lambda images: wrong(run(images))

    monkeypatch.setitem(runtime._OPENERS, "onnx", opener)
    with pytest.raises(RuntimeError, match=message):
        export(model, path, "onnx")
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    monkeypatch.setattr(formats.Format, "backends", lambda row, current: [current])
    assert export(model, path, "onnx", data=np.zeros((1, 8, 8, 3))).batch_sizes == (1, 3)
    assert path.stat().st_size > 10_000


@TORCH
def test_the_next_backend_is_tried(model, tmp_path, monkeypatch):
    def convert(net, path, format, backend, folder):
        if backend == "torch":
            raise KeyError("no such operator")
        convert_here(net, path, format)

    monkeypatch.setattr(exporting, "convert", convert)
    report = export(model, tmp_path / "net", "onnx")
    assert report.path.name == "net.onnx"
    assert report.backend == "tensorflow"
    assert "no such operator" in report.failed["torch"]
    assert "torch was tried before" in str(report)


@pytest.mark.slow
@TORCH
def test_another_process_that_fails_says_why(model, tmp_path, monkeypatch):
    python = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    for script, reason in [
        ('echo "I tensorflow.cc: hello\nThe net was not written: TypeError: no Foo" >&2; exit 1',
         "tensorflow: RuntimeError: TypeError: no Foo$"),
        ("kill -9 $$", "tensorflow: RuntimeError: the process ended with status -9"),
        ("exit 0", "tensorflow: FileNotFoundError: There is nothing at"),
    ]:  # fmt: skip
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        with pytest.raises(RuntimeError, match=reason):
            export(model, tmp_path / "net.tflite", "litert")
        assert list(tmp_path.iterdir()) == [python]


def test_folders_are_put_in_place_whole_or_not_at_all(tmp_path):
    def folder(name, text):
        made = tmp_path / name
        made.mkdir()
        (made / "saved_model.pb").write_text(text)
        return made

    (tmp_path / "made").mkdir()
    target = folder("net", "older")
    place([folder("made/net", "newer")], [target])
    assert (target / "saved_model.pb").read_text() == "newer"
    for name in ("net.xml", "net.bin"):
        (tmp_path / name).write_text("older")
    (tmp_path / "made" / "net.xml").write_text("newer")
    (tmp_path / "made" / "net.bin").mkdir()
    pieces = FORMATS["openvino"].pieces(tmp_path / "made" / "net.xml")
    with pytest.raises(OSError, match="missing"):  # its folder does not exist
        place(pieces, [tmp_path / "net.xml", tmp_path / "missing" / "net.bin"])
    assert (tmp_path / "net.xml").read_text() == "older"


def test_bad_arguments(model, tmp_path):
    for format, name, error, message in [
        ("tflite", "net.tflite", ValueError, "`format` must be one of 5 .* nearest are .*litert"),
        ("onnx", "net.pb", ValueError, r"`path` of format onnx must end in \.onnx"),
        ("tf_saved_model", "net.onnx", ValueError, "must be a folder, without a suffix"),
        ("onnx", "missing/net.onnx", FileNotFoundError, "must be in a folder that exists"),
        ("tf_saved_model", "others", FileExistsError, "a folder with other content"),
        ("tf_saved_model", "file", FileExistsError, "is a file"),
    ]:
        (tmp_path / "others").mkdir(exist_ok=True)
        (tmp_path / "others" / "letter.txt").write_text("Dear")
        (tmp_path / "file").write_text("Dear")
        with pytest.raises(error, match=message):
            export(model, tmp_path / name, format)
    path = tmp_path / "net.onnx"
    for options, message in [
        ({"tolerance": 0}, "`tolerance` must be positive"),
        ({"data": np.zeros((0, 8, 8, 3))}, "at least one input of shape"),
        ({"data": np.zeros((2, 8, 9, 3))}, "at least one input of shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            export(model, path, "onnx", **options)
    x = keras.Input((8,))
    half = keras.Model(x, layers.Dense(2, dtype="mixed_bfloat16")(x))
    for net, message in [
        (half, "must compute in float32.*bfloat16"),
        (keras.Sequential([layers.Dense(2)]), "functional or sequential"),
    ]:
        with pytest.raises(ValueError, match=message):
            export(net, path, "onnx")
    pair = keras.Model(x, [x, half(x)])
    with pytest.raises(ValueError, match=r"one input .* format torch\. Received: 1 inputs, 2 outp"):
        export(pair, tmp_path / "net.pt2", "torch")
    for action, error, message in [
        (lambda: open_exported(path), FileNotFoundError, "There is nothing at"),
        (lambda: open_exported(tmp_path / "file"), ValueError, "does not follow from the name"),
        (lambda: open_exported(tmp_path / "file", "onnx", 0), ValueError, "`threads` must be"),
        (lambda: accuracy_of(path, [1], [1, 2]), ValueError, "one label for each image"),
    ]:
        with pytest.raises(error, match=message):
            action()


@pytest.mark.slow
def test_onnx_takes_several_inputs_and_outputs(tmp_path):
    x, scale = keras.Input((8, 8, 3), name="x"), keras.Input((1, 1, 3), name="scale")
    y = layers.Conv2D(3, 3, padding="same", name="conv")(x) * scale
    net = keras.Model([x, scale], [layers.GlobalAveragePooling2D()(y), y])
    random = np.random.default_rng(0)
    data = [random.normal(size=(4, *part.shape[1:])).astype("float32") for part in (x, scale)]
    report = export(net, tmp_path / "net.onnx", "onnx", fuse=False, data=data)
    assert report.batch_sizes == (1, 4)
    found = open_exported(report.path)(*data)
    for one, right in zip(found, net.predict(data, verbose=0), strict=True):
        np.testing.assert_allclose(one, right, atol=1e-5)
    export(net, tmp_path / "random.onnx", "onnx", fuse=False)
    for wrong in (data[:1], [data[0], data[1][:2]], [data[0], data[0]]):
        with pytest.raises(ValueError, match="at least one input of shape"):
            export(net, tmp_path / "net.onnx", "onnx", data=wrong)


def test_what_is_missing_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'onnxruntime .*pip install "keras-pdenets\[export\]"'):
        export(model, tmp_path / "net.onnx", "onnx")
    monkeypatch.undo()
    monkeypatch.setattr(formats, "installed", lambda name: name == "torch")
    with pytest.raises(ImportError, match=r"torch \(onnx missing: .*\[export\].*tf2onnx missing"):
        FORMATS["onnx"].backends("torch")
    assert FORMATS["openvino"].backends("jax") == ["torch"]


@pytest.mark.slow
@TORCH
def test_int8_keeps_the_accuracy(trained, tmp_path):
    source, images, labels = trained
    path = tmp_path / "int8.onnx"
    path.write_bytes(b"older")
    with pytest.raises(RuntimeError, match=r"only \d+\.\d % of 20 .* .min_agreement. is 100.1 %"):
        quantize_int8(source, path, images[:20], min_agreement=100.1)
    assert path.read_bytes() == b"older"
    report = quantize_int8(source, path, images[::10])
    assert report.size[1] < report.size[0] / 3
    assert report.agreement > 95
    assert "keep their class" in str(report)
    rest = np.arange(len(images)) % 10 != 0
    before, after = (accuracy_of(p, images[rest], labels[rest], threads=1) for p in (source, path))
    assert before > 90
    assert after > before - 1
    assert list(tmp_path.iterdir()) == [path]
    # The head, which is fused with its bias on the way, stays in float; its layers do not.
    assert _float_weights(path) == []
    names = ["/MatMul", "/Conv_1"]
    quantize_int8(source, path, images[:20], keep_float=names, min_agreement=0)
    assert sorted(_float_weights(path)) == ["/Conv_1", "/MatMul/MatMulAddFusion"]


def _float_weights(path):
    """Names of the nodes whose kernels are not what a number of 8 bits stands for."""
    graph = importlib.import_module("onnx").load(path).graph
    whole = {name for node in graph.node if node.op_type == "DequantizeLinear"
             for name in node.output}  # fmt: skip
    products = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert products
    return [node.name for node in products if node.input[1] not in whole]


@TORCH
def test_bad_arguments_of_int8(trained, tmp_path):
    for options, message in [
        ({"calibration": "guess"}, "`calibration` must be one of percentile, minmax, entropy"),
        ({"images": np.zeros(3)}, "`images` must be a batch"),
        ({"images": np.zeros((0, 28, 28, 1))}, r"`images` must be a batch .*\(0, 28, 28, 1\)"),
        ({"images": np.zeros((2, 30, 28, 1))}, r"of images \(28, 28, 1\). .*\(2, 30, 28, 1\)"),
        ({"images": (image for image in trained[1])}, "`images` must be .*: generator"),
        ({"images": np.full((2, 28, 28, 1), np.nan)}, "must give finite features"),
        (
            {"keep_float": ["/Conv_99"]},
            "`keep_float` must be .* nearest are /Conv_9",
        ),
        ({"keep_float": ["/Relu"]}, "`keep_float` must be one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            quantize_int8(trained[0], tmp_path / "q.onnx", **{"images": trained[1], **options})


class FewImages:
    """In place of a `DataSource`: no TensorFlow Datasets."""

    def __init__(self, name, split, data_dir):
        assert (name, data_dir) == ("fashion_mnist", None)
        self.part = {"train[:500]": slice(0, None, 10), "test": slice(5, None, 10)}[split]

    def batches(self, size):
        yield tuple(keras.ops.convert_to_tensor(array[self.part]) for array in load_sample())


@pytest.mark.slow
@TORCH
def test_the_command(tmp_path, model, capsys, monkeypatch):
    monkeypatch.setattr(data_module, "DataSource", FewImages)
    parser = argparse.ArgumentParser()
    command.add_commands(parser.add_subparsers())

    def run(*arguments):
        options = parser.parse_args(["export", *map(str, arguments)])
        return options.run(options)

    out = tmp_path / "net.onnx"
    model.save(tmp_path / "net.keras")
    common = ("--format", "onnx", "--out", out)
    assert run("--model", tmp_path / "net.keras", "--no-fuse", *common) == 0
    assert "onnx, 0." in capsys.readouterr().out
    assert run("--preset", PRESET, "--int8", *common) == 0
    assert "accuracy on 100 images of fashion_mnist, test: 9" in capsys.readouterr().out
    for arguments, message in [
        (("--model", "net.keras", "--int8", *common), "needs --dataset"),
        (("--preset", PRESET, "--int8", "--format", "torch", "--out", out), "is for --format onnx"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(*arguments)
    with pytest.raises(SystemExit, match="2"):
        run("--preset", PRESET, "--int8", "--images", 0, *common)
    assert "--images: must be an integer of 1 or more. Received: 0" in capsys.readouterr().err
    monkeypatch.setattr(keras_pdenets.applications, "PDEPreActResNet20", pytest.fail)
    with pytest.raises(FileNotFoundError, match="must be in a folder that exists"):
        run("--preset", PRESET, "--int8", "--format", "onnx", "--out", tmp_path / "none" / "net")
