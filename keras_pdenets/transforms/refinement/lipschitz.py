"""Lipschitz constants of Keras layers in inference, in the 2-norm of one example."""

import math

import keras
import numpy as np
from keras import layers

from keras_pdenets.layers import HardTanh
from keras_pdenets.layers.linear_maps import KERAS_LAYERS, linear_map
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.operators.flows.activations import ACTIVATIONS, largest_slope
from keras_pdenets.transforms.batch_norms import scale_and_offset

_KEEPING = (
    layers.InputLayer, layers.Identity, layers.Dropout, layers.SpatialDropout1D,
    layers.SpatialDropout2D, layers.GaussianNoise, layers.GaussianDropout, layers.AlphaDropout,
    layers.ActivityRegularization, layers.Flatten, layers.Reshape, layers.Permute,
    layers.ZeroPadding1D, layers.ZeroPadding2D, layers.Cropping1D, layers.Cropping2D,
    layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.Softmax, HardTanh,
)  # fmt: skip


def lipschitz(layer, input_shape):
    """An upper bound, or None if none is known.

    Args:
        layer: A layer of one input.
        input_shape: Shape of the input, with the batch.
    """
    rule = _RULES.get(type(layer))
    if rule is None:
        return 1.0 if type(layer) in _KEEPING else None
    bound = rule(layer, input_shape)
    slope = slope_of(getattr(layer, "activation", None))
    return None if bound is None or slope is None else bound * slope


def combined(layer, sizes, shapes, output_shape):
    """Bound of the change of a merging layer's output from those of its inputs, or None.

    Args:
        layer: The layer.
        sizes: Bounds of the changes of its inputs.
        shapes: Shapes of these, with the batch.
        output_shape: Shape of the output.
    """
    kind = type(layer)
    if kind is layers.Concatenate:
        if layer.axis % len(output_shape) == 0:
            return None
        return np.sqrt(sum(np.square(size) for size in sizes))
    # If an input is broadcast, each of its elements counts several times.
    whole = math.prod(output_shape[1:])
    sizes = [
        size * math.sqrt(whole / math.prod(shape[1:]))
        for size, shape in zip(sizes, shapes, strict=True)
    ]
    if kind in (layers.Add, layers.Subtract):
        return sum(sizes)
    if kind is layers.Average:
        return sum(sizes) / len(sizes)
    if kind in (layers.Maximum, layers.Minimum):
        return np.sqrt(sum(np.square(size) for size in sizes))
    return None


def slope_of(activation):
    """Lipschitz constant of an activation function, or None."""
    if activation is None or activation is keras.activations.linear:
        return 1.0
    name = getattr(activation, "__name__", "")
    if activation is not getattr(keras.activations, name, None):
        return None
    if name == "softmax":
        return 1.0
    return largest_slope(ACTIVATIONS[name]) if name in ACTIVATIONS else None


def _linear(layer, _):
    return linear_map(layer).bound()


def _normalization(layer, _):
    deviation = np.maximum(np.sqrt(as_float64(layer.variance)), keras.backend.epsilon())
    return float(np.max(deviation if layer.invert else 1 / deviation))


def _pixels(layer, shape):
    return math.prod(shape[1:-1] if layer.data_format == "channels_last" else shape[2:])


def _pooling(layer, _):
    """Root of how often an input counts; averages divide by their smallest number of inputs."""
    sides = zip(layer.pool_size, layer.strides, strict=True)
    windows = math.prod(math.ceil(size / stride) for size, stride in sides)
    mean = isinstance(layer, layers.AveragePooling1D | layers.AveragePooling2D)
    whole = mean and layer.padding == "valid"
    return math.sqrt(windows / (math.prod(layer.pool_size) if whole else 1))


_RULES = {
    **dict.fromkeys(KERAS_LAYERS, _linear),
    layers.BatchNormalization: lambda norm, _: float(np.abs(scale_and_offset(norm)[0]).max()),
    layers.Normalization: _normalization,
    layers.Rescaling: lambda layer, _: float(np.max(np.abs(layer.scale))),
    layers.Activation: lambda layer, _: 1.0,
    layers.ReLU: lambda layer, _: None if layer.threshold else max(1.0, abs(layer.negative_slope)),
    layers.LeakyReLU: lambda layer, _: max(1.0, abs(layer.negative_slope)),
    layers.ELU: lambda layer, _: max(1.0, abs(layer.alpha)),
    layers.MaxPooling1D: _pooling,
    layers.MaxPooling2D: _pooling,
    layers.AveragePooling1D: _pooling,
    layers.AveragePooling2D: _pooling,
    layers.GlobalAveragePooling1D: lambda layer, shape: 1 / math.sqrt(_pixels(layer, shape)),
    layers.GlobalAveragePooling2D: lambda layer, shape: 1 / math.sqrt(_pixels(layer, shape)),
    layers.UpSampling2D: lambda layer, _: (
        math.sqrt(math.prod(layer.size)) if layer.interpolation == "nearest" else None
    ),
}
