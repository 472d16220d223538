"""Which operators are of Eq. (44), and the nearest one that is."""

import numpy as np

_SWEEPS = 50
# Along an axis: the pixel, the first difference and the sum of the neighbours, orthonormal.
_AXIS = np.array([[0.0, 1.0, 0.0], [-(0.5**0.5), 0.0, 0.5**0.5], [0.5**0.5, 0.0, 0.5**0.5]])


def discriminant(coefficients: np.ndarray) -> np.ndarray:
    r"""$d\,d_{xy} - d_x d_y$, over the sum of the squares of the four.

    Eq. (44), Yin et al. 2019, arXiv 1904.07568, has

    $$b_1 b_2 \partial_{xy} + b_1 c_2 \partial_x + b_2 c_1 \partial_y + c_1 c_2
      = (c_1 + b_1 \partial_x)(c_2 + b_2 \partial_y),$$

    so that the matrix of $d, d_y$ (first row) and $d_x, d_{xy}$ has rank one: its determinant
    vanishes. The other way round, a matrix of rank one is such a product. An operator is of
    Eq. (44) where this is 0 and neither $d_{xx}$ nor $d_{yy}$ is negative.

    Args:
        coefficients: $d_{xx}, d_{yy}, d_{xy}, d_x, d_y, d$, an array of shape (6, ...).

    Returns:
        Array of shape (...), from -1/2 to 1/2; 0 where all four are 0.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators import discriminant
    >>> float(discriminant(np.array([1.0, 1.0, 6.0, 3.0, 4.0, 2.0])))
    0.0
    """
    d_xy, d_x, d_y, d = coefficients[2:6]
    squares = d_xy**2 + d_x**2 + d_y**2 + d**2
    return (d * d_xy - d_x * d_y) / np.where(squares > 0, squares, 1.0)


def nearest_eq44(
    kernels: np.ndarray, normalize: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""The parameters of Eq. (44) whose kernels are nearest to given ones.

    $$\min_{\sigma, b, c} \|K - K(\sigma, b, c)\|_F$$

    By turns: of given diffusion the product of rank one (singular values of a 2x2 matrix), of a
    given product the diffusion, which may not be negative. A local minimum, which is the global one
    for nearly all kernels; where the kernel is one of Eq. (44) it is found. The scale that the two
    factors of a product leave free is chosen so that both, as kernels of three points, have one
    norm.

    Args:
        kernels: Array of shape (3, 3, ...), cross-correlation kernels `[row, column]`.
        normalize: As in `pde_basis`.

    Returns:
        The arrays $\sigma$, b, c, each of shape (2, ...): the first along x, the second along y.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators import nearest_eq44, pde_kernel
    >>> kernel = np.random.default_rng(0).normal(size=(3, 3))
    >>> error = np.linalg.norm(pde_kernel(*nearest_eq44(kernel)) - kernel)
    >>> bool(0 < error < np.linalg.norm(kernel))
    True
    """
    # (row, column, ...) in orthonormal coordinates of each axis, the pair first
    m = np.moveaxis(np.einsum("ih,jw,hw...->ij...", _AXIS, _AXIS, kernels), (0, 1), (-2, -1))
    diffusion = _start(m)
    for _ in range(_SWEEPS):
        y, x, product = _rank_one(m[..., :2, :2] + 2.0 * _corner(diffusion.sum(-1)))
        diffusion = _diffusion(m, product)
    y, x, product = _rank_one(m[..., :2, :2] + 2.0 * _corner(diffusion.sum(-1)))
    # The factors are those of the stencils: the orthonormal first difference is [-1, 0, 1] / 2^0.5.
    c, b = (np.stack([v[..., k] for v in (x, y)]) for k in (0, 1))
    b = b / 2.0**0.5
    sigma = np.sqrt(np.moveaxis(diffusion, -1, 0))
    return (sigma * 2.0**0.5, b * 2.0, c) if normalize else (sigma, b, c)


def _corner(value: np.ndarray) -> np.ndarray:
    return value[..., None, None] * np.array([[1.0, 0.0], [0.0, 0.0]])


def _start(m: np.ndarray) -> np.ndarray:
    return np.maximum(np.stack([m[..., 0, 2], m[..., 2, 0]], -1), 0.0) / 2.0**0.5


def _rank_one(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two vectors of one length, and their product, nearest to 2x2 matrices."""
    u, s, v = np.linalg.svd(matrices)
    root = np.sqrt(s[..., :1])
    y, x = u[..., :, 0] * root, v[..., 0, :] * root
    return y, x, y[..., :, None] * x[..., None, :]


def _diffusion(m: np.ndarray, product: np.ndarray) -> np.ndarray:
    """The two diffusions, not negative, that leave the least beside a product."""
    # |2^0.5 s - p|^2 + (2 s_1 + 2 s_2 + t)^2, p along x and along y
    p = np.stack([m[..., 0, 2], m[..., 2, 0]], -1)
    right = 2.0**0.5 * p - 2.0 * (m[..., 0, 0] - product[..., 0, 0])[..., None]
    both = right @ np.linalg.inv([[6.0, 4.0], [4.0, 6.0]])
    one = np.maximum(right / 6.0, 0.0)  # where the other one is 0
    gain = one * right / 2.0
    first = gain[..., :1] >= gain[..., 1:]
    single = np.where(np.concatenate([first, ~first], -1), one, 0.0)
    return np.where((both >= 0).all(-1, keepdims=True), both, single)
