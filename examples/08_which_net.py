# %% [markdown]
"""
# Which net should I take?

**You learn** what the shipped nets cost (numbers, operations, bytes, milliseconds) and what they
get right, measured on your machine, so that you can choose: for a phone, for a server, for
reading equations.

**It takes** about a minute on one CPU core; `pip install "keras-pdenets[plots,export]"` and a
backend.
"""

# %%
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import keras_pdenets
from keras_pdenets.export import export, open_exported
from keras_pdenets.transforms import count_operations, fold

OUTPUT = Path("which_net_output")
OUTPUT.mkdir(exist_ok=True)
PRESETS = (
    "resnet20_fashion_mnist",
    "pde_resnet20_fashion_mnist",
    "decomposed_resnet20_fashion_mnist",
    "hyperbolic_resnet56_fashion_mnist",
)
images, labels = keras_pdenets.data.load_sample()
batch = images[:32].astype("float32")

# %% [markdown]
# Each net is folded into plain convolutions and written as ONNX, as for a phone or a server. The
# decomposed net keeps its pairs of 1x3 and 3x1 convolutions: fewer operations, a smaller file.

# %%
runs, rows = {}, {}
for name in PRESETS:
    model = keras_pdenets.load_model(name)
    folded, _ = fold(model, "keep", portable=True)
    report = export(model, OUTPUT / f"{name}.onnx", "onnx", decomposed="keep")
    runs[name] = open_exported(report.path, threads=1)
    rows[name] = {
        "trainable": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "MFLOP": count_operations(folded) / 1e6,
        "KB": report.size / 1e3,
        "card": keras_pdenets.get_preset(name).metrics["test_accuracy"],
    }

# %% [markdown]
# All nets in turn, one thread: what disturbs the machine disturbs all of them.

# %%
times = {name: [] for name in PRESETS}
for _ in range(20):
    for name, run in runs.items():
        begin = time.perf_counter()
        run(batch)
        times[name].append(1000 * (time.perf_counter() - begin) / len(batch))
for name, run in runs.items():
    answers = np.concatenate([run(images[i : i + 100].astype("float32")) for i in (0, 100, 200)])
    rows[name]["ms"] = float(np.median(times[name]))
    rows[name]["sample"] = 100 * np.mean(answers.argmax(1) == labels[:300])

# %%
print(f"{'':34}{'trainable':>10}{'MFLOP':>8}{'KB':>7}{'ms/image':>10}{'300 here':>10}{'card':>8}")
for name, row in rows.items():
    print(
        f"{name:34}{row['trainable']:10,}{row['MFLOP']:8.1f}{row['KB']:7.0f}{row['ms']:10.2f}"
        f"{row['sample']:9.1f}%{row['card']:7.2f}%"
    )

# %% [markdown]
# Accuracy (card: 10,000 test images) against time. The upper left corner is where you want to be.

# %%
figure, axes = plt.subplots(figsize=(6, 4))
for name, row in rows.items():
    axes.scatter(row["ms"], row["card"])
    axes.annotate(name.removesuffix("_fashion_mnist"), (row["ms"], row["card"]))
axes.set(xlabel="milliseconds for an image, ONNX Runtime, one thread", ylabel="accuracy, %")
figure.savefig(OUTPUT / "which_net.png", bbox_inches="tight")
plt.close(figure)
