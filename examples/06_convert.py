# %% [markdown]
"""
# Convert your ResNet

**You learn** how a trained net becomes a net of differential operators, or one with fewer
operations, without labels and without training; what it loses; and how to export the result.

**It takes** about a minute on one CPU core; `pip install "keras-pdenets[plots,export]"` and a
backend. `python examples/06_convert.py --full` converts all layers with 400 images: three
minutes. For a net of `keras.applications`:

    model = keras.applications.ResNet50(weights="imagenet")
    images = keras_pdenets.data.load_pictures("pictures", (224, 224, 3), 256)
    images = keras.applications.resnet.preprocess_input(images)
    pde, report = convert(model, "pde", images, folder="runs/resnet50_pde")
"""

# %%
import sys
import time
from pathlib import Path

import numpy as np

import keras_pdenets
from keras_pdenets.analysis import describe_operators
from keras_pdenets.export import export, open_exported
from keras_pdenets.plots import plot_conversion, plot_operators
from keras_pdenets.transforms import convert, plan_conversion

FULL = "--full" in sys.argv
OUTPUT = Path("convert_output")
OUTPUT.mkdir(exist_ok=True)
LAYERS = "stage*" if FULL else "stage1*"  # the stem reads the pixels: its few weights stay
BUDGET = 0.6 if FULL else 0.9  # share of the operations that may remain
COUNT = 400 if FULL else 100

images, labels = keras_pdenets.data.load_sample()
order = np.random.default_rng(0).permutation(len(images))
few, rest = images[order[:COUNT]], order[COUNT:]
test = images[rest], labels[rest]
model = keras_pdenets.PreActResNet20(weights="hub")

# %% [markdown]
# As a net of differential operators: a third fewer numbers in the converted layers.

# %%
pde, report = convert(model, "pde", few, LAYERS, held_out=test, verbose=0)
print(report)

# %% [markdown]
# Now the layers can be read as equations.

# %%
print(describe_operators(pde))
layer = pde.get_layer("stage1_block1_conv0")
plot_operators(layer, OUTPUT / "operators.png", f"{layer.name}: operators of a trained net")
pde.save(OUTPUT / "pde.keras")

# %% [markdown]
# What a layer could become, and a net with a budget of operations: pairs of 1x3 and 3x1
# convolutions.

# %%
print(plan_conversion(model, few, layers="stage1_block0_conv1"))
thin, thin_report = convert(
    model, "decomposed", few, LAYERS, budget=BUDGET, held_out=test, verbose=0
)
print(thin_report)
plot_conversion({"PDE": report, "decomposed": thin_report}, OUTPUT / "errors.png")

# %% [markdown]
# Exported and timed in turn. Fewer operations are not always less time: these layers are thin.

# %%
runs, times = {}, {"original": [], "decomposed": []}
for name, net in {"original": model, "decomposed": thin}.items():
    export(net, OUTPUT / f"{name}.onnx", "onnx")
    runs[name] = open_exported(OUTPUT / f"{name}.onnx", threads=1)
for _ in range(30):
    for name, run in runs.items():
        begin = time.perf_counter()
        run(few[:32].astype("float32"))
        times[name].append(1000 * (time.perf_counter() - begin))
for name, found in times.items():
    print(f"ONNX Runtime, 32 images, {name}: {np.median(found):.1f} ms")
