"""Image classification sets as batches, the same on every Keras backend; without TensorFlow."""

import functools
import os
from dataclasses import dataclass

import numpy as np

from keras_pdenets.data.augmentation import LARGEST_SIDE, Change, check_crop
from keras_pdenets.data.batches import Batches
from keras_pdenets.data.classes import chosen_labels, select_classes, split_name
from keras_pdenets.data.features import features_of
from keras_pdenets.data.on_device import DeviceBatches
from keras_pdenets.data.sample import SAMPLE_CLASSES, load_sample
from keras_pdenets.data.sources.idx import DEBIAN_FOLDER, IDX_SETS, find_idx, idx_source
from keras_pdenets.data.sources.prepared import PreparedSource, is_prepared, prepare
from keras_pdenets.data.sources.source import ArraySource, hold
from keras_pdenets.data.sources.splits import take_split
from keras_pdenets.utils.checks import check_flag, check_integer, check_path
from keras_pdenets.utils.extras import require

SAMPLE = "sample"


class ImageSet:
    """Images and labels, from which each epoch takes its batches.

    Args:
        source: The `Source`.

    Example:
    >>> from keras_pdenets.data import DataSource, ImageSet
    >>> sample = DataSource("sample", "test")
    >>> isinstance(sample, ImageSet), sample.num_examples, sample.image_shape, sample.classes
    (True, 1000, (28, 28, 1), 10)
    >>> images, labels = sample.batches(100, image_size=14, flip=True, seed=0)[0]
    >>> images.shape
    (100, 14, 14, 1)
    """

    def __init__(self, source):
        self._source = source

    @functools.cached_property
    def _held(self):
        """The images, in memory where they fit; those without a label are an error."""
        source = hold(self._source)
        labels = source.labels if source.in_memory else np.array([source.read_label(0)])
        missing = int((labels < 0).sum())
        if missing:
            raise ValueError(
                f"`split` must hold labelled images. Received: {source.name}, with {missing} "
                f"label(s) below 0 among the {len(labels)} looked at"
            )
        return source

    @property
    def num_examples(self):
        """Number of images."""
        return len(self._source)

    @property
    def image_shape(self):
        """Height, width (None where they differ) and channels."""
        return tuple(self._source.image_shape)

    @property
    def class_names(self):
        """Names of the classes in the order of the labels, or None."""
        return self._source.class_names

    @property
    def classes(self):
        """Number of classes: those that have a name, or of those in memory the largest label."""
        if self.class_names is not None:
            return len(self.class_names)
        return int(self._held.labels.max()) + 1 if self._held.in_memory else 0

    def batches(
        self,
        batch_size,
        image_size=None,
        flip=False,
        crop=0,
        seed=None,
        epoch=0,
        augment=None,
        on_device=False,
    ):
        """Batches for one epoch, as in `load_dataset`; `augment` as in `Batches`.

        With `on_device` they are `DeviceBatches`, which take no `augment`.
        """
        crop = check_crop(crop)
        batch_size = check_integer("batch_size", batch_size, 1)
        if image_size is not None:
            image_size = check_integer("image_size", image_size, 1, LARGEST_SIDE)
        seed = None if seed is None else check_integer("seed", seed)
        epoch = check_integer("epoch", epoch, 0)
        flip = check_flag("flip", flip)
        height, width, _ = self.image_shape
        if image_size is None and None in (height, width):
            raise ValueError(f"`image_size` must be given: the images of {self._title} differ.")
        square = height is not None and height == width
        change = Change(image_size, square, flip, crop, self._source.scale, seed or 0, epoch)
        shuffle = seed is not None
        if on_device:
            return DeviceBatches(self._held, batch_size, change, shuffle)
        return Batches(self._held, batch_size, change, shuffle, augment)

    @property
    def _title(self):
        return self._source.name


@dataclass(frozen=True)
class DataSource(ImageSet):
    """A split of a set that has a name; `batches` makes the batches of each epoch of it.

    Args:
        name: As in `load_dataset`.
        split: As in `load_dataset`.
        data_dir: As in `load_dataset`.

    Example:
    >>> from keras_pdenets.data import DataSource
    >>> source = DataSource("sample", "test")
    >>> first, second = (source.batches(100, crop=2, seed=0, epoch=epoch)[0] for epoch in (0, 1))
    >>> first[0].shape, bool((first[1] == second[1]).all())
    ((100, 28, 28, 1), False)
    """

    name: str
    split: str
    data_dir: str | os.PathLike | None = None

    def __post_init__(self):
        """Check what can be checked before anything is read."""
        split_name(self.name)
        if not isinstance(self.split, str) or not self.split:
            raise ValueError(
                "`split` must be a split in TFDS's notation, such as 'test[:1000]'. "
                f"Received: split={self.split!r}"
            )
        if self.data_dir is not None:
            object.__setattr__(self, "data_dir", str(check_path("data_dir", self.data_dir)))

    @functools.cached_property
    def _source(self):
        name, classes = split_name(self.name)
        source = _open(name, self.split, self.data_dir)
        return source if classes is None else select_classes(source, name, classes)

    @property
    def _title(self):
        return self.name


