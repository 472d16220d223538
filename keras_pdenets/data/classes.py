"""Some classes of an image set: `imagenet2012[::10]`."""

import re

import numpy as np

from keras_pdenets.data.sources.source import SomeOf

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


def chosen_labels(name, names, classes):
    """The labels that a slice takes out of the named classes of a set, in their order."""
    if names is None:
        raise ValueError(
            f"`name` cannot have a slice of the labels behind it: {name} does not say how many "
            f"classes it has. Received: {classes}"
        )
    labels = range(len(names))[classes]
    if not labels:
        raise ValueError(
            f"`name` must leave at least one of the {len(names)} classes of {name}. "
            f"Received: {classes}"
        )
    return labels


def select_classes(source, name, classes):
    """The images of some classes, with the labels 0, 1, ...

    The labels of all images are read for it, the images are not. Images without a label (-1) are
    of no class.

    Args:
        source: The `Source`.
        name: Name of the set.
        classes: Slice of the labels.
    """
    names = source.class_names
    labels = chosen_labels(name, names, classes)
    new_labels = np.full(len(names) + 1, -1, "int64")  # the last one: without a label
    new_labels[labels] = np.arange(len(labels))
    found = np.array([source.read_label(index) for index in range(len(source))])
    renumbered = new_labels[np.where(found < 0, len(names), found)]
    indices = np.flatnonzero(renumbered >= 0)
    if not len(indices):
        raise ValueError(f"{source.name} holds no image of {classes}.")
    chosen = tuple(names[label] for label in labels)
    return SomeOf(source, indices, renumbered[indices], chosen)
