"""Augmentation of whole batches by Keras' own layers, which a recipe names.

The layers run where the batches are made, compiled where the backend can. What they draw follows
from seed, epoch and number of the batch: the same after a resume and with any number of devices.
Each backend has random numbers of its own.
"""

import threading
import warnings

import keras
import numpy as np
from keras import ops

from keras_pdenets.utils.checks import lookup
from keras_pdenets.utils.text import printable, shown

MIXING = ("CutMix", "MixUp")  # of images, and of their labels
# Without AugMix and RandomElasticTransform: they do not draw from their seed alone (Keras 3.15.1).
_LAYERS = {
    name: getattr(keras.layers, name)
    for name in (
        "AutoContrast", "Equalization", "RandAugment", "RandomBrightness",
        "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomErasing",
        "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert",
        "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation",
        "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom", "Solarization",
        *MIXING,
    )
    if hasattr(keras.layers, name)
}  # fmt: skip
_OURS = ("data_format", "dtype", "name", "seed", "trainable")


def make_layers(records):
    """The layers of a list of `{"layer": name, ...arguments}`.

    Raises:
        ValueError: If there is no such layer, or it does not take such arguments.
    """
    return [_make_layer(record) for record in records]


def _make_layer(record):
    arguments = dict(record)
    name = arguments.pop("layer", None)
    kind = lookup("augmentations", name, _LAYERS)
    ours = sorted(set(arguments) & set(_OURS))
    if ours:
        raise ValueError(f"`augmentations` must leave {', '.join(ours)} out: {name} gets them.")
    try:
        return kind(**arguments, data_format="channels_last", dtype="float32")
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"`augmentations` must have arguments that keras.layers.{name} takes "
            f"({printable(str(error), 300)}). Received: {shown(arguments)}"
        ) from error


def mixes_labels(records):
    """Whether layers of a recipe mix labels, which are then one share for each class."""
    return any(record.get("layer") in MIXING for record in records)


class Augmenter:
    """Changes whole batches by Keras' layers; labels become one-hot where a layer mixes them.

    Args:
        records: The layers, as `make_layers` takes them.
        classes: Number of classes.

    Example:
    >>> import numpy as np
    >>> brighter = {"layer": "RandomBrightness", "factor": [0.5, 0.5]}
    >>> augment = Augmenter([brighter], classes=3)
    >>> images, labels = augment(np.full((2, 8, 8, 1), 9.0, "float32"), np.array([0, 2]), [7])
    >>> images.shape, float(images.mean()), labels.tolist()
    ((2, 8, 8, 1), 136.5, [0, 2])
    """

    def __init__(self, records, classes):
        self._net, self._classes = _Steps(make_layers(records)), classes
        self._mixes = mixes_labels(records)
        self._lock = threading.Lock()  # of the state of the random numbers
        self._tried = set()

    def __call__(self, images, labels, numbers):
        """A batch of changed images, and its labels.

        Args:
            images: Array (n, h, w, c), float32, 0-255.
            labels: Integers (n,).
            numbers: What the draws follow from.

        Raises:
            ValueError: If the backend or the images do not allow a layer; the message names it.
        """
        one_hot = np.eye(self._classes, dtype="float32")[labels]
        with self._lock, warnings.catch_warnings():
            # MixUp asks JAX for 64 bits, which it has not, and is served as well by 32.
            warnings.filterwarnings("ignore", r"[\s\S]*dtype int64 requested")
            if images.shape not in self._tried:
                self._try(images, one_hot)
                self._tried.add(images.shape)
            draws = np.random.default_rng(numbers)
            for variable in self._net.variables:
                if variable.name == "seed_generator_state":
                    variable.assign(draws.integers(0, 2**31, tuple(variable.shape)))
            changed, mixed = self._net.predict_on_batch((images, one_hot))
        return np.asarray(changed, "float32"), mixed if self._mixes else labels

    def _try(self, images, labels):
        """Run each layer alone first, so that an error names it."""
        for layer in self._net.steps:
            name = type(layer).__name__
            try:
                changed, _ = _changed(layer, ops.convert_to_tensor(images), labels)
                shape = tuple(changed.shape)
            except Exception as error:  # whatever a backend lacks
                said = f"{type(error).__name__}: {printable(str(error), 300)}"
                raise ValueError(
                    f"`augmentations`: keras.layers.{name} cannot change images of shape "
                    f"{images.shape[1:]} on {keras.backend.backend()} ({said})."
                ) from error
            if shape != images.shape:
                raise ValueError(
                    f"`augmentations` must keep the shape of the images. Received: {name}, which "
                    f"makes {shape} of {images.shape}"
                )


class _Steps(keras.Model):
    """The layers one after the other, as a model: Keras compiles it."""

    def __init__(self, steps):
        super().__init__(name="augmentation")
        self.steps = steps
        # Not all of Keras' random layers are for XLA on TensorFlow; JAX is slow without.
        self.compile(jit_compile="auto" if keras.backend.backend() == "jax" else False)

    def call(self, inputs):
        """Images and one-hot labels through all layers."""
        images, labels = inputs
        for layer in self.steps:
            images, labels = _changed(layer, images, labels)
        return images, labels


def _changed(layer, images, labels):
    """What a layer makes of a batch."""
    if type(layer).__name__ not in MIXING:
        return layer(images, training=True), labels
    changed = layer({"images": images, "labels": labels}, training=True)
    return changed["images"], changed["labels"]
