"""The layers a block is made of: one place for operator, axis order, precision and names."""

from dataclasses import dataclass, field
from typing import Any

import keras

from keras_pdenets.blocks.flow_chain import flow_steps
from keras_pdenets.blocks.operators import OPERATORS
from keras_pdenets.layers import ScalarGain
from keras_pdenets.layers.images import channel_axis
from keras_pdenets.utils.checks import check_choice


def he_normal():
    """He's initial values, of a whole normal distribution as in arXiv 1502.01852.

    Keras' `he_normal` cuts off its tails, which takes torch ten times as long: two thirds of the
    time in which a ResNet101 is built. A new one for each layer: one called twice repeats its draw.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")


@dataclass(frozen=True)
class Parts:
    """Makes and applies the layers of a net.

    Args:
        operator: What stands for a 3x3 convolution inside a residual branch: one of `OPERATORS`.
        operator_options: Arguments of the operator's layer, such as `boundary`.
        data_format: Order of the axes.
        dtype: Precision: a Keras dtype policy or its name.
        steps: Residual steps of every ReLU, or None for the ReLU itself.
        promote: Weights of every step (see `layers.ClipFlowStep`).
        norms: Whether there are batch norms; without them convolutions have biases.
    """

    operator: str = "conv"
    operator_options: dict[str, Any] = field(default_factory=dict)
    data_format: str = "channels_last"
    dtype: Any = None
    steps: int | None = None
    promote: str | None = None
    norms: bool = True

    def __post_init__(self):
        """Refuse an operator that does not exist, or options it does not have."""
        check_choice("operator", self.operator, OPERATORS)
        known = OPERATORS[self.operator].options
        if set(self.operator_options) - set(known):
            raise ValueError(
                f"`operator_options` of operator={self.operator!r} may hold {', '.join(known)}. "
                f"Received: operator_options={self.operator_options}"
            )

    def conv(self, x, filters, kernel_size, strides, name, zero=False):
        """Dense convolution, padded alike on every backend; it may start at zero."""
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
        # Zero is a dead point of products of coefficients: a gain starts there in their place.
        return self.gain(y, 0.0, f"{name}_gain") if zero else y

    def gain(self, x, initial, name, normalize=False):
        """One trainable number times `x`, which may be normalised first."""
        axis = channel_axis(self.data_format)
        return ScalarGain(normalize, initial, axis=axis, dtype=self.dtype, name=name)(x)

    def pad(self, x, width, name):
        """Zeros around the images."""
        return keras.layers.ZeroPadding2D(
            width, data_format=self.data_format, dtype=self.dtype, name=name
        )(x)

    def norm(self, x, name, gain=1.0):
        """Batch norm with the constants of the reference ResNets, not those of Keras."""
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
        """Maximum over 2x2 pixels; what is left over at the border is a patch of its own."""
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
        """In training 0 for that share of the examples, and more of it for the others."""
        return keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), dtype=self.dtype, name=name)(
            x
        )

    def norm_relu(self, x, name, index):
        """Batch norm and ReLU."""
        return self.relu(self.norm(x, f"{name}_bn{index}"), f"{name}_relu{index}")

    def channels(self, x):
        """Number of channels of `x`."""
        return x.shape[channel_axis(self.data_format)]
