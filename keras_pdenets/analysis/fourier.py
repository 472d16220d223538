"""Fourier symbols of learned convolutions."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_pdenets.analysis.inputs import check_floats
from keras_pdenets.layers.linear_maps import linear_map
from keras_pdenets.utils.checks import check_integer


@dataclass(frozen=True, eq=False)
class FourierSymbols:
    """Symbols of convolution kernels.

    Args:
        frequencies: Ascending, in radians per pixel, from -pi (even size); shape (size,).
        symbols: Complex factors, indexed by the frequency along y, the frequency along x, the
            input channel and the filter.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.analysis import fourier_symbols
    >>> waves = fourier_symbols(np.array([[0.25, 0.5, 0.25]]), size=4)  # a binomial filter
    >>> waves.frequencies.round(2), waves.amplitude[0, :, 0, 0].round(2)
    (array([-3.14, -1.57,  0.  ,  1.57]), array([0. , 0.5, 1. , 0.5]))
    """

    frequencies: np.ndarray
    symbols: np.ndarray

    @property
    def amplitude(self):
        """How much each wave is amplified: the modulus of the symbols."""
        return np.abs(self.symbols)


def fourier_symbols(layer_or_kernel, size=32):
    r"""Fourier symbols of the kernels of a convolution.

    $$\hat K(p_x, p_y) = \sum_{i,j} K_{ij}\, e^{\mathrm{i}\,(i\,p_y + j\,p_x)}$$

    with rows i and columns j counted from the middle of the kernel: the factor by which the layer
    multiplies the wave $e^{\mathrm{i}(x p_x + y p_y)}$ on a periodic grid. Eq. (22), Yin et al.
    2019, arXiv 1904.07568, on the grid instead of the continuum, where $\partial_{xx}$ becomes
    $2\cos p_x - 2$ and a central difference $\mathrm{i} \sin p_x$. Strides and bias are ignored.

    Args:
        layer_or_kernel: A layer that `kernel_of` knows, or its kernel: an array of shape (height,
            width) or (height, width, input channels, filters).
        size: Number of frequencies along each axis; a positive integer.

    Returns:
        A `FourierSymbols` with `size * size * channels * filters` complex numbers.

    Raises:
        ValueError: If `size` is out of range, the kernel has another rank, or the layer has none.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.analysis import fourier_symbols
    >>> waves = fourier_symbols(np.array([[1.0, -2.0, 1.0]]), size=4)
    >>> waves.symbols[0, :, 0, 0].real.round(6) + 0.0  # 2 cos p - 2
    array([-4., -2.,  0., -2.])
    """
    size = check_integer("size", size, 1)
    kernel = kernel_of(layer_or_kernel)
    frequencies = 2 * np.pi * np.fft.fftshift(np.fft.fftfreq(size))
    waves = []
    for sides in kernel.shape[:2]:
        # Keras pads an even kernel more after than before.
        places = np.arange(sides) - (sides - 1) // 2
        waves.append(np.exp(1j * np.outer(frequencies, places)))  # (size, sides)
    symbols = np.einsum("pi,qj,ijno->pqno", *waves, kernel, optimize=True)
    return FourierSymbols(frequencies, symbols)


def kernel_of(layer_or_kernel):
    """The kernel of a two-dimensional convolution layer, as an array.

    Args:
        layer_or_kernel: A built `Conv2D`, `DepthwiseConv2D` or `SeparableConv2D` of Keras, a
            `PDEConv2D`, `DecomposedConv2D` (the product of its two kernels), `DepthwiseStencil2D`
            or `PolynomialConv2D` of degree 0; or an array of two or four axes.

    Returns:
        Array in 64 bits of shape (height, width, input channels, filters), including the zeros of
        a dilation; for a depthwise layer, filters are those of one channel.

    Raises:
        ValueError: If it is not such a layer or array, or the layer is not built.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.analysis.fourier import kernel_of
    >>> kernel_of(np.ones((3, 3))).shape
    (3, 3, 1, 1)
    """
    if not isinstance(layer_or_kernel, keras.layers.Layer):
        return _checked_array(layer_or_kernel)
    layer = layer_or_kernel
    if not layer.built:
        raise ValueError(f"`layer_or_kernel` must be built. Received: {layer.name!r}, which is not")
    found = linear_map(layer, subclasses=True)
    varies = found is not None and found.varies
    if found is not None and found.dims == 2 and not varies and not found.adjoint:
        return found.kernels()[0]
    reason = ", whose kernel varies in space" if varies else ""
    raise ValueError(
        "`layer_or_kernel` must be a two-dimensional convolution with one kernel everywhere. "
        f"Received: {layer.name!r} of type {type(layer).__name__}{reason}"
    )


def _checked_array(kernel):
    found = check_floats("layer_or_kernel", kernel)
    if found.ndim not in (2, 4) or not found.size:
        raise ValueError(
            "`layer_or_kernel` must be a layer, or a kernel of shape (height, width) or (height, "
            f"width, input channels, filters). Received: shape {found.shape}"
        )
    return found.reshape((*found.shape, 1, 1)[:4])
