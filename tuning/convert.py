"""What a conversion costs: accuracy, error and time, each part in a CSV file of its own.

python tuning/convert.py draws             # resnet20 as a PDE net, five draws of 400 images
python tuning/convert.py curve             # decomposed, accuracy against operations
python tuning/convert.py distil --epochs 1 # trained to the outputs of the original afterwards
python tuning/convert.py applications      # nets of keras.applications: error, time, memory
python tuning/convert.py speed             # ONNX Runtime and TensorFlow, in turn
python tuning/convert.py kernels           # kernels on this backend, to be compared with others'
python tuning/convert.py table             # table.md from these files

Files of `tuning/results/convert`, or of the folder after --out. Fashion-MNIST from TFDS; images for
conversions are of the training split, accuracies of the 10,000 test images.
"""

import argparse
import resource
import time
from pathlib import Path

import keras
import numpy as np

import keras_pdenets
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms import convert, distil, fold
from keras_pdenets.utils.machine import machine
from keras_pdenets.utils.tables import read_rows, write_rows

LAYERS = "stage*"  # the stem, which reads the pixels, stays: it has 144 weights
BUDGETS = (0.9, 0.8, 0.67, 0.6, 0.5, 0.4)
APPLICATIONS = ("ResNet50", "VGG16", "DenseNet121", "MobileNetV2")


def load(split):
    """Images and labels of Fashion-MNIST."""
    batches = list(keras_pdenets.data.load_dataset("fashion_mnist", split, 500))
    images = np.concatenate([np.asarray(x) for x, _ in batches])
    return images, np.concatenate([np.asarray(y) for _, y in batches]).ravel()


def resnet():
    """The net that is converted."""
    return keras_pdenets.PreActResNet20(weights="hub")


def accuracy(model, test):
    """Per cent of right classes."""
    classes = model.predict(test[0], 500, verbose=0).argmax(-1)
    return round(float((classes == test[1]).mean() * 100), 2)


def some(images, seed, count=400):
    """A draw of images."""
    return images[np.random.default_rng(seed).choice(len(images), count, replace=False)]


def worst(report):
    """The largest error of a layer's outputs."""
    return round(max(layer.error for layer in report.layers), 4)


def write(options, name, rows):
    """Rows of a part, with where they were measured."""
    where = {"backend": keras.backend.backend(), "machine": machine()}
    write_rows(options.out / f"{name}.csv", [row | where for row in rows])


def draws(options):
    """Five draws of the images, and the nets without training."""
    images, _ = load("train")
    test, model, rows = load("test"), resnet(), []
    before = accuracy(model, test)
    for operator, layers, seeds in (
        ("pde", LAYERS, 5),
        ("decomposed", LAYERS, 2),
        ("pde", None, 1),
    ):
        for seed in range(seeds):
            new, report = convert(model, operator, some(images, seed), layers, seed=seed, verbose=0)
            rows.append(
                {"operator": operator, "layers": layers or "all", "seed": seed, "before": before,
                 "after": accuracy(new, test), "largest_error": worst(report),
                 "seconds": round(report.seconds, 1)}
            )  # fmt: skip
            print(rows[-1], flush=True)
            write(options, "draws", rows)


def decomposed_kernels(model, share):
    """The net with every kernel's leading singular part, without regard to the data."""
    new = keras.models.clone_model(model)
    new.set_weights(model.get_weights())
    for layer in new.layers:
        if (
            type(layer) is keras.layers.Conv2D
            and layer.kernel_size == (3, 3)
            and layer.name[:5] != "stem_"
        ):
            kernel = as_float64(layer.kernel)
            matrix = kernel.transpose(1, 2, 0, 3).reshape(3 * kernel.shape[2], -1)
            left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
            count = round(share * kernel.shape[3])
            matrix = (left[:, :count] * sizes[:count]) @ right[:count]
            shape = (3, kernel.shape[2], 3, kernel.shape[3])
            layer.kernel.assign(matrix.reshape(shape).transpose(2, 0, 1, 3))
    return new


