"""Residual blocks: x + h f(x), one step of an explicit Euler scheme."""

from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Start:
    """How large the residual of a block is, before training and for good.

    Args:
        zero: Whether it starts at zero, so that the untrained block is its shortcut.
        step_size: Constant factor h; None: 1.
    """

    zero: bool = False
    step_size: float | None = None

    @property
    def gain(self):
        """Initial gain of a batch norm at the end of the residual branch."""
        return 0.0 if self.zero else 1.0

    def step(self, parts, y, name):
        """The residual times the step size."""
        if self.step_size is None:
            return y
        return keras.layers.Rescaling(self.step_size, dtype=parts.dtype, name=f"{name}_step")(y)


def basic_block(parts, x, filters, strides, name, start):
    r"""Two 3x3 operators: $\mathrm{ReLU}(x + BN(W_2\,\mathrm{ReLU}(BN(W_1 x))))$.

    He et al. 2015, arXiv 1512.03385, figure 2.
    """
    y = parts.operate(x, filters, strides, f"{name}_conv0")
    y = parts.norm_relu(y, name, 0)
    y = parts.operate(y, filters, 1, f"{name}_conv1")
    y = parts.norm(y, f"{name}_bn1", start.gain)
    return _join(parts, x, start.step(parts, y, name), filters, strides, name)


def bottleneck_block(parts, x, filters, strides, name, start):
    """1x1, 3x3 operator, 1x1 to four times the width; the stride is in the 3x3 operator."""
    y = parts.conv(x, filters, 1, 1, f"{name}_conv0")
    y = parts.norm_relu(y, name, 0)
    y = parts.operate(y, filters, strides, f"{name}_conv1")
    y = parts.norm_relu(y, name, 1)
    y = parts.conv(y, 4 * filters, 1, 1, f"{name}_conv2")
    y = parts.norm(y, f"{name}_bn2", start.gain)
    return _join(parts, x, start.step(parts, y, name), 4 * filters, strides, name)


def _join(parts, x, y, width, strides, name):
    """Add the shortcut, projected where the shape changes, and apply ReLU."""
    if strides > 1 or parts.channels(x) != width:
        x = parts.conv(x, width, 1, strides, f"{name}_shortcut_conv")
        x = parts.norm(x, f"{name}_shortcut_bn")
    return parts.relu(parts.add(x, y, f"{name}_add"), f"{name}_relu")


def preactivation_block(parts, x, filters, name, start):
    r"""Identity plus $W_2\,\mathrm{ReLU}(BN_2(W_1\,\mathrm{ReLU}(BN_1(x))))$.

    Eq. (13), Hauser 2019, arXiv 1902.04106. Nothing but the sum touches x.
    """
    y = parts.norm_relu(x, name, 0)
    y = parts.operate(y, filters, 1, f"{name}_conv0")
    y = parts.norm_relu(y, name, 1)
    y = parts.operate(y, filters, 1, f"{name}_conv1", start.zero)
    return parts.add(x, start.step(parts, y, name), f"{name}_add")


BLOCKS = {"basic": basic_block, "bottleneck": bottleneck_block}
