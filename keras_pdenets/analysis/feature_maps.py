"""Feature maps of a net in order: outputs of its blocks, or of its layers if it has none."""

from dataclasses import dataclass
from typing import Any

import keras

from keras_pdenets import layers as own
from keras_pdenets.graphs.graph import read_graph
from keras_pdenets.graphs.residual import ACTIVATIONS, residual_blocks
from keras_pdenets.layers.linear_maps import is_convolution

_STEPS = (own.ClipFlowStep, own.NewtonFlowStep, own.CarryFlowStep)


@dataclass(frozen=True)
class FeatureMap:
    """The output of a block or a layer of a net.

    Args:
        name: Name of the layer; for a block, of the layer that adds.
        kind: `"block"`, `"activation"` (also within a layer) or `"convolution"`.
        section: Number of its section: for a block, as in `residual_blocks`; otherwise a section
            is consecutive feature maps of one shape.
        output: Output tensor of the block or the layer.
        block: The `ResidualBlock`, or None.
    """

    name: str
    kind: str
    section: int
    output: Any
    block: Any = None


def feature_maps(flat):
    """The residual blocks of a flat model; for a plain one, its activations and convolutions.

    Args:
        flat: A functional model without nested models.

    Returns:
        List of `FeatureMap`, in the order of the graph.

    Raises:
        ValueError: If the model has none of them.
    """
    graph = read_graph(flat)
    try:
        blocks = residual_blocks(graph)
    except ValueError:  # it has none
        return _plain_maps(graph)
    return [FeatureMap(b.name, "block", b.section, b.output, b) for b in blocks]


def _plain_maps(graph):
    maps, section, last = [], -1, None
    for call in graph.calls:
        kind = _kind(call.layer)
        if kind is None:
            continue
        output = call.outputs[0]
        section += tuple(output.shape) != last
        last = tuple(output.shape)
        maps.append(FeatureMap(call.layer.name, kind, section, output))
    if not maps:
        raise ValueError(
            "`model` must have residual blocks, activations or convolutions. "
            f"Received: {graph.name!r} with none of them in {len(graph.calls)} calls"
        )
    return maps


def _kind(layer):
    """Kind of a layer's feature map, or None; the output of a softmax is not one."""
    function = getattr(layer, "activation", None)
    if function is keras.activations.softmax:
        return None
    bends = function is not None and function is not keras.activations.linear
    if bends or isinstance(layer, (*ACTIVATIONS, *_STEPS)):
        return "activation"
    mixes = isinstance(layer, own.QuasiLinear2D) or is_convolution(layer)
    return "convolution" if mixes else None