def curve(options):
    """Accuracy of decomposed nets against the operations that remain."""
    images, _ = load("train")
    test, model, rows = load("test"), resnet(), []
    few = some(images, 0)
    for budget in BUDGETS:
        new, report = convert(model, "decomposed", few, LAYERS, budget=budget, verbose=0)
        before, after = report.operations
        # Where all layers have the same share, two thirds of it remains of their operations.
        plain = decomposed_kernels(model, 1.5 * budget)
        rows.append(
            {"budget": budget, "operations": round(after / before, 3),
             "accuracy": accuracy(new, test), "svd_of_kernels": accuracy(plain, test),
             "largest_error": worst(report), "seconds": round(report.seconds, 1)}
        )  # fmt: skip
        print(rows[-1], flush=True)
        write(options, "curve", rows)


def distillation(options):
    """A converted net trained to the outputs of the original, on images without labels."""
    images, labels = load("train")
    test, model = load("test"), resnet()
    if options.pilot:  # what is chosen is chosen without the test images
        test, images = (images[55000:], labels[55000:]), images[: options.pilot]
        labels = labels[: options.pilot]
    how = {"epochs": options.epochs, "features": options.features, "seed": options.seed,
           "learning_rate": options.rate}  # fmt: skip
    new, _ = convert(
        model, options.operator, some(images, options.seed), LAYERS, budget=options.budget,
        seed=options.seed, verbose=0,
    )  # fmt: skip
    row = {"operator": options.operator, "budget": options.budget, "images": len(images)} | how
    row |= {"labels": options.labels, "before": accuracy(model, test),
            "converted": accuracy(new, test)}  # fmt: skip
    print(row, flush=True)
    begin = time.monotonic()
    distil(new, model, images, labels=labels if options.labels else None, **how)
    row |= {"distilled": accuracy(new, test), "seconds": round(time.monotonic() - begin)}
    print(row, flush=True)
    path = options.out / ("distil_pilots.csv" if options.pilot else "distil.csv")
    kept = read_rows(path) if path.exists() else []
    write(options, path.stem, [*kept, row])


def applications(options):
    """Nets of keras.applications with random weights, on crops of photographs."""
    from sklearn.datasets import load_sample_images

    photographs = [image.astype("float32") for image in load_sample_images().images]
    rng, rows = np.random.default_rng(0), []
    path = options.out / f"applications_{options.side}.csv"
    if path.exists():
        rows = read_rows(path)
    for name in options.nets:
        keras.utils.set_random_seed(0)
        model = getattr(keras.applications, name)(
            weights=None, input_shape=(options.side,) * 2 + (3,)
        )
        crops = np.empty((options.images, options.side, options.side, 3), "float32")
        for crop in crops:
            image = photographs[rng.integers(2)]
            top, left = (rng.integers(n - options.side) for n in image.shape[:2])
            crop[...] = image[top : top + options.side, left : left + options.side] / 127.5 - 1
        _, report = convert(model, "pde", crops, batch_size=16, verbose=options.verbose)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append(
            {"net": name, "side": options.side, "images": options.images,
             "converted": len(report.layers), "left": len(report.left),
             "largest_error": worst(report),
             "median_error": round(float(np.median([x.error for x in report.layers])), 4),
             "weights": report.parameters[0], "weights_after": report.parameters[1],
             "seconds": round(report.seconds), "peak_GiB": round(peak, 1),
             "backend": keras.backend.backend(), "machine": machine()}
        )  # fmt: skip
        print(rows[-1], flush=True)
        write_rows(path, rows)
        report.write_csv(options.out / f"applications_{name}_{options.side}.csv")


