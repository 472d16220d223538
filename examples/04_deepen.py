# %% [markdown]
"""
# A plain net as the residual net that it is

**You learn** how to divide the activations of a plain net into residual steps with the same
outputs, look inside, give every step kernels of its own, and train the deeper net further.

**It takes** about a minute on one CPU core; `pip install "keras-pdenets[plots]"` and a backend.
Everything comes with the package: a trained plain net and 1,000 images of the test split, which
it was not trained on: 800 to train on here, 200 to test.
"""

# %%
from pathlib import Path

import keras

import keras_pdenets
from keras_pdenets.plots import plot_flow
from keras_pdenets.transforms import refine

OUTPUT = Path("deepen_output")
OUTPUT.mkdir(exist_ok=True)
keras.utils.set_random_seed(0)
images, labels = keras_pdenets.data.load_sample()
train, test = (images[:800], labels[:800]), (images[800:], labels[800:])
plain = keras_pdenets.PlainNet20(weights="hub")


def accuracy(model):
    """Percent of the test images that the model classifies correctly."""
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return 100 * model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]


# %% [markdown]
# Every ReLU becomes four residual steps; the outputs stay the same.

# %%
refined, report = refine(plain, steps=4, data=images[:50])
print(report)
print(f"plain: {accuracy(plain):.1f} %; refined: {accuracy(refined):.1f} %")

# %% [markdown]
# One image on its way through the steps.

# %%
layers = ["stem_relu0", "stage0_layer5_relu0", "stage1_layer5_relu0", "stage2_layer5_relu0"]
plot_flow(refined, images[0], layers, OUTPUT / "flow.png", "One image, four steps each")

# %% [markdown]
# Smaller steps can be inverted; in return, a ReLU leaks a little of what it cuts off.

# %%
_, report = refine(plain, steps=8, max_step=0.6, data=images[:50])
print(f"With steps of at most 0.6:\n{report}")

# %% [markdown]
# Depthwise kernels in every step, the same outputs at first; then training.

# %%
deeper, report = refine(plain, steps=2, promote="depthwise", data=images[:50])
print(f"With two kernels in every step:\n{report}")
start = accuracy(deeper)
loss = "sparse_categorical_crossentropy"
deeper.compile(keras.optimizers.SGD(0.002, momentum=0.9), loss, metrics=["accuracy"])
deeper.fit(*train, batch_size=64, epochs=2, verbose=2)
print(f"deepened: {start:.1f} %; trained further: {accuracy(deeper):.1f} %")
deeper.save(OUTPUT / "deeper.keras")
