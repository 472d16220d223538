"""Some classes of an image set: `imagenet2012[::10]`."""

import re

import numpy as np

_NAME = re.compile(r"([^\[\]]+)(?:\[(-?\d*):(-?\d*)(?::(\d*))?\])?")


def split_name(name):
    """The TFDS name and the slice of the labels, or None for all, of a set's name.

    Example:
    >>> from keras_pdenets.data.classes import split_name
    >>> split_name("imagenet2012[::10]")
    ('imagenet2012', slice(None, None, 10))
    """
    parts = _NAME.fullmatch(name) if isinstance(name, str) else None
    if parts is None:
        raise ValueError(
            "`name` must be the name of a set, and where only some of its classes are wanted a "
            f"slice of the labels behind it: imagenet2012[::10]. Received: name={name!r}"
        )
    base, *bounds = parts.groups()
    if bounds[0] is None:
        return base, None
    return base, slice(*(int(bound) if bound else None for bound in bounds))


def chosen_labels(name, features, classes):
    """The labels that a slice takes out of a TFDS set, in their order."""
    if features.classes is None:
        raise ValueError(
            f"`name` cannot have a slice of the labels behind it: {name} does not say how many "
            f"classes it has. Received: {classes}"
        )
    labels = range(features.classes)[classes]
    if not labels:
        raise ValueError(
            f"`name` must leave at least one of the {features.classes} classes of {name}. "
            f"Received: {classes}"
        )
    return labels


def select_classes(builder, features, split, classes, tf, tfds):
    """The examples of some classes as a `tf.data.Dataset`, with the labels 0, 1, ...

    The files of TFDS hold the classes mixed, so that every pass reads all of them, but decodes
    only the images that it keeps. No metadata say how many those are: they are counted, in one
    more pass. Images without a label (-1) are of no class.

    Args:
        builder: The TFDS builder.
        features: Its image and label.
        split: Split in TFDS's notation.
        classes: Slice of the labels.
        tf: TensorFlow.
        tfds: TensorFlow Datasets.
    """
    labels = chosen_labels(builder.name, features, classes)
    new_labels = np.full(features.classes + 1, -1, "int64")  # the last one: without a label
    new_labels[labels] = np.arange(len(labels))
    encoded = builder.as_dataset(
        split=split, decoders={features.image_key: tfds.decode.SkipDecoding()}
    )

    def renumber(example):
        label = tf.cast(example[features.label_key], "int64")
        place = tf.where(label < 0, tf.constant(features.classes, "int64"), label)
        return example[features.image_key], tf.gather(new_labels, place)

    encoded = encoded.map(renumber).filter(lambda image, label: label >= 0)
    count = int(encoded.reduce(np.int64(0), lambda n, example: n + 1))
    if count == 0:
        raise ValueError(f"The split {split!r} of {builder.name} holds no image of {classes}.")
    decoded = encoded.map(
        lambda image, label: (features.image.decode_example(image), label),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return decoded.apply(tf.data.experimental.assert_cardinality(count))
