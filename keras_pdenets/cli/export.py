"""The command that writes nets for other runtimes."""

import tempfile
from pathlib import Path

from keras_pdenets.cli.arguments import (
    DECOMPOSED,
    FORMATS,
    add_command,
    add_preset,
    count,
    path,
    positive,
)
from keras_pdenets.cli.waiting import waiting


def add_commands(commands):
    """Add the command to the parser."""
    export = add_command(
        commands, "export", _export,
        "keras-pdenets export --preset pde_resnet20_fashion_mnist --format onnx --out net.onnx",
        help="write a net for another runtime, compare numbers", reads=("model",), data=True,
    )  # fmt: skip
    model = export.add_mutually_exclusive_group(required=True)
    add_preset(model, "--preset", help="a checkpoint of this package")
    model.add_argument("--model", type=path, help="a .keras file")
    export.add_argument("--format", required=True, choices=FORMATS, help="format of the file")
    export.add_argument("--out", type=path, required=True, help="the file (SavedModel: the folder)")
    export.add_argument("--no-fuse", action="store_true", help="keep the layers as they are")
    export.add_argument(
        "--decomposed", choices=DECOMPOSED, default="measure",
        help="1x3 and 3x1 kernels: keep them, merge them to 3x3, or what is faster here (measure)",
    )  # fmt: skip
    export.add_argument("--tolerance", type=positive, default=1e-4,
                        help="largest difference, relative to the outputs (1e-4)")  # fmt: skip
    export.add_argument(
        "--int8", action="store_true",
        help="int8 convolutions, calibrated on the training split, measured on the other (ONNX)",
    )  # fmt: skip
    export.add_argument("--images", type=count, default=500, help="images to calibrate on (500)")
    export.add_argument("--dataset", help="TFDS name for --int8 (default: the preset's own)")
    export.add_argument("--split", help="split to measure on (default: the preset's own, or test)")


def _export(options):
    import keras

    from keras_pdenets.applications import load_model
    from keras_pdenets.export import export
    from keras_pdenets.export.formats import format_named
    from keras_pdenets.export.placing import check_path
    from keras_pdenets.presets import get_preset

    preset = get_preset(options.preset) if options.preset else None
    data = _data(options, preset) if options.int8 else None
    check_path(options.out, format_named(options.format))  # before the work
    if preset is not None:
        model = load_model(preset.name)
    else:
        # The package's layers are known from here on.
        model = keras.saving.load_model(options.model, compile=False)
    arguments = {
        "fuse": not options.no_fuse, "tolerance": options.tolerance,
        "decomposed": options.decomposed,
    }  # fmt: skip
    text = f"Folding, writing {options.format}, comparing outputs"
    if not options.int8:
        with waiting(text):
            report = export(model, options.out, options.format, **arguments)
        print(report)
        return 0
    with tempfile.TemporaryDirectory() as work:
        with waiting(text):
            report = export(model, Path(work) / "float.onnx", "onnx", **arguments)
        print(report)
        _quantize(model, report.path, options, *data)
    return 0


def _data(options, preset):
    """Name and split of the data for int8; errors come before the work."""
    if options.format != "onnx":
        raise ValueError(f"`--int8` is for --format onnx. Received: {options.format}")
    name = options.dataset or (preset and preset.dataset)
    if name is None:
        raise ValueError("`--int8` of a --model needs --dataset: images to calibrate on.")
    return name, options.split or (preset.split if preset else "test")


def _quantize(model, source, options, name, split):
    import numpy as np

    from keras_pdenets.builders.pixels import warn_of_small_pixels
    from keras_pdenets.data import DataSource
    from keras_pdenets.export import accuracy_of, quantize_int8

    training = DataSource(name, f"train[:{options.images}]", options.data_dir)
    test = DataSource(name, split, options.data_dir)
    images = np.concatenate([np.asarray(batch) for batch, _ in training.batches(100)])
    warn_of_small_pixels(model, images)
    with waiting(f"Calibrating on {len(images)} images"):
        report = quantize_int8(source, options.out, images)
    print(report)
    with waiting(f"Measuring on {name}, {split}"):
        images, labels = map(np.concatenate, zip(*test.batches(500), strict=True))
        before, after = (accuracy_of(path, images, labels) for path in (source, options.out))
    print(
        f"accuracy on {len(images)} images of {name}, {split}: {before:.2f} % in float, "
        f"{after:.2f} % in int8"
    )
