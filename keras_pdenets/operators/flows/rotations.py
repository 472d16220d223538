"""Decomposition of a matrix into rotations and a stretch, and the logarithm of a rotation."""

import numpy as np
import scipy  # imports its submodules lazily

# Singular values below this share of the largest are zero.
_ZERO = 1e-12


def embed(matrix: np.ndarray) -> np.ndarray:
    """An (m, n) matrix padded with zeros to a square one, with at least one extra row and column.

    The extra dimension lets both orthogonal factors be rotations: flipping the null direction does
    not change the product.

    Args:
        matrix: Array of shape (m, n).

    Returns:
        Array of shape (d, d), d = max(m, n) + 1.
    """
    matrix = _checked(matrix)
    size = max(matrix.shape) + 1
    square = np.zeros((size, size))
    square[: matrix.shape[0], : matrix.shape[1]] = matrix
    return square


def proper_svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Singular value decomposition with proper rotations.

    $$W = U\,\mathrm{diag}(s)\,V, \qquad \det U = \det V = 1$$

    Section 2.1, Li and Shi 2017, arXiv 1708.05115. Values below 1e-12 of the largest are set to 0.

    Args:
        matrix: Square array with at least one zero singular value, such as from `embed`.

    Returns:
        U, s and V (not its transpose).

    Raises:
        ValueError: If the matrix is not square, not finite, or has no zero singular value.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators.flows import proper_svd
    >>> u, s, v = proper_svd(np.diag([-2.0, 1.0, 0.0]))
    >>> bool(np.linalg.det(u) > 0), np.round(np.abs(s), 6).tolist()
    (True, [2.0, 1.0, 0.0])
    """
    matrix = _checked(matrix)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"`matrix` must be square. Received: shape {matrix.shape}")
    u, s, v = scipy.linalg.svd(matrix)
    if s[-1] > _ZERO * s[0]:
        raise ValueError(
            "`matrix` must have a zero singular value, so that both factors can be rotations: use "
            f"`embed`. Received: smallest singular value {s[-1]:.3g}"
        )
    s = np.where(s <= _ZERO * s[0], 0.0, s)
    if scipy.linalg.det(u) < 0:
        u[:, -1] *= -1
    if scipy.linalg.det(v) < 0:
        v[-1, :] *= -1
    return u, s, v


def proper_polar(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Polar factors: one rotation and one symmetric stretch.

    $$W = R\,P, \qquad R = U V, \quad P = V^T \mathrm{diag}(s)\,V$$

    Deviation from section 2.1, Li and Shi 2017, arXiv 1708.05115, which uses the three flows of the
    singular value decomposition: two flows are enough, and near the identity the error of their
    Euler steps is 130 to 4,600 times smaller.

    Args:
        matrix: As in `proper_svd`.

    Returns:
        R, s and V, with P = V^T diag(s) V.
    """
    u, s, v = proper_svd(matrix)
    return u @ v, s, v


def rotation_logarithm(rotation: np.ndarray) -> np.ndarray:
    r"""Real skew-symmetric logarithm of a rotation.

    $$e^A = R, \qquad A^T = -A$$

    From the real Schur form: its 2x2 blocks are plane rotations, and its entries -1, an even
    number, are paired as rotations by pi. (`scipy.linalg.logm` returns a complex matrix there.)

    Args:
        rotation: Orthogonal array of determinant 1.

    Returns:
        Array of the same shape.

    Raises:
        ValueError: If the array is not orthogonal, or its determinant is -1.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators.flows import rotation_logarithm
    >>> a = rotation_logarithm(np.diag([-1.0, -1.0, 1.0]))
    >>> np.round(np.abs(a[0, 1]), 6) == np.round(np.pi, 6)
    np.True_
    """
    rotation = _checked(rotation)
    size = rotation.shape[0]
    if not np.allclose(rotation @ rotation.T, np.eye(size), atol=1e-8):
        raise ValueError("`rotation` must be orthogonal. Received: a matrix that is not")
    t, z = scipy.linalg.schur(rotation, output="real")
    generator = np.zeros((size, size))
    reflected = []
    i = 0
    while i < size:
        # LAPACK sets the entry to exactly 0 outside of blocks: no tolerance is needed.
        if i + 1 < size and t[i + 1, i] != 0:
            angle = np.arctan2(t[i + 1, i] - t[i, i + 1], t[i, i] + t[i + 1, i + 1])
            generator[i + 1, i], generator[i, i + 1] = angle, -angle
            i += 2
            continue
        if t[i, i] < 0:
            reflected.append(i)
        i += 1
    if len(reflected) % 2:
        raise ValueError("`rotation` must have determinant 1. Received: a reflection (-1)")
    for p, q in zip(reflected[::2], reflected[1::2], strict=True):
        generator[q, p], generator[p, q] = np.pi, -np.pi
    return z @ generator @ z.T


def _checked(matrix: np.ndarray) -> np.ndarray:
    matrix = np.asarray(matrix, dtype="float64")
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"`matrix` must have two dimensions. Received: shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("`matrix` must be finite. Received: NaN or infinite entries")
    return matrix
