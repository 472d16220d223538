# %% [markdown]
"""
# How deep should my net be?

**You learn** how much each residual block changes the data, how the stopping rule of Hauser 2019
turns that into a number of blocks, and how to measure any residual net of Keras.

**It takes** about a minute on one CPU core; `pip install "keras-pdenets[data,plots]"`. For your
own images set `IMAGES` to an `.npz` file with arrays `images` (n, h, w, c), pixels 0-255, and
`labels`.
"""

# %%
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_pdenets
from keras_pdenets.plots import plot_perturbations
from keras_pdenets.training import PerturbationLogger

IMAGES = None
EPSILON = 0.3
EPOCHS = 4
OUTPUT = Path("how_deep_output")

if IMAGES is None:  # handwritten digits, 8x8 pixels
    digits = load_digits()
    images = (digits.images * 255 / 16)[..., None].astype("float32")
    labels = digits.target
else:
    arrays = np.load(IMAGES)
    images, labels = arrays["images"].astype("float32"), arrays["labels"]

# %% [markdown]
# Blocks that start at zero: the distance that the data travel then does not depend on the depth,
# which the rule assumes.


# %%
def train(num_blocks):
    """A pre-activation net, trained; its distances are logged after every epoch."""
    keras.utils.set_random_seed(0)
    model = keras_pdenets.PreActResNet20(
        weights=None, input_shape=images.shape[1:], classes=int(labels.max()) + 1,
        num_blocks=num_blocks, zero_start=True,
    )  # fmt: skip
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    logger = PerturbationLogger(images[:500], OUTPUT / f"distances_{num_blocks}.csv")
    model.fit(images, labels, batch_size=64, epochs=EPOCHS, verbose=2, callbacks=[logger])
    return model


# %% [markdown]
# Train a shallow net and ask how many blocks bring the mean change to `EPSILON` or below.

# %%
shallow = train(2)
before = keras_pdenets.measure_perturbation(shallow, images)
depths = keras_pdenets.suggest_depth(shallow, images, EPSILON)
print(before)
print(f"blocks in each section for a mean change of at most {EPSILON}: {depths}")

# %% [markdown]
# Train that net, and measure again: the distance may have changed.

# %%
deep = train(depths)
after = keras_pdenets.measure_perturbation(deep, images)
print(after)
kept = all(section.mean <= EPSILON for section in after.sections)
print(f"every mean at or below {EPSILON}: {'yes' if kept else 'no, measure again'}")
plot_perturbations({"2 blocks": before, f"{depths}": after}, OUTPUT / "perturbations.png")

# %% [markdown]
# The same measurement of a net from another library. With `weights="imagenet"` (needs a network
# once) it would be a trained one.

# %%
other = keras.applications.ResNet50V2(weights=None, include_top=False, input_shape=(64, 64, 3))
pixels = np.random.default_rng(0).uniform(-1, 1, (4, 64, 64, 3)).astype("float32")
print("keras.applications.ResNet50V2, untrained:")
print(keras_pdenets.measure_perturbation(other, pixels))
