# %% [markdown]
"""
# Your own pictures, from a folder to a server

**You learn** the whole way: a folder of pictures, a pretrained net fine-tuned on them, its
accuracy, one file for ONNX Runtime, and a server's code that needs neither Keras nor this
package.

**It takes** about a minute on one CPU core; `pip install "keras-pdenets[images,export]"
scikit-learn` and a backend. Set `PICTURES` to your folder, which holds one folder of pictures for
each class.
"""

# %%
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import keras_pdenets
from keras_pdenets.export import export

OUTPUT = Path("own_pictures_output")
PICTURES = OUTPUT / "pictures"
SIDE, CHANNELS = 28, 1
keras.utils.set_random_seed(0)

# %% [markdown]
# Pictures to try it with: handwritten digits as PNG files, 60 of each. Leave this cell out for
# your own.

# %%
digits = load_digits()
for digit in range(10):
    (PICTURES / str(digit)).mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(digits.images[digits.target == digit][:60]):
        picture = Image.fromarray((pixels * 255 / 16).astype("uint8")).resize((24, 24))
        picture.save(PICTURES / str(digit) / f"{number}.png")

# %% [markdown]
# Read them, one folder at a time: any size, any format. A fifth is kept for the test.

# %%
classes = sorted(path.name for path in PICTURES.iterdir() if path.is_dir())
images, labels = [], []
for label, name in enumerate(classes):
    found = keras_pdenets.data.load_pictures(PICTURES / name, (SIDE, SIDE, CHANNELS))
    images.append(found)
    labels += [label] * len(found)
images, labels = np.concatenate(images), np.array(labels)
order = np.random.default_rng(0).permutation(len(images))
cut = len(images) // 5
test, train = ((images[part], labels[part]) for part in (order[:cut], order[cut:]))
print(f"{len(train[0])} pictures to train on, {len(test[0])} to test, {len(classes)} classes")

# %% [markdown]
# A pretrained net with a new head: first the head alone, then everything.

# %%
model = keras_pdenets.PDEPreActResNet20(
    weights="hub", input_shape=(SIDE, SIDE, CHANNELS), classes=len(classes)
)
for until, epochs, rate in ((None, 4, 1e-2), ("", 6, 3e-3)):
    keras_pdenets.freeze(model, until)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(*train, batch_size=32, epochs=epochs, verbose=2)

# %%
answers = model.predict(test[0], verbose=0).argmax(1)
print(f"accuracy {100 * np.mean(answers == test[1]):.1f} % on {len(test[0])} pictures")
for label, name in enumerate(classes):
    mine = test[1] == label
    print(f"{name:>12}: {np.sum(answers[mine] == label)} of {mine.sum()} right")

# %% [markdown]
# One file, folded into plain convolutions and kept only if it gives the same numbers.

# %%
model.save(OUTPUT / "mine.keras")
print(export(model, OUTPUT / "mine.onnx", "onnx", data=test[0]))

# %% [markdown]
# The server: ONNX Runtime, Pillow and NumPy. Pixels 0-255 go in; the net scales them itself.

# %%
import onnxruntime

session = onnxruntime.InferenceSession(str(OUTPUT / "mine.onnx"))
(entry,) = session.get_inputs()


def answer(path):
    """The class of a picture and its probability."""
    picture = Image.open(path).convert("L" if CHANNELS == 1 else "RGB").resize((SIDE, SIDE))
    pixels = np.asarray(picture, "float32").reshape(1, SIDE, SIDE, CHANNELS)
    (scores,) = session.run(None, {entry.name: pixels})
    return classes[int(scores[0].argmax())], float(scores[0].max())


for name in classes[:3]:
    print(name, "->", answer(next((PICTURES / name).glob("*.png"))))
