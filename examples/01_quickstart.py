# %% [markdown]
"""
# Quickstart

**You learn** to load a pretrained PDE-Net, measure it on real images, fine-tune a smaller one on
another task, and save and reload it.

**It takes** about a minute and a half on one CPU core with TensorFlow; `pip install
"keras-pdenets[data,plots]"`, then `python examples/01_quickstart.py`. Fashion-MNIST (a bundled
sample) and scikit-learn's handwritten digits are real images; nothing is downloaded in a
checkout.
"""

# %%
import time
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_pdenets
from keras_pdenets.data import load_sample
from keras_pdenets.plots import plot_predictions

OUTPUT = Path("quickstart_output")
OUTPUT.mkdir(exist_ok=True)
SEED = 0
start = time.monotonic()

# %% [markdown]
# The largest shipped checkpoint, on 1,000 images that it was not trained on.

# %%
preset = keras_pdenets.get_preset("pde_resnet50_fashion_mnist")
pretrained = keras_pdenets.load_model(preset.name)  # as PDEResNet50(weights="hub")
print(pretrained.load_report)
images, labels = load_sample()
probabilities = pretrained.predict(images, batch_size=200, verbose=0)
accuracy = 100 * np.mean(probabilities.argmax(1) == labels)

shown = np.random.default_rng(SEED).permutation(len(images))[:40]
plot_predictions(
    images[shown], labels[shown], probabilities[shown], preset.checkpoint.class_names,
    OUTPUT / "predictions.png", title="PDEResNet50 on Fashion-MNIST",
)  # fmt: skip

# %% [markdown]
# Another task: handwritten digits of 8x8 pixels and 17 grey levels, as the net likes them, 28x28
# and 0-255.

# %%
data = load_digits()
digits = np.kron(data.images * 255 / 16, np.ones((3, 3)))  # (n, 8, 8) -> (n, 24, 24)
digits = np.pad(digits, [(0, 0), (2, 2), (2, 2)])[..., None].astype("float32")
order = np.random.default_rng(SEED).permutation(len(digits))
digits, targets = digits[order], data.target[order]
train, test = (digits[:1297], targets[:1297]), (digits[1297:], targets[1297:])

# %% [markdown]
# A new head on a pretrained backbone: first the head alone, then everything.

# %%
keras.utils.set_random_seed(SEED)
backbone = keras_pdenets.PDEPreActResNet20(weights="hub", include_top=False, pooling="avg")
outputs = keras.layers.Dense(10, activation="softmax", name="classifier")(backbone.output)
model = keras.Model(backbone.input, outputs, name="digits")
scores = []
for until, epochs, rate in ((None, 4, 1e-2), ("", 4, 3e-3)):
    keras_pdenets.freeze(model, until)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(*train, batch_size=64, epochs=epochs, verbose=2)
    scores.append(100 * model.evaluate(*test, verbose=0)[1])

# %%
model.save(OUTPUT / "digits.keras")
again = keras.saving.load_model(OUTPUT / "digits.keras")
before, after = (net.predict(test[0][:100], batch_size=100, verbose=0) for net in (model, again))
claimed, sampled = (preset.metrics[f"{key}_accuracy"] for key in ("test", "sample"))
print(f"""
backend                                             {keras.backend.backend()}
PDEResNet50, 1,000 images of the bundled sample     {accuracy:.2f} %  (card: {sampled:.2f} %)
PDEResNet50, all 10,000 test images                 card: {claimed:.2f} %
digits, PDEPreActResNet20 with the backbone frozen  {scores[0]:.2f} %
digits, all layers trained                          {scores[1]:.2f} %
saved and reloaded: largest difference              {np.abs(after - before).max():.1e}
picture                                             {OUTPUT / "predictions.png"}
time                                                {time.monotonic() - start:.0f} s""")
