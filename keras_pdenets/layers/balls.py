"""Activations that keep a feature vector inside a ball or a cube."""

import keras
from keras import ops

from keras_pdenets.layers.config import SameShape
from keras_pdenets.layers.precision import widen
from keras_pdenets.utils.checks import check_integer, check_number


class _Ball(SameShape):
    """Base of the two balls: the radius and the squared norm over the channels."""

    def __init__(self, radius=None, axis=-1, **kwargs):
        super().__init__(**kwargs)
        if radius is not None:
            radius = check_number("radius", radius, "positive or None", lambda r: r > 0)
        self.radius = radius
        self.axis = check_integer("axis", axis)
        self.supports_masking = True

    def build(self, input_shape):
        """Check that the number of channels is known, which the default radius depends on."""
        rank = len(input_shape)
        if not -rank <= self.axis < rank or input_shape[self.axis] is None:
            raise ValueError(
                f"Layer {self.name!r} needs a known number of channels on axis {self.axis}. "
                f"Received: input_shape={tuple(input_shape)}"
            )

    def call(self, inputs):
        """Scale every vector along `axis`."""
        # Sums of squares overflow float16 (512 channels of 12), and bfloat16 is too coarse.
        x = widen(ops.cast(inputs, self.compute_dtype))
        square = self.radius**2 if self.radius is not None else inputs.shape[self.axis]
        # In units of the largest entry, or 1: squares of 1e20 overflow even float32.
        # `initial` changes nothing but allows empty batches.
        largest = ops.max(ops.abs(x), axis=self.axis, keepdims=True, initial=0.0)
        unit = ops.stop_gradient(1.0 + ops.relu(largest - 1.0))
        x = x / unit
        norm = ops.sum(ops.square(x), axis=self.axis, keepdims=True) / square
        one = ops.square(1.0 / unit)
        return ops.cast(x * ops.rsqrt(self._divisor(norm, one)), self.compute_dtype)


@keras.saving.register_keras_serializable(package="keras_pdenets")
class Softball(_Ball):
    r"""Smooth map of every feature vector into a ball.

    $$\mathrm{softball}(x) = \frac{x}{\sqrt{1 + |x|^2 / R^2}}$$

    Section 3, Liu et al. 2023, arXiv 2308.01621. The norm is over the channels of a pixel, computed
    in float32 or better; the map commutes with rotations of the channels.

    Args:
        radius: Radius R; None: square root of the number of channels, so that features of size 1
            lie on the sphere.
        axis: Axis of the channels.

    Input shape:
        Any; the axis of the channels must be known.

    Output shape:
        The same.

    Raises:
        ValueError: If `radius` is not positive, or the number of channels is unknown.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> y = keras_pdenets.layers.Softball(radius=1.0)(np.array([[3.0, 4.0]], "float32"))
    >>> [round(float(v), 4) for v in y[0]]
    [0.5883, 0.7845]
    """

    def _divisor(self, norm, one):
        return one + norm


@keras.saving.register_keras_serializable(package="keras_pdenets")
class Hardball(_Ball):
    r"""Projection of every feature vector onto a ball.

    $$\mathrm{hardball}(x) = \frac{R\,x}{\max(|x|, R)}$$

    Section 3, Liu et al. 2023, arXiv 2308.01621. The norm is over the channels of a pixel, computed
    in float32 or better; the map commutes with rotations of the channels.

    Args:
        radius: Radius R; None: square root of the number of channels.
        axis: Axis of the channels.

    Input shape:
        Any; the axis of the channels must be known.

    Output shape:
        The same.

    Raises:
        ValueError: If `radius` is not positive, or the number of channels is unknown.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> y = keras_pdenets.layers.Hardball(radius=1.0)(np.array([[3.0, 4.0]], "float32"))
    >>> [round(float(v), 4) for v in y[0]]
    [0.6, 0.8]
    """

    def _divisor(self, norm, one):
        # Of squares, since the norm has no gradient at 0; by relu, since `ops.maximum` rounds
        # float64 on some backends.
        return one + ops.relu(norm - one)


@keras.saving.register_keras_serializable(package="keras_pdenets")
class HardTanh(SameShape):
    r"""Features clipped to an interval: $\min(\max(x, a), b)$.

    Section 3, Liu et al. 2023, arXiv 2308.01621, with [-1, 1].

    Args:
        min_value: Lower end a.
        max_value: Upper end b.

    Input shape:
        Any.

    Output shape:
        The same.

    Raises:
        ValueError: If the interval is empty.

    Example:
    >>> import numpy as np
    >>> import keras_pdenets
    >>> keras_pdenets.layers.HardTanh()(np.array([-3.0, 0.5], "float32")).tolist()
    [-1.0, 0.5]
    """

    def __init__(self, min_value=-1.0, max_value=1.0, **kwargs):
        super().__init__(**kwargs)
        low = check_number("min_value", min_value, "a number")
        rule = f"a number above min_value={low}"
        self.min_value = low
        self.max_value = check_number("max_value", max_value, rule, lambda high: high > low)
        self.supports_masking = True

    def call(self, inputs):
        """Clip."""
        x = ops.cast(inputs, self.compute_dtype)  # integers too
        ends = self.min_value, self.max_value
        if self.compute_dtype == "float64":  # torch would round the ends to float32
            ends = (ops.convert_to_tensor(end, "float64") for end in ends)
        return ops.clip(x, *ends)
