"""Splits of sources that are no sets of TFDS, in its notation: `train[:80%]`, `train+test`."""

import re

import numpy as np

from keras_pdenets.data.sources.source import SomeOf

_PART = re.compile(r"(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?")


def parse_split(split):
    """Names and bounds of a split.

    Example:
    >>> from keras_pdenets.data.sources.splits import parse_split
    >>> parse_split("train[:80%]+test")
    [('train', None, '80%'), ('test', None, None)]

    Raises:
        ValueError: If it is none.
    """
    parts = [_PART.fullmatch(part.strip()) for part in split.split("+")]
    if None in parts:
        raise ValueError(
            "`split` must be names of splits, each perhaps with a slice behind it, joined by +: "
            f"'train[:80%]+test'. Received: split={split!r}"
        )
    return [part.groups() for part in parts]


def indices_of(split, lengths, name):
    """Which images a split takes, of splits that lie one after the other.

    Args:
        split: The split.
        lengths: Number of images of each split, by its name, in their order.
        name: Name of the set, for the message.

    Raises:
        ValueError: If there is no such split, or it holds no image.
    """
    begins = dict(zip(lengths, np.cumsum([0, *lengths.values()]), strict=False))
    found = []
    for part, begin, end in parse_split(split):
        if part not in lengths:
            raise ValueError(
                f"`split` must be of {', '.join(lengths)}, the splits of {name}. "
                f"Received: split={split!r}"
            )
        bounds = slice(*(_bound(bound, lengths[part]) for bound in (begin, end)))
        found.append(begins[part] + np.arange(lengths[part])[bounds])
    indices = np.concatenate(found)
    if not len(indices):
        raise ValueError(f"`split` must hold images of {name}. Received: split={split!r}")
    return indices


def _bound(text, length):
    if text is None or not text.endswith("%"):
        return None if text is None else int(text)
    return round(int(text[:-1]) * length / 100)


def take_split(source, lengths, split):
    """The images of a split; the source itself where these are all, in their order."""
    indices = indices_of(split, lengths, source.name)
    if np.array_equal(indices, np.arange(len(source))):
        return source
    return SomeOf(source, indices)
