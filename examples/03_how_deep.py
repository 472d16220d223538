"""How deep should my net be? Measured on your own images, and on any residual net of Keras.

python examples/03_how_deep.py                      # handwritten digits as "your own array"
python examples/03_how_deep.py --images mine.npz    # arrays "images" (n, h, w, c) and "labels"

About two minutes on one CPU core. With `weights="imagenet"` in place of None the last part
measures a trained ResNet50V2; the weights need a network once.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_pdenets
from keras_pdenets.plots import plot_perturbations
from keras_pdenets.training import PerturbationLogger

OUTPUT = Path("how_deep_output")


def load(path):
    """Images with pixels 0-255, and integer labels."""
    if path is not None:
        arrays = np.load(path)
        return arrays["images"].astype("float32"), arrays["labels"]
    digits = load_digits()
    return (digits.images * 255 / 16)[..., None].astype("float32"), digits.target


def train(images, labels, num_blocks, epochs):
    """A pre-activation net whose blocks start at zero, so that its distances are its own."""
    keras.utils.set_random_seed(0)
    model = keras_pdenets.PreActResNet20(
        weights=None,
        input_shape=images.shape[1:],
        classes=int(labels.max()) + 1,
        num_blocks=num_blocks,
        zero_start=True,
    )
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    logger = PerturbationLogger(images[:500], OUTPUT / f"distances_{num_blocks}.csv")
    model.fit(images, labels, batch_size=64, epochs=epochs, verbose=2, callbacks=[logger])
    return model


def main():
    """Train a shallow net, ask how deep it should be, train that, measure again."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--epsilon", type=float, default=0.3)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    images, labels = load(options.images)

    shallow = train(images, labels, 2, options.epochs)
    before = keras_pdenets.measure_perturbation(shallow, images)
    depths = keras_pdenets.suggest_depth(shallow, images, options.epsilon)
    print(before)
    print(f"blocks in each section for a mean change below {options.epsilon}: {depths}\n")

    deep = train(images, labels, depths, options.epochs)
    after = keras_pdenets.measure_perturbation(deep, images)
    print(after)
    kept = all(section.mean <= options.epsilon for section in after.sections)
    print(f"every mean at or below {options.epsilon}: {'yes' if kept else 'no, measure again'}\n")
    plot_perturbations({"2 blocks": before, f"{depths}": after}, OUTPUT / "perturbations.png")

    other = keras.applications.ResNet50V2(weights=None, include_top=False, input_shape=(64, 64, 3))
    pixels = np.random.default_rng(0).uniform(-1, 1, (8, 64, 64, 3)).astype("float32")
    print("keras.applications.ResNet50V2, untrained:")
    print(keras_pdenets.measure_perturbation(other, pixels))


if __name__ == "__main__":
    main()
