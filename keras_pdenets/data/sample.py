"""A thousand real test images that come with the package."""

from pathlib import Path

import numpy as np

SAMPLE_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SAMPLE_LICENCE = Path(__file__).with_name("fashion_mnist_LICENSE")
_FILE = Path(__file__).with_name("fashion_mnist_sample.npz")


def load_sample():
    """The bundled sample: 1,000 Fashion-MNIST test images, 100 of each class.

    Of each class every tenth image in the order of difficulty for the checkpoint
    `resnet20_fashion_mnist`, so that an accuracy on the sample is near that on the whole split
    (`tests/golden/make_sample.py`). A sample by chance would have a standard error of 0.8 points
    where the accuracy is 93 %. Fashion-MNIST is by Zalando SE, MIT licence
    (`fashion_mnist_LICENSE` beside the file).

    Returns:
        Images, uint8 of shape (1000, 28, 28, 1), and labels, int64 of shape (1000,).

    Example:
    >>> from keras_pdenets.data import load_sample
    >>> images, labels = load_sample()
    >>> images.shape, labels.shape
    ((1000, 28, 28, 1), (1000,))
    """
    with np.load(_FILE) as arrays:
        return arrays["images"], arrays["labels"]
