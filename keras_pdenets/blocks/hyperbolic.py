"""The block of a hyperbolic net: a time step of a quasi-linear system."""

from keras_pdenets.layers import Hardball, HardTanh, QuasiLinear2D, Softball
from keras_pdenets.layers.images import channel_axis

ACTIVATIONS = ("relu", "hardtanh", "hardball", "softball")
_BALLS = {"hardball": Hardball, "softball": Softball}
NORMS = ("batch", "rms", "scale")


def hyperbolic_block(parts, x, filters, strides, name, product, norm, project, activation):
    r"""Shortcut plus quasi-linear product: $u \leftarrow \phi(S u + g\,N(F(u)))$.

    Figure 1, Liu et al. 2023, arXiv 2308.01621.

    Args:
        parts: Layer factory.
        x: Input tensor.
        filters: Number of output channels.
        strides: Step of the output grid, in pixels.
        name: Prefix of the layers' names.
        product: Arguments of `QuasiLinear2D`.
        norm: Norm at the end of the residual branch, one of `NORMS`, with initial gain 0.
        project: Whether the shortcut S is a 1x1 convolution even if the shape stays the same.
        activation: One of `ACTIVATIONS`, or None.
    """
    y = QuasiLinear2D(
        filters,
        strides=strides,
        data_format=parts.data_format,
        dtype=parts.dtype,
        name=f"{name}_product",
        **product,
    )(x)
    # The paper's Eq. (5) has no mixing matrix, and its parameter counts no norm at the end.
    if product["equation"] != 5:
        y = _end(parts, y, norm, 0.0, f"{name}_norm")
    if project or strides > 1 or parts.channels(x) != filters:
        x = parts.conv(x, filters, 1, strides, f"{name}_shortcut_conv")
        if norm != "scale":
            x = _end(parts, x, norm, 1.0, f"{name}_shortcut_norm")
    x = parts.add(x, y, f"{name}_add")
    return x if activation is None else activate(parts, x, activation, f"{name}_activation")


def _end(parts, x, norm, gain, name):
    if norm == "batch":
        return parts.norm(x, name, gain)
    return parts.gain(x, gain, name, normalize=norm == "rms")


def activate(parts, x, activation, name):
    """Apply one of `ACTIVATIONS`."""
    if activation == "relu":
        return parts.relu(x, name)
    if activation == "hardtanh":
        return HardTanh(dtype=parts.dtype, name=name)(x)
    axis = channel_axis(parts.data_format)
    return _BALLS[activation](axis=axis, dtype=parts.dtype, name=name)(x)
