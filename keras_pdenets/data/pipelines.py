"""TFDS image classification sets as `tf.data` pipelines, the same on every Keras backend."""

import contextlib
import functools
import math
import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_pdenets.data import fashion_mnist
from keras_pdenets.data.augmentation import LARGEST_SIDE, change, check_crop
from keras_pdenets.data.classes import chosen_labels, select_classes, split_name
from keras_pdenets.data.features import features_of
from keras_pdenets.data.sample import SAMPLE_CLASSES, load_sample
from keras_pdenets.utils.checks import check_integer, check_path
from keras_pdenets.utils.extras import require

SAMPLE = "sample"

_IN_MEMORY_BYTES = 2**30
_SHUFFLE_BYTES = 2**28


def _tensorflow():
    """TensorFlow, for `tf.data` only where it is not Keras' backend."""
    require("tensorflow", "data")
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        # Left alone it would take all the memory of the GPU.
        with contextlib.suppress(RuntimeError):  # already in use
            tf.config.set_visible_devices([], "GPU")
    return tf


def prepare(name, data_dir=None):
    """The TFDS builder of `name`, with its data on disk.

    Fashion-MNIST comes from Debian's package `dataset-fashion-mnist` where that is installed,
    through TFDS's own checksums; everything else is downloaded by TFDS.
    """
    tfds = require("tensorflow_datasets", "data")
    if data_dir is not None:
        data_dir = str(check_path("data_dir", data_dir))
    builder = tfds.builder(name, data_dir=data_dir)
    features_of(builder, tfds)  # before anything is downloaded
    if not builder.data_path.exists():
        config = tfds.download.DownloadConfig()
        if name == "fashion_mnist" and fashion_mnist.DEBIAN_FOLDER.is_dir():
            folder = Path(str(builder.data_dir)).parent / "originals"
            fashion_mnist.lay_originals(folder)
            config.manual_dir = str(folder)
        try:
            builder.download_and_prepare(download_config=config)
        except AssertionError as error:  # files that only their reader may fetch: ImageNet's
            raise FileNotFoundError(str(error)) from error
    return builder


def class_names(name, data_dir=None):
    """Names of the classes of a TFDS set (or of `"set[slice]"`), in the order of the labels."""
    if name == SAMPLE:
        return SAMPLE_CLASSES
    name, classes = split_name(name)
    builder = prepare(name, data_dir)
    features = features_of(builder, require("tensorflow_datasets", "data"))
    if features.classes is None:
        raise ValueError(
            f"`name` must be a set that names its classes. Received: {name!r}, whose labels are "
            "numbers only"
        )
    names = features.label.names
    if classes is None:
        return tuple(names)
    return tuple(names[i] for i in chosen_labels(name, features, classes))


def load_dataset(
    name,
    split,
    batch_size=128,
    image_size=None,
    flip=False,
    crop=0,
    seed=None,
    epoch=0,
    data_dir=None,
):
    """A `tf.data.Dataset` of batches of images (float32, 0-255) and integer labels.

    Args:
        name: Name of any TFDS image classification set: `"fashion_mnist"`, `"mnist"`,
            `"cifar10"`, `"cifar100"`, `"imagenette"`, `"imagenet2012"` and others; or `"sample"`
            for the bundled sample, which is one split whatever its name. A slice behind the name
            takes the images of some labels and numbers these anew: `"imagenet2012[::10]"` is
            every tenth class, `"cifar10[:2]"` the first two. The image and the label are the
            set's supervised keys, or its features `image` and `label`. Images in 16 bits are
            brought to 0-255 (divided by 257); float images, whose range is not known, texts and
            sequences of labels are refused.
        split: Split in TFDS's notation, such as `"train"` or `"test[:1000]"`.
        batch_size: Images in a batch.
        image_size: Side in pixels that images are brought to, or None for the set's own size.
        flip: Mirror one half of the images left to right.
        crop: Pixels of zeros put around an image before a random crop to its old size; 4 in the
            papers. Both come before the change of size. `"area"`: a random part of 8 to 100 % of
            the image, brought to the size, as is usual on ImageNet.
        seed: None: the set's own order, all images. An integer: shuffled, the last, incomplete
            batch dropped; the same seed and epoch give the same batches (as long as the global
            seed, `keras.utils.set_random_seed`, is the same or was never set).
        epoch: Number that is mixed into the seed.
        data_dir: Folder of TFDS, or None for its default.

    Raises:
        ValueError: If an argument is out of range, the set has no image or label of a kind that
            can be used, the split has no images, or images without a label (-1, as in the test
            splits of competitions), or the images of the set differ in size and `image_size` is
            None. A set too large for the memory is not read through before: of its labels only
            the first is looked at, and a later one of -1 ends the pass with
            `tf.errors.InvalidArgumentError`.
        ImportError: If TensorFlow or TFDS is missing; the message says how to install them.
    """
    source = DataSource(name, split, data_dir)
    return source.batches(batch_size, image_size, flip, crop, seed, epoch)


