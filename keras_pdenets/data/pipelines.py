"""TFDS image classification sets as `tf.data` pipelines, the same on every Keras backend."""

import contextlib
import functools
import math
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_pdenets.data import fashion_mnist
from keras_pdenets.data.classes import chosen_labels, select_classes, split_name
from keras_pdenets.data.extras import require
from keras_pdenets.data.sample import SAMPLE_CLASSES, load_sample

SAMPLE = "sample"
AREA = "area"

_IN_MEMORY_BYTES = 2**30
_SHUFFLE_BYTES = 2**28
_RESIZE_MARGIN = 256 / 224  # the shorter side before the crop, as in ResNet's protocol
# Share of the image, and width by height, of a random part: Szegedy et al. 2014, arXiv 1409.4842.
_AREAS, _RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)


def _tensorflow():
    """TensorFlow, for `tf.data` only where it is not Keras' backend."""
    tf = require("tensorflow", "data")
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
    builder = tfds.builder(name, data_dir=data_dir)
    if not {"image", "label"} <= set(builder.info.features or ()):
        raise ValueError(
            f"`name` must be an image classification set of TFDS (features image and label). "
            f"Received: {name!r} with {', '.join(builder.info.features or ())}"
        )
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
    names = builder.info.features["label"].names
    return tuple(names if classes is None else (names[i] for i in chosen_labels(builder, classes)))


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
            every tenth class, `"cifar10[:2]"` the first two.
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
        ValueError: If an argument is out of range or the images of the set differ in size and
            `image_size` is None.
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
    data_dir: str | None = None

    @functools.cached_property
    def _builder(self):
        return prepare(split_name(self.name)[0], self.data_dir)

    @functools.cached_property
    def _stream(self):
        classes = split_name(self.name)[1]
        if classes is None:
            return self._builder.as_dataset(split=self.split, as_supervised=True)
        tfds = require("tensorflow_datasets", "data")
        return select_classes(self._builder, self.split, classes, _tensorflow(), tfds)

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
        return tuple(self._builder.info.features["image"].shape)

    @functools.cached_property
    def _bytes_per_image(self):
        return math.prod(n or 400 for n in self.image_shape)

    @functools.cached_property
    def _examples(self):
        """All examples; decoded once and held in memory where that takes less than a GiB."""
        tf = _tensorflow()
        if self.name == SAMPLE:
            return tf.data.Dataset.from_tensor_slices(load_sample())
        small = self.num_examples * self._bytes_per_image < _IN_MEMORY_BYTES
        if None in self.image_shape or not small:
            return self._stream
        whole = next(iter(self._stream.batch(self.num_examples)))
        return tf.data.Dataset.from_tensor_slices(whole)

    def batches(self, batch_size, image_size=None, flip=False, crop=0, seed=None, epoch=0):
        """Batches for one epoch; arguments as in `load_dataset`."""
        tf = _tensorflow()
        check_crop(crop)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(
                f"`batch_size` must be an integer >= 1. Received: batch_size={batch_size!r}"
            )
        if image_size is None and None in self.image_shape:
            raise ValueError(f"`image_size` must be given: the images of {self.name} differ.")
        examples = self._examples
        if seed is not None:
            buffer = min(self.num_examples, max(1000, _SHUFFLE_BYTES // self._bytes_per_image))
            examples = examples.shuffle(
                buffer, seed=_mix(seed, epoch), reshuffle_each_iteration=False
            )
        change = functools.partial(
            _change, tf=tf, size=image_size, flip=flip, crop=crop, seed=_mix(seed or 0, epoch)
        )
        examples = examples.enumerate().map(change, num_parallel_calls=tf.data.AUTOTUNE)
        return examples.batch(batch_size, drop_remainder=seed is not None).prefetch(2)


def check_crop(crop):
    """Raise ValueError unless `crop` is what `load_dataset` takes."""
    if crop != AREA and (not isinstance(crop, int) or crop < 0):
        raise ValueError(f"`crop` must be an integer >= 0 or {AREA!r}. Received: crop={crop!r}")


def _mix(seed, epoch):
    return (seed * 1_000_003 + epoch) % 2**31


def _change(index, example, *, tf, size, flip, crop, seed):
    """Augment and resize one image; the draw depends on the seed and its place in the epoch."""
    image, label = example
    if flip:
        image = tf.image.stateless_random_flip_left_right(image, (seed, 2 * index))
    if crop == AREA:
        image = _cut_area(tf, image, size, (seed, 2 * index + 1))
    elif crop:
        shape = image.shape if None not in image.shape else tf.shape(image)
        padded = tf.pad(image, [(crop, crop), (crop, crop), (0, 0)])
        image = tf.image.stateless_random_crop(padded, shape, (seed, 2 * index + 1))
    if size is not None and tuple(image.shape[:2]) != (size, size):
        image = _resize(tf, image, size)
    return tf.cast(image, "float32"), label


def _cut_area(tf, image, size, seed):
    """A random part of an image, brought to a square or to the size of the image."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=_RATIOS,
        area_range=_AREAS,
        use_image_if_no_bounding_boxes=True,
    )
    part = tf.slice(image, begin, extent)
    return tf.image.resize(part, image.shape[:2] if size is None else (size, size), antialias=True)


def _resize(tf, image, size):
    """Shrink or grow to a square; images that are not square are cut at the centre."""
    if image.shape[0] is not None and image.shape[0] == image.shape[1]:
        return tf.image.resize(image, (size, size), antialias=True)
    sides = tf.cast(tf.shape(image)[:2], "float32")
    scale = size * _RESIZE_MARGIN / tf.reduce_min(sides)
    sides = tf.cast(tf.math.ceil(sides * scale), "int32")
    image = tf.image.resize(image, sides, antialias=True)
    return tf.image.resize_with_crop_or_pad(image, size, size)
