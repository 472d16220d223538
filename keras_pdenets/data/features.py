"""Which features of a TFDS set are the image and the label, and whether they can be used."""

from dataclasses import dataclass
from typing import Any

import numpy as np

# What brings the pixels of a type to 0-255; float images come without a range.
_SCALES = {"uint8": None, "uint16": 1 / 257}


@dataclass(frozen=True)
class Features:
    """The image and the label of a TFDS set.

    Args:
        image_key: Name of the image's feature.
        label_key: Name of the label's feature.
        image: The image's feature.
        label: The label's feature.
    """

    image_key: str
    label_key: str
    image: Any
    label: Any

    @property
    def scale(self):
        """Factor that brings the pixels to 0-255, or None for 1."""
        return _SCALES[np.dtype(self.image.np_dtype).name]

    @property
    def bytes_per_value(self):
        """Bytes of a pixel's channel."""
        return np.dtype(self.image.np_dtype).itemsize

    @property
    def classes(self):
        """Number of classes, or None where the set does not say."""
        return getattr(self.label, "num_classes", None)


def features_of(builder, tfds):
    """The image and the label of a builder.

    They are its supervised keys, in either order; where these are missing or cannot be used, the
    features `image` and `label`.

    Args:
        builder: The TFDS builder.
        tfds: TensorFlow Datasets.

    Raises:
        ValueError: If it has none, or none that can be used; the message says why.
    """
    known = builder.info.features
    known = dict(known.items()) if hasattr(known, "items") else {}
    problems = []
    for image_key, label_key in _pairs(builder.info.supervised_keys):
        if image_key not in known or label_key not in known:
            continue
        image, label = known[image_key], known[label_key]
        problem = _image_problem(image_key, image) or _label_problem(label_key, label, tfds)
        if problem is None:
            return Features(image_key, label_key, image, label)
        problems.append(problem)
    listed = ", ".join(f"{key} ({_describe(feature)})" for key, feature in known.items())
    raise ValueError(
        "`name` must be an image classification set of TFDS: an image in 8 or 16 bits, and one "
        f"integer label. {' '.join(dict.fromkeys(problems))}{' ' if problems else ''}"
        f"Received: {builder.name!r} with {listed or 'no features'}"
    )


def _pairs(supervised):
    """Pairs of names to try, the best first."""
    pairs = []
    if supervised is not None and len(supervised) == 2:
        names = [key for key in supervised if isinstance(key, str)]
        if len(names) == 2:
            pairs = [tuple(names), tuple(reversed(names))]
            # The target may be a text that stands beside the label proper.
            pairs += [(name, "label") for name in names]
    return dict.fromkeys([*pairs, ("image", "label")])


def _image_problem(key, feature):
    shape = getattr(feature, "shape", None)
    if not isinstance(shape, tuple) or len(shape) != 3:
        return f"Feature {key} is no image of rank 3."
    if shape[2] is None or shape[2] == 0:
        return f"The images of {key} do not say how many channels they have."
    dtype = np.dtype(feature.np_dtype).name
    if dtype not in _SCALES:
        return f"The images of {key} are {dtype}, whose range is not known."
    return None


def _label_problem(key, feature, tfds):
    if isinstance(feature, tfds.features.Sequence | tfds.features.Dataset):
        return f"Feature {key} is a sequence of labels."
    if isinstance(feature, tfds.features.Text):
        return f"Feature {key} is a text, where integer labels are needed."
    shape, dtype = getattr(feature, "shape", None), getattr(feature, "np_dtype", None)
    if shape != () or dtype is None or not np.issubdtype(dtype, np.integer):
        return f"Feature {key} is no integer label."
    return None


def _describe(feature):
    dtype = getattr(feature, "np_dtype", None)
    if not hasattr(dtype, "__name__") or not isinstance(getattr(feature, "shape", None), tuple):
        return type(feature).__name__
    return f"{type(feature).__name__}, {dtype.__name__} {feature.shape}"