@dataclass(frozen=True)
class DataSource:
    """A split of a TFDS set; `batches` makes a pipeline of it for each epoch.

    Args:
        name: As in `load_dataset`.
        split: As in `load_dataset`.
        data_dir: As in `load_dataset`.
    """

    name: str
    split: str
    data_dir: str | os.PathLike | None = None

    def __post_init__(self):
        """Check what can be checked before TensorFlow is loaded."""
        split_name(self.name)
        if isinstance(self.split, str | bool | int | float) and not (
            isinstance(self.split, str) and self.split
        ):
            raise ValueError(
                "`split` must be a split in TFDS's notation, such as 'test[:1000]'. "
                f"Received: split={self.split!r}"
            )
        if self.data_dir is not None:
            object.__setattr__(self, "data_dir", str(check_path("data_dir", self.data_dir)))

    @functools.cached_property
    def _builder(self):
        return prepare(split_name(self.name)[0], self.data_dir)

    @functools.cached_property
    def _features(self):
        return features_of(self._builder, require("tensorflow_datasets", "data"))

    @functools.cached_property
    def _stream(self):
        tf, classes = _tensorflow(), split_name(self.name)[1]
        if classes is not None:
            tfds = require("tensorflow_datasets", "data")
            return select_classes(self._builder, self._features, self.split, classes, tf, tfds)
        image, label = self._features.image_key, self._features.label_key
        return self._builder.as_dataset(split=self.split).map(
            lambda example: (example[image], tf.cast(example[label], "int64"))
        )

    @functools.cached_property
    def num_examples(self):
        """Number of images."""
        if self.name == SAMPLE:
            return len(load_sample()[0])
        return int(self._stream.cardinality())

    @functools.cached_property
    def image_shape(self):
        """Height, width (None where they differ) and channels."""
        if self.name == SAMPLE:
            return load_sample()[0].shape[1:]
        return tuple(self._features.image.shape)

    @functools.cached_property
    def _scale(self):
        return None if self.name == SAMPLE else self._features.scale

    @functools.cached_property
    def _bytes_per_image(self):
        size = 1 if self.name == SAMPLE else self._features.bytes_per_value
        return math.prod(n or 400 for n in self.image_shape) * size

    @functools.cached_property
    def _examples(self):
        """All examples; decoded once and held in memory where that takes less than a GiB."""
        tf = _tensorflow()
        if self.name == SAMPLE:
            return tf.data.Dataset.from_tensor_slices(load_sample())
        small = self.num_examples * self._bytes_per_image < _IN_MEMORY_BYTES
        if None in self.image_shape or not small:
            self._check_labels(next(iter(self._stream))[1])
            return self._stream.map(functools.partial(_labelled, tf=tf))
        whole = next(iter(self._stream.batch(self.num_examples)))
        self._check_labels(whole[1])
        return tf.data.Dataset.from_tensor_slices(whole)

    def _check_labels(self, labels):
        """Raise ValueError where images have no label."""
        missing = int((np.atleast_1d(labels.numpy()) < 0).sum())
        if missing:
            raise ValueError(
                f"`split` must hold labelled images. Received: {self.split!r} of {self.name}, with "
                f"{missing} label(s) below 0 among the {np.size(labels)} looked at"
            )

    def batches(self, batch_size, image_size=None, flip=False, crop=0, seed=None, epoch=0):
        """Batches for one epoch; arguments as in `load_dataset`."""
        tf = _tensorflow()
        crop = check_crop(crop)
        batch_size = check_integer("batch_size", batch_size, 1)
        if image_size is not None:
            image_size = check_integer("image_size", image_size, 1, LARGEST_SIDE)
        seed = None if seed is None else check_integer("seed", seed)
        epoch = check_integer("epoch", epoch, 0)
        if not isinstance(flip, bool):
            raise ValueError(f"`flip` must be True or False. Received: flip={flip!r}")
        if image_size is None and None in self.image_shape:
            raise ValueError(f"`image_size` must be given: the images of {self.name} differ.")
        examples = self._examples
        if seed is not None:
            buffer = min(self.num_examples, max(1000, _SHUFFLE_BYTES // self._bytes_per_image))
            examples = examples.shuffle(
                buffer, seed=_mix(seed, epoch), reshuffle_each_iteration=False
            )
        augment = functools.partial(
            change, tf=tf, size=image_size, flip=flip, crop=crop, seed=_mix(seed or 0, epoch),
            scale=self._scale,
        )  # fmt: skip
        examples = examples.enumerate().map(augment, num_parallel_calls=tf.data.AUTOTUNE)
        return examples.batch(batch_size, drop_remainder=seed is not None).prefetch(2)


def _mix(seed, epoch):
    return (seed * 1_000_003 + epoch) % 2**31


def _labelled(image, label, *, tf):
    """The example, or InvalidArgumentError where it has no label."""
    message = "an image of the split has no label (below 0)"
    with tf.control_dependencies([tf.debugging.assert_non_negative(label, message)]):
        return image, tf.identity(label)
