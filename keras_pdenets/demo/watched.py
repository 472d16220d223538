"""A net that also says what is behind each of its blocks, and whose blocks can be taken out."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pdenets.analysis.feature_maps import feature_maps
from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.graphs.graph import placeholder, read_graph


@dataclass(frozen=True)
class WatchedNet:
    """A net and what it shows.

    Args:
        model: Images, and for a net with blocks their gates (n, blocks), to probabilities, changes
            (n, k) and the features behind every place. A gate multiplies what its block adds: 1
            leaves the net as it is, 0 takes the block out.
        places: The `FeatureMap` of every place.
        changed: Numbers of the places whose relative change is among the changes.
        gated: Whether it has gates.
    """

    model: Any
    places: tuple[Any, ...]
    changed: tuple[int, ...]
    gated: bool

    def inputs(self, images, as_list=False):
        """What the model takes for some images, all gates open."""
        images = np.asarray(images, "float32")
        if not self.gated:
            return [images] if as_list else images
        return [images, np.ones((len(images), len(self.places)), "float32")]


def watch(model):
    r"""Turn a net into a `WatchedNet`.

    The change by a block is $\|g h F(u)\| / \|u\|$, as `measure_perturbation` has it at g = 1; of
    a net without blocks, whose places are its activations, it is $\|u_k - u_{k-1}\| / \|u_{k-1}\|$
    where both have one shape.

    Args:
        model: A functional Keras model of one input and one output.

    Returns:
        A `WatchedNet`, with the layers and the weights of the model.
    """
    flat = flatten(model)
    graph = read_graph(flat)
    places = tuple(place for place in feature_maps(flat) if place.kind != "convolution")
    blocks = [place.block for place in places if place.block is not None]
    image, gates = placeholder(flat.inputs[0]), keras.Input((len(blocks),), name="gates")
    replace = {}
    for number, block in enumerate(blocks):
        replace[id(block.residual)] = lambda value, _, k=number: (
            value * gates[:, k, None, None, None]
        )
    tensors = [place.output for place in places]
    for block in blocks:
        tensors += [block.residual, block.shortcut]
    values = graph.run({id(flat.inputs[0]): image}, [flat.outputs[0], *tensors], replace)
    answer, features, rest = values[0], values[1 : 1 + len(places)], values[1 + len(places) :]
    if blocks:
        changed = tuple(range(len(places)))
        changes = [_norm(a) / _norm(b) for a, b in zip(rest[::2], rest[1::2], strict=True)]
    else:
        changed = tuple(
            k for k in range(1, len(places)) if features[k].shape == features[k - 1].shape
        )
        changes = [_norm(features[k] - features[k - 1]) / _norm(features[k - 1]) for k in changed]
    inputs = [image, gates] if blocks else [image]
    outputs = [answer, ops.stack(changes, axis=1), *features]
    new = keras.Model(inputs, outputs, name=f"{model.name}_watched")
    return WatchedNet(new, places, changed, bool(blocks))


def _norm(features):
    """2-norm of each example; 1e-12 keeps the quotient of blank features finite."""
    return ops.sqrt(ops.sum(ops.square(features), axis=(1, 2, 3)) + 1e-12)
