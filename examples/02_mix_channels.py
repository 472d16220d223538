# %% [markdown]
"""
# Mix the channels of a hyperbolic net

**You learn** that the channels of a hyperbolic net can be rotated without changing what it
computes, and how to use that freedom: find the basis with the most small weights, then prune.

**It takes** about a minute on one CPU core; `pip install "keras-pdenets[plots]"` and a backend.
With `python examples/02_mix_channels.py --full`: 10,000 test images, three searches of 1,000
steps, twenty minutes on a busy core.
"""

# %%
import sys

import keras
import numpy as np

import keras_pdenets
from keras_pdenets.plots import plot_kernels
from keras_pdenets.transforms import prune

FULL = "--full" in sys.argv
STEPS = 1000 if FULL else 100
SHARES = (0.2, 0.3, 0.4, 0.5, 0.6) if FULL else (0.3, 0.5)

if FULL:
    batches = list(keras_pdenets.data.load_dataset("fashion_mnist", "test", 500))
    images = np.concatenate([np.asarray(x) for x, _ in batches])
    labels = np.concatenate([np.asarray(y) for _, y in batches]).ravel()
else:
    images, labels = (array[:400] for array in keras_pdenets.data.load_sample())


def accuracy(model):
    """Percent of the images that the model classifies correctly."""
    return 100 * np.mean(model.predict(images, batch_size=200, verbose=0).argmax(-1) == labels)


# %% [markdown]
# A pretrained net, and the group of transformations that leave its outputs unchanged.

# %%
net = keras_pdenets.HyperbolicResNet56(weights="hub")
for symmetry in keras_pdenets.symmetry_group(net).values():
    print(symmetry)
print(f"accuracy {accuracy(net):.2f} % on {len(images):,} images")

# %% [markdown]
# A random rotation of the first stage: other weights, the same function.

# %%
rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0]
rotated, report = keras_pdenets.transform(net, {0: rotation})
print(report)

# %% [markdown]
# The basis with the most small weights, and what pruning costs in it: accuracy after a share of
# every mixed kernel has been set to 0.

# %%
print(f"{keras.config.backend()}; accuracy after pruning")
print("net".ljust(26), *(f"{share:8.0%}" for share in SHARES))
print("as trained".ljust(26), *(f"{accuracy(prune(net, s)):8.2f}" for s in SHARES))
for seed in (None, 0, 1) if FULL else (None,):
    sparse, report = keras_pdenets.sparsify(
        net, steps=STEPS, seed=seed, images=images[:100], verbose=0
    )
    start = "its own basis" if seed is None else f"rotation {seed}"
    row = [f"{accuracy(prune(sparse, s)):8.2f}" for s in SHARES]
    print(f"sparse, from {start}".ljust(26), *row)
    print(f"    {report}; accuracy {accuracy(sparse):.2f} %")
    if seed is None:
        pictured = {"as trained": net, "after sparsify": sparse}

# %%
plot_kernels(pictured, "stage2_block1_product", "mix_channels_output/weights.png")
