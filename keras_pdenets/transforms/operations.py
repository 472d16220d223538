"""Number of operations of a net for one example."""

import math

from keras import layers

from keras_pdenets.graphs.graph import all_calls
from keras_pdenets.layers.linear_maps import linear_map

_VECTORS = ("gamma", "beta", "moving_mean", "moving_variance", "mean", "variance", "count", "alpha")
# By name: Keras' operations have no public classes.
_MOVES = ("Identity", "Transpose", "Reshape", "ExpandDims", "GetItem")
_PAIRS = ("Matmul", "Dot")
# Sums of products whose length does not follow from the sizes, and arbitrary functions.
_UNKNOWN = (
    "Einsum", "Tensordot", "Inner", "Vdot", "Correlate", "CDist", "Conv", "DepthwiseConv",
    "SeparableConv", "ConvTranspose", "DotProductAttention", "Attention", "AdditiveAttention",
    "Lambda",
)  # fmt: skip


def count_operations(model):
    """Operations of a functional or sequential model for one example.

    Two for each multiplication by an element of a kernel, and for each multiplication of two
    tensors' elements in `matmul` and `dot` (2 M N K for matrices of M x K and K x N); any other
    layer or operation counts one for each element of its output, and none if it only moves data.

    Args:
        model: The model; layers that are not Keras' own must be folded first (`transforms.fold`).

    Returns:
        The number, or None if a shape is open, or the products of a layer or operation cannot be
        counted.

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
    for call in all_calls(model):
        sizes = size_of(call.outputs), size_of(call.inputs[:1])
        if None in sizes:
            return None
        if countable(call.layer):
            found = operations_of(call.layer, *sizes)
        else:
            found = _pair_operations(call, sizes[0])
        if found is None:
            return None
        total += found
    return total


def _pair_operations(call, numbers):
    """Operations of a product of two tensors with so many output elements, or None."""
    if type(call.layer).__name__ not in _PAIRS:
        return None
    axis, operands = -1, call.args
    if isinstance(call.layer, layers.Dot):
        operands, axes = call.args[0], call.layer.axes
        axis = axes if isinstance(axes, int) else axes[0]
    shapes = [tuple(x.shape) for x in operands]
    if () in shapes or shapes[0][axis] is None:
        return None
    return 2 * numbers * shapes[0][axis]


def size_of(tensors):
    """Number of elements of one example in these symbolic tensors; None if a size is open."""
    shapes = [tuple(x.shape)[1:] for x in tensors]
    return None if any(None in shape for shape in shapes) else sum(map(math.prod, shapes))


def countable(layer):
    """Whether all products of a layer can be counted: plain kernels, or none."""
    if linear_map(layer, subclasses=True) is not None:
        return True
    kind = type(layer)
    if kind.__name__ in (*_PAIRS, *_UNKNOWN) or kind.__module__.endswith(".ops.linalg"):
        return False
    return all(v.name in _VECTORS for v in getattr(layer, "weights", ()))


def operations_of(layer, numbers, given):
    """Operations of a layer.

    Args:
        layer: A layer or an operation of Keras.
        numbers: Number of output elements for one example.
        given: Number of input elements.
    """
    if type(layer).__name__ in _MOVES:
        return 0
    total = numbers * getattr(layer, "operations", 1)
    found = linear_map(layer, subclasses=True)
    if hasattr(layer, "linear_map"):
        kernels = [kernel for term in found.terms() for kernel in term]
    else:
        kernels = [v for v in getattr(layer, "weights", ()) if "kernel" in v.name]
    for kernel in kernels:
        # Each input element of a transposed convolution meets every element of the kernel.
        if found is not None and found.adjoint:
            total += 2 * math.prod(kernel.shape) * given // kernel.shape[-1]
        else:
            total += 2 * math.prod(kernel.shape) * numbers // _channels(layer, kernel.shape)
    return total


def _channels(layer, shape):
    """Number of output channels of a layer."""
    for name in ("filters", "units"):
        if hasattr(layer, name):
            return getattr(layer, name)
    # A flow step has as many outputs as inputs.
    return math.prod(shape[-2:]) if "Depthwise" in type(layer).__name__ else shape[-2]
