"""A trained net becomes a PDE net, or a faster one, without labels and without training.

python examples/06_convert.py

About three minutes on one CPU core. Everything comes with the package: a trained ResNet and 1,000
images of the test split; 400 of them, without their labels, are what the conversion looks at, and
the others what both nets are compared on. For a net of `keras.applications`:

    model = keras.applications.ResNet50(weights="imagenet")
    images = keras_pdenets.data.load_pictures("pictures", (224, 224, 3), 256)
    images = keras.applications.resnet.preprocess_input(images)
    pde, report = convert(model, "pde", images, folder="runs/resnet50_pde")
"""

import time
from pathlib import Path

import numpy as np

import keras_pdenets
from keras_pdenets.analysis import describe_operators
from keras_pdenets.export import export, open_exported
from keras_pdenets.plots import plot_conversion, plot_operators
from keras_pdenets.transforms import convert, plan_conversion

OUTPUT = Path("convert_output")
LAYERS = "stage*"  # the stem reads the pixels themselves: its few weights stay


def milliseconds(runs, images):
    """Median time of some functions, in turn."""
    times = {name: [] for name in runs}
    for _ in range(30):
        for name, run in runs.items():
            begin = time.perf_counter()
            run(images)
            times[name].append(1000 * (time.perf_counter() - begin))
    return {name: float(np.median(values)) for name, values in times.items()}


def main():
    """Convert, compare, read, export, time."""
    images, labels = keras_pdenets.data.load_sample()
    order = np.random.default_rng(0).permutation(len(images))
    few, rest = images[order[:400]], order[400:]
    test = images[rest], labels[rest]
    model = keras_pdenets.PreActResNet20(weights="hub")

    pde, report = convert(model, "pde", few, LAYERS, held_out=test)
    print(f"As a net of differential operators:\n{report}\n")
    print(describe_operators(pde), "\n")
    layer = pde.get_layer("stage1_block1_conv0")
    plot_operators(layer, OUTPUT / "operators.png", f"{layer.name}: operators of a trained net")
    pde.save(OUTPUT / "pde.keras")

    plan = plan_conversion(model, few, layers="stage1_block0*")
    print(f"What two of its layers could become:\n{plan}\n")
    thin, thin_report = convert(model, "decomposed", few, LAYERS, budget=0.6, held_out=test)
    print(f"With three fifths of the operations:\n{thin_report}\n")
    plot_conversion({"PDE": report, "decomposed, 0.6": thin_report}, OUTPUT / "errors.png")

    runs = {}
    for name, net in {"original": model, "decomposed": thin}.items():
        export(net, OUTPUT / f"{name}.onnx", "onnx")
        runs[name] = open_exported(OUTPUT / f"{name}.onnx", threads=1)
    found = milliseconds(runs, few[:32].astype("float32"))
    print("ONNX Runtime, 32 images:", *(f"{name} {ms:.1f} ms" for name, ms in found.items()))


if __name__ == "__main__":
    main()
