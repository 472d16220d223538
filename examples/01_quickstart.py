"""Load a pretrained PDE-Net, measure it, fine-tune a smaller one on another task, save, reload.

    python examples/01_quickstart.py

About a minute and a half on one CPU core with TensorFlow. Fashion-MNIST (a bundled sample) and
scikit-learn's handwritten digits are real images; nothing is downloaded in a checkout.
"""

import time
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_pdenets
from keras_pdenets.data import load_sample
from keras_pdenets.plots import plot_predictions

OUTPUT = Path("quickstart_output")
SEED = 0


def measure_pretrained():
    """Accuracy of the headline checkpoint on the bundled sample."""
    preset = keras_pdenets.get_preset("pde_resnet50_fashion_mnist")
    model = keras_pdenets.load_model(preset.name)  # as PDEResNet50(weights="hub")
    print(model.load_report)
    images, labels = load_sample()
    probabilities = model.predict(images, batch_size=200, verbose=0)
    shuffled = np.random.default_rng(SEED).permutation(len(images))[:40]
    plot_predictions(
        images[shuffled],
        labels[shuffled],
        probabilities[shuffled],
        preset.checkpoint.class_names,
        OUTPUT / "predictions.png",
        title="PDEResNet50 on Fashion-MNIST",
    )
    return 100 * np.mean(probabilities.argmax(1) == labels), preset


def digits():
    """Handwritten digits of 8x8 pixels and 17 grey levels, as the net likes them: 28x28, 0-255."""
    data = load_digits()
    images = np.kron(data.images * 255 / 16, np.ones((3, 3)))  # (n, 8, 8) -> (n, 24, 24)
    images = np.pad(images, [(0, 0), (2, 2), (2, 2)])[..., None].astype("float32")
    order = np.random.default_rng(SEED).permutation(len(images))
    images, labels = images[order], data.target[order]
    return (images[:1297], labels[:1297]), (images[1297:], labels[1297:])


def fine_tune(train, test):
    """A new head on a pretrained backbone: first the head alone, then everything."""
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
    return model, scores


def main():
    """Run every step and print a table."""
    OUTPUT.mkdir(exist_ok=True)
    start = time.monotonic()
    accuracy, preset = measure_pretrained()
    train, test = digits()
    model, (frozen, unfrozen) = fine_tune(train, test)
    model.save(OUTPUT / "digits.keras")
    again = keras.saving.load_model(OUTPUT / "digits.keras")
    images = test[0][:100]
    difference = np.abs(again.predict(images, verbose=0) - model.predict(images, verbose=0)).max()

    claimed, sampled = (preset.metrics[f"{k}_accuracy"] for k in ("test", "sample"))
    print(f"""
backend                                             {keras.backend.backend()}
PDEResNet50, 1,000 images of the bundled sample     {accuracy:.2f} %  (card: {sampled:.2f} %)
PDEResNet50, all 10,000 test images                 card: {claimed:.2f} %
digits, PDEPreActResNet20 with the backbone frozen  {frozen:.2f} %
digits, all layers trained                          {unfrozen:.2f} %
saved and reloaded: largest difference              {difference:.1e}
picture                                             {OUTPUT / "predictions.png"}
time                                                {time.monotonic() - start:.0f} s""")


if __name__ == "__main__":
    main()
