"""Sums of squares in enough digits."""

import keras
from keras import ops


def widen(x):
    """The tensor in float32, or float64 if it is that already."""
    # Keras' own result_type gives float32 for float64 where that is not the default.
    wide = keras.backend.standardize_dtype(x.dtype) == "float64"
    return ops.cast(x, "float64" if wide else "float32")
