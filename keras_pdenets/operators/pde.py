"""The second-order operator of a PDE layer: stencils, kernel and initial scales."""

import functools
from collections.abc import Iterable

import numpy as np

from keras_pdenets.operators.stencils import PDE_STENCILS, STENCILS, moment_weights
from keras_pdenets.utils.checks import check_integer, lookup
from keras_pdenets.utils.text import shown

PDE_TERMS = tuple(stencil.name for stencil in PDE_STENCILS)
_ALL_TERMS = {stencil.name: stencil for stencil in STENCILS}


def check_terms(terms: Iterable[str]) -> tuple[str, ...]:
    """Return names of stencils in the order of `STENCILS`, or raise a ValueError."""
    if isinstance(terms, str) or not isinstance(terms, Iterable):
        raise ValueError(
            "`terms` must be a list of stencil names, such as "
            f"[{', '.join(map(repr, PDE_TERMS))}]. Received: terms={shown(terms)}"
        )
    terms = tuple(terms)
    for term in terms:
        lookup("terms", term, _ALL_TERMS)
    if not terms or len(set(terms)) < len(terms):
        raise ValueError(
            f"`terms` must hold at least one stencil, and none twice. Received: terms={terms}"
        )
    return tuple(name for name in _ALL_TERMS if name in terms)


def pde_basis(normalize: bool = False, terms: tuple[str, ...] = PDE_TERMS) -> np.ndarray:
    r"""The six stencils of Eq. (44), Yin et al. 2019, arXiv 1904.07568, or others, stacked.

    Args:
        normalize: False: the stencils as printed in the paper. True: true derivatives with the
            factors 1/2 of Eq. (18)-(20), that is
            $\tfrac12\partial_{xx}$, $\tfrac12\partial_{yy}$, $\partial_{xy}$, $\partial_x$,
            $\partial_y$, 1.
        terms: Names of k of the nine stencils, in the order of `STENCILS`.

    Returns:
        Array of shape (k, 3, 3), cross-correlation kernels `[row, column]`.

    Example:
    >>> from keras_pdenets.operators import pde_basis
    >>> pde_basis(terms=("dxx",))[0, 1].tolist()  # the row of the pixel
    [1.0, -2.0, 1.0]
    """
    stencils = [_ALL_TERMS[name] for name in terms]
    kernels = np.stack([s.kernel for s in stencils])
    if not normalize:
        return kernels
    factor = [0.5 if sum(s.derivative) == 2 and s.scale == 1 else 1 / s.scale for s in stencils]
    return kernels * np.reshape(factor, (-1, 1, 1))


@functools.cache
def pde_orthonormal_basis(terms: tuple[str, ...] = PDE_TERMS) -> np.ndarray:
    r"""An orthonormal basis of the span of the six stencils, or of k others.

    Args:
        terms: As in `pde_basis`.

    Returns:
        Array Q of shape (k, 3, 3), read-only: $\langle Q_j, Q_k \rangle = \delta_{jk}$. Its first
        j kernels span the first j stencils, so that it is the same on every machine.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators import pde_orthonormal_basis
    >>> basis = pde_orthonormal_basis().reshape(6, 9)
    >>> bool(np.allclose(basis @ basis.T, np.eye(6)))
    True
    """
    kernels = pde_basis(terms=terms)
    q, r = np.linalg.qr(kernels.reshape(-1, 9).T)
    basis = (q * np.sign(np.diag(r))).T.reshape(kernels.shape)
    basis.setflags(write=False)
    return basis


def derivative_factors(basis: np.ndarray, terms: tuple[str, ...] = PDE_TERMS) -> np.ndarray:
    r"""Factors of the derivatives in kernels spanned by stencils, for a grid spacing of 1 pixel.

    By Taylor's theorem the factor of $\partial_x^m \partial_y^n$ is the moment
    $\sum_{i,j} K_{ij}\, x_j^m y_i^n / (m!\, n!)$, which vanishes for the other stencils.

    Args:
        basis: Kernels, an array of shape (k, 3, 3).
        terms: Names of the j stencils, as in `pde_basis`.

    Returns:
        Array of shape (j, k): for the six stencils the factors of $\partial_{xx}, \partial_{yy},
        \partial_{xy}, \partial_x, \partial_y, 1$.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators import derivative_factors, pde_basis
    >>> np.diag(derivative_factors(pde_basis())).tolist()  # the stencil of dxy is 4 times dxy
    [1.0, 1.0, 4.0, 2.0, 2.0, 1.0]
    """
    moments = np.stack([moment_weights(*_ALL_TERMS[name].derivative) for name in terms])
    return np.einsum("jhw,khw->jk", moments, basis)


