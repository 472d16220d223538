"""Checks of what a conversion is given, before anything is computed."""

import keras
import numpy as np

from keras_pdenets.builders.pixels import check_images
from keras_pdenets.transforms.conversion.targets import OPERATORS, find_targets
from keras_pdenets.utils.checks import check_choice


def check_operators(operator):
    """One operator or several as a tuple of names.

    Raises:
        ValueError: If one is none of `OPERATORS`.
    """
    several = isinstance(operator, list | tuple) and operator
    return tuple(
        check_choice("operator", name, OPERATORS) for name in (operator if several else [operator])
    )


def check_data(flat, data):
    """The images as an array that the model takes.

    Raises:
        ValueError: If they are none, or the model has several inputs, or fails on them.
    """
    if len(flat.inputs) != 1:
        raise ValueError(
            "`model` must have one input, the images: layers are fitted on what these alone lead "
            f"to. Received: {flat.name!r} with {len(flat.inputs)} inputs "
            f"({', '.join(x.name for x in flat.inputs)}); convert the part behind one of them"
        )
    images = check_images(flat, data, name="data")
    if np.ptp(images) == 0:
        raise ValueError(
            "`data` must be images that differ: on constant ones every operator is the same. "
            f"Received: {images.flat[0]:g} everywhere"
        )
    outputs = keras.tree.flatten(flat.predict_on_batch(images[:2]))
    if not all(np.isfinite(output).all() for output in outputs):
        raise ValueError(
            f"`model` must give finite outputs for `data`. Received: {flat.name!r}, whose outputs "
            "have NaN or infinity: its weights have diverged, or `data` are far from theirs"
        )
    return images


def targets_of(graph, operators, chosen):
    """The targets of one operator or more by identity of their calls, and why others stay.

    Returns:
        Dictionary of `Target` and possible operators, in the order of the graph; reasons by name.
    """
    found, left, refused = {}, {}, []
    for operator in operators:
        try:
            targets, reasons = find_targets(graph, operator, chosen)
        except ValueError as error:
            refused.append(error)
            continue
        left |= reasons
        for target in targets:
            _, known = found.setdefault(id(target.call), (target, []))
            known.append(operator)
    if not found:
        raise refused[0]
    order = {id(call): index for index, call in enumerate(graph.calls)}
    names = {target.name for target, _ in found.values()}
    return (
        dict(sorted(found.items(), key=lambda item: order[item[0]])),
        {name: reason for name, reason in left.items() if name not in names},
    )