def _open(name, split, data_dir):
    """The images of a split of a named set."""
    if name == SAMPLE:
        return ArraySource(SAMPLE, *load_sample(), SAMPLE_CLASSES)
    files = _idx_files(name, data_dir)
    if files is not None:
        return take_split(*_read_idx(name, tuple(files.items())), split)
    return PreparedSource(prepare(name, data_dir), split)


def _idx_files(name, data_dir):
    """Original files of a set, where they are to be read: in the folder that the user names."""
    if name not in IDX_SETS:
        return None
    files = None if data_dir is None else find_idx(data_dir)
    if files is None and name == "fashion_mnist" and not is_prepared(name, data_dir):
        files = find_idx(DEBIAN_FOLDER)
    return files


@functools.lru_cache(maxsize=1)
def _read_idx(name, files):
    return idx_source(name, dict(files))


def class_names(name, data_dir=None):
    """Names of the classes of a set, in the order of the labels.

    Args:
        name: As in `load_dataset`, some classes of a set too.
        data_dir: As in `load_dataset`.

    Raises:
        ValueError: If the labels of the set are numbers only.

    Example:
    >>> from keras_pdenets.data import class_names
    >>> class_names("fashion_mnist[:3]")
    ('T-shirt/top', 'Trouser', 'Pullover')
    """
    name, classes = split_name(name)
    if name == SAMPLE:
        names = SAMPLE_CLASSES
    elif name in IDX_SETS:
        names = IDX_SETS[name]
    else:
        label = features_of(prepare(name, data_dir), require("tensorflow_datasets", "data")).label
        names = getattr(label, "names", None)
    if classes is not None:
        return tuple(names[label] for label in chosen_labels(name, names, classes))
    if names is None:
        raise ValueError(
            f"`name` must be a set that names its classes. Received: {name!r}, whose labels are "
            "numbers only"
        )
    return tuple(names)


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
    """Batches of images (float32, 0-255) and integer labels, as NumPy arrays.

    Args:
        name: Name of any TFDS image classification set: `"fashion_mnist"`, `"mnist"`,
            `"cifar10"`, `"cifar100"`, `"imagenette"`, `"imagenet2012"` and others; or `"sample"`
            for the bundled sample, which is one split whatever its name. A slice behind the name
            takes the images of some labels and numbers these anew: `"imagenet2012[::10]"` is
            every tenth class, `"cifar10[:2]"` the first two. The image and the label are the
            set's supervised keys, or its features `image` and `label`. Images in 16 bits are
            brought to 0-255 (divided by 257); float images, whose range is not known, texts and
            sequences of labels are refused. TFDS needs TensorFlow to prepare a set, nothing here
            does to read one. Fashion-MNIST and MNIST are read from their original idx files too.
        split: Split in TFDS's notation, such as `"train"` or `"test[:1000]"`.
        batch_size: Images in a batch.
        image_size: Side in pixels that images are brought to, or None for the set's own size.
        flip: Mirror one half of the images left to right.
        crop: Pixels of zeros put around an image before a random crop to its old size; 4 in the
            papers. Both come before the change of size. `"area"`: a random part of 8 to 100 % of
            the image, brought to the size, as is usual on ImageNet.
        seed: None: the set's own order, all images. An integer: shuffled, the last, incomplete
            batch dropped; the same seed and epoch give the same batches, on every backend.
        epoch: Number that is mixed into the seed.
        data_dir: Folder of TFDS, or None for its default; or a folder with the original files of
            Fashion-MNIST or MNIST (`train-images-idx3-ubyte`, perhaps `.gz`, and so on).

    Returns:
        A `keras.utils.PyDataset`, for `fit`, `evaluate` and loops: it can be indexed.

    Raises:
        ValueError: If an argument is out of range, the set has no image or label of a kind that
            can be used, the split has no images, or images without a label (-1, as in the test
            splits of competitions), or the images of the set differ in size and `image_size` is
            None. A set too large for the memory is not read through before: of its labels only
            the first is looked at, and a later one of -1 is an error of its batch.
        ImportError: If TFDS is missing, or the set is not prepared and TensorFlow is missing; the
            message says what to do.

    Example:
    >>> from keras_pdenets.data import load_dataset
    >>> batches = load_dataset("sample", "test", 100, flip=True, crop=4, seed=0)
    >>> images, labels = batches[0]
    >>> len(batches), images.shape, labels.shape
    (10, (100, 28, 28, 1), (100,))
    """
    source = DataSource(name, split, data_dir)
    return source.batches(batch_size, image_size, flip, crop, seed, epoch)
