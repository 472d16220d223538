"""Numbers in enough digits."""

import keras
import numpy as np
from keras import ops


def wide_dtype(dtype):
    """float64 for that, and float32 for all others."""
    # Keras' own result_type gives float32 for float64 where that is not the default.
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def widen(x):
    """The tensor in float32, or float64 if it is that already."""
    return ops.cast(x, wide_dtype(x.dtype))


def as_float64(tensor):
    """The values of a tensor or variable, an array in float64."""
    return np.asarray(ops.convert_to_numpy(tensor), "float64")
