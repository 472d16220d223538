"""Feature maps that two nets have in common, as a second output of each."""

import keras
import numpy as np
from keras import layers, ops

from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.graphs.residual import residual_blocks
from keras_pdenets.layers.images import check_data_format, spatial_axes


def common_points(student, teacher):
    """Where both nets have a feature map of one name and shape.

    At the ends of the teacher's residual blocks; in a net without these, in front of layers that
    change the size.

    Args:
        student: Functional model without models inside it.
        teacher: Another.

    Returns:
        List of pairs of symbolic tensors, of the student and of the teacher.

    Raises:
        ValueError: If there is none.
    """
    graph, made = read_graph(teacher), _outputs_by_name(read_graph(student))
    pairs = [
        (_counterpart(graph.makers[id(end)].layer, made), end)
        for end in _ends(graph)
        if id(end) in graph.makers
    ]
    pairs = [(x, y) for x, y in pairs if x is not None and x.shape[1:] == y.shape[1:]]
    if not pairs:
        raise ValueError(
            "`features` must be 0 where the nets have no feature map of one name and shape at the "
            f"end of a block. Received: {student.name!r} and {teacher.name!r}"
        )
    return pairs


def factors_of(model, tensors, images, weight):
    """Factors of feature maps for which their distances add up to what `distil` says."""
    found = keras.Model(model.inputs[0], tensors).predict_on_batch(images)
    factors = []
    for array in keras.tree.flatten(found):
        array = np.asarray(array, "float64")
        energy = np.sum((array - array.mean(0)) ** 2) / len(array)
        factors.append((weight / (len(tensors) * max(energy, 1e-12))) ** 0.5)
    return factors


def watched(model, tensors, factors):
    """A model around the same layers: its output, and all of its feature maps in one array."""
    if not tensors:
        return keras.Model(model.inputs[0], [model.outputs[0]])
    flat = [
        layers.Rescaling(factor, dtype="float32")(layers.Flatten(dtype="float32")(x))
        for x, factor in zip(tensors, factors, strict=True)
    ]
    whole = layers.Concatenate(dtype="float32")(flat) if len(flat) > 1 else flat[0]
    return keras.Model(model.inputs[0], [model.outputs[0], whole])


def distance(wanted, outputs):
    """Squared distance of each example."""
    return ops.sum(ops.square(wanted - outputs), -1)


def _ends(graph):
    """The symbolic tensors at the ends of blocks."""
    try:
        return [block.output for block in residual_blocks(graph)]
    except ValueError:
        found = {id(call.inputs[0]): call.inputs[0] for call in graph.calls if _changes_size(call)}
        return list(found.values())


def _changes_size(call):
    if len(call.inputs) != 1 or len(call.inputs[0].shape) != 4:
        return False
    before, after = (tuple(t.shape) for t in (call.inputs[0], call.outputs[0]))
    axes = spatial_axes(check_data_format(getattr(call.layer, "data_format", None)))
    return len(after) != 4 or any(before[axis] != after[axis] for axis in axes)


def _outputs_by_name(graph):
    return {call.layer.name: (call.layer, call.outputs[0]) for call in graph.calls}


def _counterpart(layer, made):
    """What a converted net has in place of a layer's output, or None."""
    # A converted convolution leaves its activation to a layer of its own (`Rebuild`).
    for name in (f"{layer.name}_activation", f"{layer.name}_crop", layer.name):
        if name in made:
            other, tensor = made[name]
            activated = getattr(layer, "activation", None) not in (None, keras.activations.linear)
            differs = name == layer.name and type(other) is not type(layer)
            return None if differs and activated else tensor
    return None