def speed(options):
    """Milliseconds of the original and of the converted net, folded and exported, in turn."""
    from keras_pdenets.export import export, open_exported

    images, _ = load("train")
    model, few, rows = resnet(), some(images, 0), []
    how, layers = {"budget": 0.6}, LAYERS
    if options.net == "resnet18":  # wide, with random weights: times do not depend on them
        model = keras_pdenets.ResNet18(
            weights=None, input_shape=(32, 32, 3), classes=10, stem="cifar"
        )
        few = np.random.default_rng(0).uniform(0, 255, (64, 32, 32, 3)).astype("float32")
        how, layers = {"share": 0.8, "places": 1}, "stage*_conv*"
    new, report = convert(model, "decomposed", few, layers, **how, verbose=0)
    nets = {"original": model, "converted": new}
    batch = few[:32].astype("float32")
    runs = {}
    for name, net in nets.items():
        path = options.out / f"{name}.onnx"
        export(net, path, "onnx")
        runs["ONNX Runtime", name] = open_exported(path, threads=1)
        path.unlink()
        if keras.backend.backend() == "tensorflow":
            folded, _ = fold(net)
            runs["TensorFlow", name] = folded.predict_on_batch
    times = {key: [] for key in runs}
    for _ in range(options.rounds):
        for key, run in runs.items():
            begin = time.perf_counter()
            run(batch)
            times[key].append(1000 * (time.perf_counter() - begin))
    for runtime in dict.fromkeys(runtime for runtime, _ in runs):
        old, fresh = (np.median(times[runtime, name][2:]) for name in nets)
        left = round(report.operations[1] / report.operations[0], 3)
        rows.append(
            {"net": options.net, "runtime": runtime, "operations": left,
             "original_ms": round(float(old), 2), "converted_ms": round(float(fresh), 2),
             "ratio": round(float(fresh / old), 3), "rounds": options.rounds, "batch": len(batch)}
        )  # fmt: skip
        print(rows[-1], flush=True)
    write(options, f"speed_{options.net}", rows)


def kernels(options):
    """All coordinates and kernels that this backend finds; the largest difference from others."""
    images, _ = load("train[:400]")
    found = {}
    for operator in ("pde", "decomposed"):
        new, report = convert(resnet(), operator, images, LAYERS, verbose=0)
        for layer in report.layers:
            whole = [as_float64(part) for part in new.get_layer(layer.name).kernels()]
            found[f"{operator} {layer.name}"] = whole[0] if len(whole) == 1 else whole[0] @ whole[1]
    folder = options.out.parent.parent.parent / "runs" / "convert_kernels"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{keras.backend.backend()}.npz", **found)
    rows = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as other:
            largest = max(np.abs(found[name] - other[name]).max() for name in found)
            scale = max(np.abs(kernel).max() for kernel in found.values())
        rows.append({"other": path.stem, "difference": f"{largest:.2g}", "kernel": f"{scale:.2g}"})
        print(rows[-1], flush=True)
    write(options, f"kernels_{keras.backend.backend()}", rows)


def table(options):
    """All files as one page of Markdown."""
    lines = ["# Conversions", "", "Written by `python tuning/convert.py table`.", ""]
    for path in sorted(options.out.glob("*.csv")):
        rows = read_rows(path)
        columns = list(rows[0])
        if path.stem.startswith("applications_") and not path.stem.split("_")[1].isdigit():
            continue
        lines += [f"## {path.stem}", "", "| " + " | ".join(columns) + " |",
                  "|" + "---|" * len(columns)]  # fmt: skip
        lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
        lines.append("")
    (options.out / "table.md").write_text("\n".join(lines), encoding="utf-8")


PARTS = {
    "draws": draws, "curve": curve, "distil": distillation, "applications": applications,
    "speed": speed, "kernels": kernels, "table": table,
}  # fmt: skip


def main():
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("tuning/results/convert"))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--features", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--labels", action="store_true")
    parser.add_argument("--pilot", type=int, help="train on the first so many, measure on the last")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--operator", default="pde")
    parser.add_argument("--budget", type=float)
    parser.add_argument("--nets", nargs="+", default=APPLICATIONS, choices=APPLICATIONS)
    parser.add_argument("--net", default="resnet20", choices=("resnet20", "resnet18"))
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--verbose", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    PARTS[options.part](options)


if __name__ == "__main__":
    main()
