"""Residual blocks: x + f(x), one step of an explicit Euler scheme."""


def basic_block(parts, x, filters, strides, name):
    r"""Two 3x3 operators: $\mathrm{ReLU}(x + BN(W_2\,\mathrm{ReLU}(BN(W_1 x))))$.

    He et al. 2015, arXiv 1512.03385, figure 2.
    """
    y = parts.operate(x, filters, strides, f"{name}_conv0")
    y = parts.norm_relu(y, name, 0)
    y = parts.operate(y, filters, 1, f"{name}_conv1")
    y = parts.norm(y, f"{name}_bn1")
    return _join(parts, x, y, filters, strides, name)


def bottleneck_block(parts, x, filters, strides, name):
    """1x1, 3x3 operator, 1x1 to four times the width; the stride is in the 3x3 operator."""
    y = parts.conv(x, filters, 1, 1, f"{name}_conv0")
    y = parts.norm_relu(y, name, 0)
    y = parts.operate(y, filters, strides, f"{name}_conv1")
    y = parts.norm_relu(y, name, 1)
    y = parts.conv(y, 4 * filters, 1, 1, f"{name}_conv2")
    y = parts.norm(y, f"{name}_bn2")
    return _join(parts, x, y, 4 * filters, strides, name)


def _join(parts, x, y, width, strides, name):
    """Add the shortcut, projected where the shape changes, and apply ReLU."""
    if strides > 1 or parts.channels(x) != width:
        x = parts.conv(x, width, 1, strides, f"{name}_shortcut_conv")
        x = parts.norm(x, f"{name}_shortcut_bn")
    return parts.relu(parts.add(x, y, f"{name}_add"), f"{name}_relu")


def preactivation_block(parts, x, filters, name):
    r"""Identity plus $W_2\,\mathrm{ReLU}(BN_2(W_1\,\mathrm{ReLU}(BN_1(x))))$.

    Eq. (13), Hauser 2019, arXiv 1902.04106. Nothing but the sum touches x.
    """
    y = parts.norm_relu(x, name, 0)
    y = parts.operate(y, filters, 1, f"{name}_conv0")
    y = parts.norm_relu(y, name, 1)
    y = parts.operate(y, filters, 1, f"{name}_conv1")
    return parts.add(x, y, f"{name}_add")


BLOCKS = {"basic": basic_block, "bottleneck": bottleneck_block}
