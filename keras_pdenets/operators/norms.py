"""2-norms of convolutions: exact on a torus, upper bounds on images."""

import functools
import math

import numpy as np

# Error of float32 kernels and of the decompositions here.
_ROUNDING = 1 + 1e-6
# Frequencies per axis for images of known size: the bound is then at most 0.3 % too large.
_MOST_SAMPLES = 64


def spectral_norm(matrix: np.ndarray) -> float:
    """Largest singular value of a matrix."""
    return float(np.linalg.norm(np.asarray(matrix, "float64"), 2)) * _ROUNDING


def circular_norm(
    kernel: np.ndarray, circle: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> float:
    r"""2-norm of a convolution with periodic boundary.

    $$\|K\|^2 = \max_\theta \lambda_1\Bigl(\frac{1}{|A|} \sum_{a \in A}
    \hat K(\theta + a) \hat K(\theta + a)^*\Bigr), \qquad
    \hat K(\theta) = \sum_x K(x)\, e^{-i \theta \cdot x}$$

    over the frequencies of the circle (Sedghi, Gupta and Long 2018, arXiv 1805.10408, for stride
    1). A stride s keeps one pixel in s: the frequencies $\theta + 2 \pi j / s$, the set A, are
    aliased in the output.

    Args:
        kernel: Array of shape (k_1, ..., k_D, ..., inputs, outputs); axes in the middle hold
            groups of channels, and the largest norm counts.
        circle: Number of pixels on each of the D axes; a longer kernel wraps around.
        strides: Strides on the D axes, divisors of these numbers.

    Returns:
        The norm, up to rounding.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators.norms import circular_norm
    >>> box = np.full((2, 2, 1, 1), 1.0)
    >>> round(circular_norm(box, (4, 4)), 6), round(circular_norm(box, (4, 4), (2, 2)), 6)
    (4.0, 2.0)
    """
    kernel = np.asarray(kernel, "float64")
    dims = len(circle)
    strides = strides or (1,) * dims
    waves = [
        np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(side)) / size)
        for size, side in zip(circle, kernel.shape, strict=False)
    ]
    part = kernel.astype("complex128")
    for axis in range(1, dims):
        part = np.moveaxis(np.tensordot(waves[axis], part, (1, axis)), 0, axis)
    rows = circle[0] // strides[0]
    largest = 0.0
    # The kernel is real, so half of the frequencies are enough. One row of them at a time: all
    # together may take gigabytes.
    for row in range(rows // 2 + 1):
        aliases = range(row, circle[0], rows)
        grams = (_gram(np.tensordot(waves[0][i], part, (0, 0)), strides) for i in aliases)
        gram = functools.reduce(np.add, grams) / strides[0]
        gram = _mean_of_aliases(gram, circle[1:], strides[1:])
        largest = max(largest, float(np.linalg.eigvalsh(gram)[..., -1].max()))
    return math.sqrt(max(largest, 0.0))


def _gram(symbol: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """Gram matrices of the symbol: the smaller ones, or with strides those of the outputs."""
    adjoint = np.conj(np.swapaxes(symbol, -1, -2))
    # Aliased frequencies share outputs, but not inputs.
    if max(strides) == 1 and symbol.shape[-2] < symbol.shape[-1]:
        return symbol @ adjoint
    return adjoint @ symbol


def _mean_of_aliases(
    gram: np.ndarray, circle: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray:
    for axis, (size, stride) in enumerate(zip(circle, strides, strict=True)):
        shape = (*gram.shape[:axis], stride, size // stride, *gram.shape[axis + 1 :])
        gram = gram.reshape(shape).mean(axis)
    return gram


def convolution_norm(
    kernel: np.ndarray,
    samples: int | None = None,
    sides: tuple[int | None, ...] | None = None,
    strides: tuple[int, ...] | None = None,
    groups: int = 1,
) -> float:
    r"""Upper bound of the 2-norm of a convolution with zero padding.

    $$\|K\| \le \max_{\theta \in \Theta_{n+k-1}} \sigma_1(\hat K(\theta))$$

    where $\Theta_N$ are the N frequencies of a circle of N pixels: on a circle of n + k - 1 pixels
    an image of n pixels, padded with zeros, does not meet its other end, so that the convolution
    is a part of the periodic one (`circular_norm`). On n pixels the value may be too small; so is
    the norm of the reshaped kernel, which is often used (by factors of 1.56 to 2.88 in our
    measurements). If the size is unknown or larger than N samples,

    $$\|K\| \le \max_\theta \sigma_1(\hat K(\theta)) \le
    \cos\Bigl(\frac{\pi r}{N}\Bigr)^{-1} \max_{\theta \in \Theta_N} \sigma_1(\hat K(\theta))$$

    on every such axis, for kernels that reach r pixels from their centre and N > 2 r: near its
    maximum a trigonometric polynomial of degree r falls off no faster than cos(r t) (M. Riesz
    1914), and the nearest sample is at most pi / N away.

    Padding of either kind ("same", "valid") and strides only drop outputs, so both bounds hold for
    them unchanged. If the strides are given, the sizes are rounded up to multiples of them and the
    smaller norm of `circular_norm` is used; it holds whatever pixel the stride starts at.

    Args:
        kernel: Array of shape (k_1, ..., k_D, inputs of a group, outputs).
        samples: Largest N; it is raised for long kernels. None: 64 if the sides are given, else
            16, or 8 from 256 channels on.
        sides: Pixels n of the image on each axis, None for an unknown one. None: all unknown.
        strides: Strides on each axis. None: a bound for all strides.
        groups: Number of groups of channels.

    Returns:
        The bound; for 3x3 kernels and N = 16 at most 1.04 times the norm on large images.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators.norms import convolution_norm
    >>> box = np.full((3, 3, 1, 1), 1 / 9)
    >>> bool(1.0 <= convolution_norm(box) < 1.04)
    True
    >>> round(convolution_norm(box, sides=(2, 2)), 3)  # the box never lies on the image entirely
    1.0
    """
    kernel = np.asarray(kernel, "float64")
    dims = kernel.ndim - 2
    inputs, outputs = kernel.shape[-2:]
    # (k.., i, g o) -> (k.., g, i, o)
    kernel = np.moveaxis(kernel.reshape(*kernel.shape[:-1], groups, outputs // groups), -2, -3)
    if all(side == 1 for side in kernel.shape[:dims]):
        return max(map(spectral_norm, kernel.reshape(groups, inputs, -1)))
    if samples is None:
        wide = min(inputs, outputs // groups) >= 256
        samples = _MOST_SAMPLES if sides is not None else 8 if wide else 16
    circle, slack = [], 1.0
    strides = strides or (1,) * dims
    for k, side, stride in zip(kernel.shape, sides or (None,) * dims, strides, strict=False):
        reach = k // 2
        size = max(samples, 8 * reach) if reach else 1
        whole = reach == 0 or (side is not None and side + k - 1 <= size)
        size = side + k - 1 if reach and whole else size
        size = -(-size // stride) * stride
        slack /= 1.0 if whole else math.cos(math.pi * reach / size)
        circle.append(size)
    return circular_norm(kernel, tuple(circle), strides) * slack * _ROUNDING
