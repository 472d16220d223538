"""How many operations a net takes for one example."""

import math

import keras
from keras import layers

from keras_pdenets.transforms.copying import has_graph
from keras_pdenets.transforms.fusion.graph import read_graph

_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_PLAIN = (
    layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D,
    layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip
_VECTORS = ("gamma", "beta", "moving_mean", "moving_variance", "mean", "variance", "count", "alpha")
# By name: Keras' operations have no public classes.
_MOVES = ("Identity", "Transpose", "Reshape", "ExpandDims", "GetItem")


def count_operations(model):
    """Operations of a functional or sequential model for one example.

    Two for each product with a number of a kernel; for any other layer or operation one for each
    number that comes out, and none where numbers are only moved.

    Args:
        model: The model; what of it is not a plain layer of Keras must be folded first
            (`transforms.fold`).

    Returns:
        The number, or None where a shape is open or a layer has kernels that we cannot count.

    Raises:
        ValueError: If the model is not functional.

    Example:
    >>> import keras
    >>> from keras_pdenets.transforms import count_operations
    >>> x = keras.Input((8, 8, 3))
    >>> count_operations(keras.Model(x, keras.layers.Conv2D(4, 3, use_bias=False)(x)))
    7920
    """
    total = 0
    for call in read_graph(model).calls:
        if has_graph(call.layer) or isinstance(call.layer, keras.Sequential):
            inner = count_operations(call.layer)
            if inner is None:
                return None
            total += inner
            continue
        inputs = [x for x in keras.tree.flatten(call.args) if isinstance(x, keras.KerasTensor)]
        sizes = size_of(call.outputs), size_of(inputs[:1])
        if None in sizes or not countable(call.layer):
            return None
        total += operations_of(call.layer, *sizes)
    return total


def size_of(tensors):
    """How many numbers an example has in all of these symbolic tensors; None where it is open."""
    shapes = [tuple(x.shape)[1:] for x in tensors]
    return None if any(None in shape for shape in shapes) else sum(map(math.prod, shapes))


def countable(layer):
    """Whether all products of a layer are known: plain kernels, or no kernel at all."""
    if isinstance(layer, (*_TRANSPOSED, *_PLAIN)) or hasattr(layer, "assemble_kernel"):
        return True
    return all(v.name in _VECTORS for v in getattr(layer, "weights", ()))


def operations_of(layer, numbers, given):
    """Operations of a layer.

    Args:
        layer: A layer or an operation of Keras.
        numbers: How many numbers it puts out for an example.
        given: How many its input has.
    """
    if type(layer).__name__ in _MOVES:
        return 0
    total = numbers * getattr(layer, "operations", 1)
    if hasattr(layer, "assemble_kernel"):
        kernels = [layer.assemble_kernel()]
    else:
        kernels = [v for v in getattr(layer, "weights", ()) if "kernel" in v.name]
    for kernel in kernels:
        # A number of the input of a transposed convolution goes to all places of the kernel.
        if isinstance(layer, _TRANSPOSED):
            total += 2 * math.prod(kernel.shape) * given // kernel.shape[-1]
        else:
            total += 2 * math.prod(kernel.shape) * numbers // _channels(layer, kernel.shape)
    return total


def _channels(layer, shape):
    """Number of channels that a layer puts out."""
    for name in ("filters", "units"):
        if hasattr(layer, name):
            return getattr(layer, name)
    # Of a flow step it is the number of its inputs.
    return math.prod(shape[-2:]) if "Depthwise" in type(layer).__name__ else shape[-2]
