"""Parameters and operations, before a layer is converted and after."""

import math
from dataclasses import dataclass

from keras_pdenets.layers.linear_maps import linear_map
from keras_pdenets.transforms.operations import operations_of, size_of


@dataclass(frozen=True)
class Count:
    """Numbers of a layer's kernels, and operations for one example: before and after, each.

    Args:
        parameters: Without biases.
        operations: Two for a product; None where sizes are open.
    """

    parameters: tuple[int, int]
    operations: tuple[int, int] | None


def count_layer(form):
    """The `Count` of a target and what it becomes."""
    before = math.prod(form.target.shape)
    places = form.target.places
    operations = None
    if None not in places:
        operations = tuple(2 * math.prod(places) * products for products in (before, form.products))
    return Count((before, form.parameters), operations)


def count_net(graph, counts):
    """Operations of all linear layers of a net, before and after; None where a size is open."""
    before = 0
    for call in graph.calls:
        if linear_map(call.layer, subclasses=True) is None:
            continue
        numbers, given = size_of(call.outputs), size_of(call.inputs[:1])
        if numbers is None or given is None:
            return None
        # Without the bias: one for each number that comes out.
        before += operations_of(call.layer, numbers, given) - numbers
    saved = sum(count.operations[0] - count.operations[1] for count in counts)
    return before, before - saved
