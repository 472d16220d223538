"""The layer factory of blocks: operator, order of the axes, precision and names."""

from dataclasses import dataclass, field
from typing import Any

import keras

from keras_pdenets.blocks.flow_chain import flow_steps
from keras_pdenets.blocks.operators import OPERATORS
from keras_pdenets.layers import ScalarGain
from keras_pdenets.layers.images import channel_axis
from keras_pdenets.utils.checks import check_choice


def he_normal():
    """He's initialiser with an untruncated normal distribution, as in arXiv 1502.01852.

    Keras' `he_normal` is truncated, which takes ten times as long on torch: two thirds of the time
    to build a ResNet101. Each layer needs a new one: an initialiser called twice repeats its
    values.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")


@dataclass(frozen=True)
class Parts:
    """Creates and applies the layers of a net.

    Args:
        operator: What replaces a 3x3 convolution in a residual branch: a key of `OPERATORS`.
        operator_options: Arguments of the operator's layer, such as `boundary`.
        data_format: Order of the axes.
        dtype: A Keras dtype policy or its name.
        steps: Residual steps of every ReLU, or None for the ReLU itself.
        promote: Weights of every step (see `layers.ClipFlowStep`).
        norms: Whether to use batch norms; without them convolutions have biases.
    """

    operator: str = "conv"
    operator_options: dict[str, Any] = field(default_factory=dict)
    data_format: str = "channels_last"
    dtype: Any = None
    steps: int | None = None
    promote: str | None = None
    norms: bool = True

    def __post_init__(self):
        """Check the operator and the names of its options."""
        check_choice("operator", self.operator, OPERATORS)
        known = OPERATORS[self.operator].options
        if set(self.operator_options) - set(known):
            raise ValueError(
                f"`operator_options` of operator={self.operator!r} may hold {', '.join(known)}. "
                f"Received: operator_options={self.operator_options}"
            )

    def conv(self, x, filters, kernel_size, strides, name, zero=False):
        """Dense convolution with the same padding on every backend; it may start at zero."""
        if strides > 1 and kernel_size > 1:
            x = self.pad(x, kernel_size // 2, f"{name}_pad")
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            strides,
            padding="same" if strides == 1 else "valid",
            use_bias=not self.norms,
            kernel_initializer="zeros" if zero else he_normal(),
            data_format=self.data_format,
            dtype=self.dtype,
            name=name,
        )(x)

    def operator_conv(self, x, filters, strides, name, zero=False):
        """The 3x3 operator of the residual branch; it may start at zero."""
        if self.operator == "conv" and not self.operator_options:
            return self.conv(x, filters, 3, strides, name, zero)
        y = OPERATORS[self.operator].layer(
            filters,
            strides=strides,
            use_bias=not self.norms,
            data_format=self.data_format,
            dtype=self.dtype,
            name=name,
            **self.operator_options,
        )(x)
        # At zero, products of coefficients have no gradient: a gain starts there instead.
        return self.gain(y, 0.0, f"{name}_gain") if zero else y

    def gain(self, x, initial, name, normalize=False):
        """A trainable scalar times `x`, which may be normalised first."""
        axis = channel_axis(self.data_format)
        return ScalarGain(normalize, initial, axis=axis, dtype=self.dtype, name=name)(x)

    def pad(self, x, width, name):
        """Zero padding."""
        return keras.layers.ZeroPadding2D(
            width, data_format=self.data_format, dtype=self.dtype, name=name
        )(x)

    def norm(self, x, name, gain=1.0):
        """Batch norm with the constants of the reference ResNets, not Keras' defaults."""
        if not self.norms:
            return x
        return keras.layers.BatchNormalization(
            axis=channel_axis(self.data_format),
            momentum=0.9,
            epsilon=1e-5,
            gamma_initializer=keras.initializers.Constant(gain),
            dtype=self.dtype,
            name=name,
        )(x)

    def relu(self, x, name):
        """ReLU, whole or in steps."""
        if self.steps is None:
            return keras.layers.ReLU(dtype=self.dtype, name=name)(x)
        layout = {"data_format": self.data_format, "dtype": self.dtype}
        for step in flow_steps("relu", self.steps, name, promote=self.promote, **layout):
            x = step(x)
        return x

    def pool(self, x, name):
        """2x2 max-pooling; the remainder at the border is a window of its own."""
        return keras.layers.MaxPooling2D(
            2, 2, "same", data_format=self.data_format, dtype=self.dtype, name=name
        )(x)

    def add(self, x, y, name):
        """Sum of shortcut and residual."""
        return keras.layers.Add(dtype=self.dtype, name=name)([x, y])

    def scale(self, x, factor, name):
        """A constant times `x`."""
        return keras.layers.Rescaling(factor, dtype=self.dtype, name=name)(x)

    def drop(self, x, rate, name):
        """Stochastic depth: in training 0 for that share of the examples, the rest scaled up."""
        return keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), dtype=self.dtype, name=name)(
            x
        )

    def norm_relu(self, x, name, index):
        """Batch norm and ReLU."""
        return self.relu(self.norm(x, f"{name}_bn{index}"), f"{name}_relu{index}")

    def channels(self, x):
        """Number of channels of `x`."""
        return x.shape[channel_axis(self.data_format)]
