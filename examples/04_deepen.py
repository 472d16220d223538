"""A plain net as the residual net that it is: refine it, look inside, deepen it, train it on.

python examples/04_deepen.py

About two minutes on one CPU core. Everything comes with the package: the trained plain net and
1,000 images of the test split, which it has not been trained on: 800 to train on here, 200 to test.
"""

from pathlib import Path

import keras

import keras_pdenets
from keras_pdenets.data import load_sample
from keras_pdenets.plots import plot_flow
from keras_pdenets.transforms import refine

OUTPUT = Path("deepen_output")
LAYERS = ["stem_relu0", "stage0_layer5_relu0", "stage1_layer5_relu0", "stage2_layer5_relu0"]


def accuracy(model, images, labels):
    """Share of right answers, in percent."""
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return 100 * model.evaluate(images, labels, verbose=0, return_dict=True)["accuracy"]


def main():
    """Refine, compare, draw, deepen, fine-tune."""
    keras.utils.set_random_seed(0)
    images, labels = load_sample()
    train, test = (images[:800], labels[:800]), (images[800:], labels[800:])
    plain = keras_pdenets.PlainNet20(weights="hub")

    refined, report = refine(plain, steps=4, data=images[:100])
    print(report)
    print(f"plain: {accuracy(plain, *test):.1f} %; refined: {accuracy(refined, *test):.1f} %\n")
    plot_flow(refined, images[0], LAYERS, OUTPUT / "flow.png", "One image, four steps each")

    # The same in small steps that can be inverted: what a ReLU cuts off leaks a little.
    _, small = refine(plain, steps=8, max_step=0.6, data=images[:100])
    print(f"With steps of at most 0.6:\n{small}\n")

    deeper, report = refine(plain, steps=2, promote="depthwise", data=images[:100])
    print(f"With two kernels in every step:\n{report}")
    start = accuracy(deeper, *test)
    deeper.compile(
        keras.optimizers.SGD(0.002, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    deeper.fit(*train, batch_size=64, epochs=3, verbose=2)
    print(f"deepened: {start:.1f} %; trained on: {accuracy(deeper, *test):.1f} %")
    deeper.save(OUTPUT / "deeper.keras")


if __name__ == "__main__":
    main()
