"""Computing in sufficient precision."""

import keras
import numpy as np
from keras import ops


def wide_dtype(dtype):
    """float64 for float64, and float32 for all other dtypes."""
    # Keras' `result_type` gives float32 for float64 unless that is the default.
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def widen(x):
    """The tensor in float32, or in float64 if it already is."""
    return ops.cast(x, wide_dtype(x.dtype))


def as_float64(tensor):
    """The values of a tensor or variable as a float64 array."""
    return np.asarray(ops.convert_to_numpy(tensor), "float64")