def pde_coefficients(
    sigma: np.ndarray, b: np.ndarray, c: np.ndarray, signed: bool = False
) -> np.ndarray:
    r"""Coefficients $(\sigma_1^2, \sigma_2^2, b_1b_2, b_1c_2, b_2c_1, c_1c_2)$ of the six stencils.

    The last four are those of the product $(c_1 + b_1\partial_x)(c_2 + b_2\partial_y)$, so only
    five of the six are independent, and the diffusion coefficients are never negative.

    Args:
        sigma: Array of shape (2, ...): $\sigma_1, \sigma_2$.
        b: Array of the same shape: $b_1, b_2$.
        c: Array of the same shape: $c_1, c_2$.
        signed: Whether $\sigma |\sigma|$ replaces $\sigma^2$.

    Returns:
        Array of shape (6, ...).

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators import pde_coefficients
    >>> pde_coefficients(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0])).tolist()
    [1.0, 4.0, 12.0, 18.0, 20.0, 30.0]
    """
    diffusion = sigma * np.abs(sigma) if signed else sigma**2
    return np.stack([*diffusion, b[0] * b[1], b[0] * c[1], b[1] * c[0], c[0] * c[1]])


def pde_kernel(
    sigma: np.ndarray, b: np.ndarray, c: np.ndarray, normalize: bool = False
) -> np.ndarray:
    """The 3x3 kernel of a PDE layer in NumPy, the reference for `layers.PDEConv2D`.

    Args:
        sigma: Array of shape (2, input channels, filters).
        b: As `sigma`.
        c: As `sigma`.
        normalize: As in `pde_basis`.

    Returns:
        Array of shape (3, 3, input channels, filters).

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators import pde_kernel
    >>> zero, one = np.zeros((2, 1, 1)), np.ones((2, 1, 1))
    >>> pde_kernel(one, zero, zero)[..., 0, 0].tolist()  # the Laplacian
    [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]
    """
    # (6, 3, 3) x (6, n, o) -> (3, 3, n, o)
    return np.tensordot(pde_basis(normalize), pde_coefficients(sigma, b, c), axes=(0, 0))


def pde_initial_scales(input_channels: int, normalize: bool = False) -> tuple[float, float, float]:
    r"""Standard deviations of $\sigma$, $b$, $c$ that give He's second moment.

    For independent normal parameters of standard deviations s, beta, gamma

    $$E\|K\|_F^2 = (2\beta^2 + \gamma^2)^2 + 44 s^4 = G, \qquad G = 2 / n$$

    with n input channels. $\sigma^2$ has the same mean in all channels: a Laplacian of the sum of
    the channels, which correlates the outputs and grows with depth. So s is kept small,
    $s^4 = \min((2/9n)^2, G/176)$; with one common deviation the outputs grow 30-fold per layer,
    with He's deviation for each parameter they vanish.

    Args:
        input_channels: n, a positive integer.
        normalize: As in `pde_basis`; the kernel has the same distribution either way.

    Returns:
        The three standard deviations (s, beta, gamma).

    Raises:
        ValueError: If `input_channels` is not a positive integer.

    Example:
    >>> from keras_pdenets.operators import pde_initial_scales
    >>> s, beta, gamma = pde_initial_scales(64)
    >>> round((2 * beta**2 + gamma**2) ** 2 + 44 * s**4, 6) == 2 / 64
    True
    """
    input_channels = check_integer("input_channels", input_channels, 1)
    he = 2.0 / input_channels
    s4 = min((2.0 / (9.0 * input_channels)) ** 2, he / 176.0)
    t = np.sqrt(he - 44.0 * s4)
    s, beta, gamma = s4**0.25, np.sqrt(t / 4.0), np.sqrt(t / 2.0)
    if normalize:  # b and sigma squared undo the halving of dx, dy and the second derivatives
        s, beta = s * np.sqrt(2.0), beta * 2.0
    return float(s), float(beta), float(gamma)
