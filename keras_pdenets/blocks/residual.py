"""Residual blocks: a shortcut plus one step of x' = F(x), by default of explicit Euler."""


def basic_block(parts, x, filters, strides, name, step):
    r"""Two 3x3 operators: $\mathrm{ReLU}(x + BN(W_2\,\mathrm{ReLU}(BN(W_1 x))))$.

    He et al. 2015, arXiv 1512.03385, figure 2.
    """

    def branch(parts, x):
        y = parts.operator_conv(x, filters, strides, f"{name}_conv0")
        y = parts.norm_relu(y, name, 0)
        y = parts.operator_conv(y, filters, 1, f"{name}_conv1", step.zero and not parts.norms)
        return parts.norm(y, f"{name}_bn1", step.gain)

    return _join(parts, x, branch, filters, strides, name, step)


def bottleneck_block(parts, x, filters, strides, name, step):
    """1x1, 3x3 operator, 1x1 to four times the width; the stride is in the 3x3 operator."""

    def branch(parts, x):
        y = parts.conv(x, filters, 1, 1, f"{name}_conv0")
        y = parts.norm_relu(y, name, 0)
        y = parts.operator_conv(y, filters, strides, f"{name}_conv1")
        y = parts.norm_relu(y, name, 1)
        y = parts.conv(y, 4 * filters, 1, 1, f"{name}_conv2", step.zero and not parts.norms)
        return parts.norm(y, f"{name}_bn2", step.gain)

    return _join(parts, x, branch, 4 * filters, strides, name, step)


def _join(parts, x, branch, width, strides, name, step):
    """Add the step to the shortcut, projected where the shape changes, and apply ReLU."""
    if strides > 1 or parts.channels(x) != width:
        # Between different spaces there is no differential equation.
        y = step.euler(parts, branch(parts, x), name)
        x = parts.conv(x, width, 1, strides, f"{name}_shortcut_conv")
        x = parts.norm(x, f"{name}_shortcut_bn")
    else:
        y = step.increment(parts, x, branch, name)
    return parts.relu(parts.add(x, y, f"{name}_add"), f"{name}_relu")


def preactivation_block(parts, x, filters, name, step):
    r"""Identity plus $W_2\,\mathrm{ReLU}(BN_2(W_1\,\mathrm{ReLU}(BN_1(x))))$.

    Eq. (13), Hauser 2019, arXiv 1902.04106. Nothing but the sum touches x.
    """

    def branch(parts, x):
        y = parts.norm_relu(x, name, 0)
        y = parts.operator_conv(y, filters, 1, f"{name}_conv0")
        y = parts.norm_relu(y, name, 1)
        return parts.operator_conv(y, filters, 1, f"{name}_conv1", step.zero)

    return parts.add(x, step.increment(parts, x, branch, name), f"{name}_add")


BLOCKS = {"basic": basic_block, "bottleneck": bottleneck_block}
