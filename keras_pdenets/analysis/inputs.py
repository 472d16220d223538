"""Checks of models, images and labels before anything is computed."""

import numpy as np

from keras_pdenets.builders.pixels import check_images as check_images
from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.utils.checks import check_integer


def check_model(model):
    """The model without nested models.

    Raises:
        ValueError: If it has no graph, or several inputs.
    """
    flat = flatten(model)
    if len(flat.inputs) != 1:
        raise ValueError(
            f"`model` must have one input. Received: model {model.name!r} with {len(flat.inputs)}"
        )
    return flat


def check_labels(flat, labels, count):
    """The labels as integers below the model's number of classes, one for each image.

    Raises:
        ValueError: If the model's output is not (batch, classes), or labels are of another number,
            not integers, or out of range.
    """
    shapes = [tuple(output.shape) for output in flat.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or (shapes[0][1] or 0) < 2:
        raise ValueError(
            "`model` must have one output of shape (batch, classes), with at least two classes. "
            f"Received: {flat.name!r} with outputs of shape {', '.join(map(str, shapes))}"
        )
    labels, classes = check_integers(labels, count), shapes[0][1]
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(
            f"`labels` must be in [0, {classes}), the classes of the model. Received: {wrong[0]}"
        )
    return labels


def check_integers(labels, count):
    """Labels as an array of integers, one for each image.

    Raises:
        ValueError: If they are of another number, or not integers.
    """
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be {count} integers, one for each image. "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    return labels


def check_floats(name, values):
    """Numbers as an array of float64.

    Raises:
        ValueError: If they are not numbers.
    """
    try:
        return np.asarray(values, "float64")
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"`{name}` must be numbers. Received: {name}={values!r}") from None


def batches(size, *arrays):
    """Batches of arrays of the same length."""
    size = check_integer("batch_size", size, 1)
    for begin in range(0, len(arrays[0]), size):
        yield [array[begin : begin + size] for array in arrays]
