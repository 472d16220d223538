"""Leading singular values of a batch of matrices given only by products with vectors."""

from collections.abc import Callable

import numpy as np

# A remainder below this share of the matrix's norm is rounding of float32 products.
_NOTHING = 1e-5

_Products = Callable[[np.ndarray], np.ndarray]


def leading_singular_values(
    push: _Products, pull: _Products, shape: tuple[int, int, int], count: int, steps: int, seed: int
) -> np.ndarray:
    r"""The largest singular values, by Golub-Kahan-Lanczos bidiagonalisation.

    $$J V = U B, \qquad J^T U = V B^T + \beta\, v\, e^T$$

    with orthonormal columns in U and V and B upper bidiagonal (Golub and Kahan 1965). The result is
    the singular values of $U^T J$, which are those of B with one more column for $\beta$. They do
    not exceed those of J, and equal them after as many steps as J has rows or columns. Each step
    orthogonalises twice against all vectors; at a breakdown it continues with a random vector, so
    that multiple singular values are found with their multiplicity.

    Args:
        push: Maps vectors of shape (matrices, columns), one per matrix, to J v.
        pull: Maps vectors of shape (matrices, rows) to J^T u.
        shape: Numbers of matrices, rows and columns.
        count: Number of singular values.
        steps: Products with each of J and J^T; at least `count`.
        seed: Seed of the first vectors.

    Returns:
        Array of shape (matrices, count), largest first; 0 beyond the size of the matrices.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators.lanczos import leading_singular_values
    >>> j = np.array([[[3.0, 0.0], [0.0, -4.0], [0.0, 0.0]]])
    >>> push = lambda v: np.einsum("nij,nj->ni", j, v)
    >>> pull = lambda u: np.einsum("nij,ni->nj", j, u)
    >>> leading_singular_values(push, pull, j.shape, 2, 5, 0).round(6)
    array([[4., 3.]])
    """
    number, rows, columns = shape
    steps = min(max(steps, count), rows, columns)
    rng = np.random.default_rng(seed)
    left, right = np.zeros((number, 0, rows)), np.zeros((number, 0, columns))
    band, size = np.zeros((number, steps, steps + 1)), np.zeros(number)
    vector = np.zeros((number, columns))  # zero: the first vector is random
    for step in range(steps):
        beta, right = _append(right, vector, size, rng)
        if step:
            band[:, step - 1, step] = beta
        alpha, left = _append(left, _numbers(push(right[:, -1])), size, rng)
        band[:, step, step] = alpha
        size = np.maximum(size, np.maximum(alpha, beta))
        vector = _numbers(pull(left[:, -1]))
    band[:, -1, -1], _ = _append(right, vector, size, rng)
    values = np.linalg.svd(band, compute_uv=False)[:, :count]
    return np.pad(values, [(0, 0), (0, count - values.shape[1])])


def _numbers(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors, "float64")


def _append(
    basis: np.ndarray, vector: np.ndarray, size: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Norm of a vector's component orthogonal to a basis, and the basis with its direction."""
    rest = _orthogonal(basis, vector)
    length = np.linalg.norm(rest, axis=-1)
    closed = length <= _NOTHING * size
    if closed.any():
        fresh = _orthogonal(basis, rng.normal(size=vector.shape))
        rest = np.where(closed[:, None], fresh, rest)
        length = np.where(closed, 0.0, length)
    # The random vector vanishes only if the basis is complete.
    norm = np.maximum(np.linalg.norm(rest, axis=-1, keepdims=True), 1e-300)
    return length, np.concatenate([basis, (rest / norm)[:, None]], axis=1)


def _orthogonal(basis: np.ndarray, vector: np.ndarray) -> np.ndarray:
    for _ in range(2):
        shares = np.einsum("nkd,nd->nk", basis, vector)
        vector = vector - np.einsum("nkd,nk->nd", basis, shares)
    return vector
