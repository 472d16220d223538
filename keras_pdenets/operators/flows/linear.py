"""A linear map as a flow: a stretch, then a rotation, cut into steps."""

from dataclasses import dataclass

import numpy as np

from keras_pdenets.operators.flows.rotations import embed, proper_polar, rotation_logarithm
from keras_pdenets.operators.flows.schemes import SCHEMES, Scheme

# Rate of a singular value 0 in schemes that need a finite one: e^-40 is 4e-18.
_BETA = 40.0


@dataclass(frozen=True)
class LinearFlow:
    """Steps whose product is a matrix, in one dimension more than it has.

    Args:
        steps: Matrices of the steps, each near the identity, first step first.
        shape: Shape of the matrix itself, (m, n).
        rotation_rates: Angles of the rotation, in radians.
        stretch_rates: Logarithms of the singular values.
    """

    steps: tuple[np.ndarray, ...]
    shape: tuple[int, int]
    rotation_rates: tuple[float, ...]
    stretch_rates: tuple[float, ...]

    def product(self) -> np.ndarray:
        """The matrix that the steps make together, of shape (m, n)."""
        whole = self.steps[0]
        for step in self.steps[1:]:
            whole = step @ whole
        return whole[: self.shape[0], : self.shape[1]]


def linear_flow(matrix: np.ndarray, steps: int, scheme: str = "exact") -> LinearFlow:
    r"""Cut a linear map into steps of a stretch and steps of a rotation.

    $$W = R\,P, \quad x' = \log P\,x \ \text{then}\ x' = \log R\,x$$

    Section 2, Li and Shi 2017, arXiv 1708.05115, with the polar in place of the singular value
    decomposition (`proper_polar`). A singular value 0 has no logarithm: the exact scheme takes
    powers, $P^{1/l}$, others the rate -40.

    Args:
        matrix: W, of shape (m, n); columns are inputs.
        steps: Number of steps of each of the two flows.
        scheme: Key of `SCHEMES`.

    Returns:
        A `LinearFlow` of 2 * steps matrices.

    Raises:
        ValueError: If the scheme is unknown, `steps` is below 1, or the scheme is not stable with
            so few steps: the message says how many it takes.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators.flows import linear_flow
    >>> w = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]])
    >>> flow = linear_flow(w, steps=8)
    >>> bool(np.abs(flow.product() - w).max() < 1e-13)
    True
    """
    if scheme not in SCHEMES:
        raise ValueError(f"`scheme` must be one of {', '.join(SCHEMES)}. Received: {scheme!r}")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"`steps` must be a positive integer. Received: steps={steps!r}")
    method = SCHEMES[scheme]
    shape = tuple(np.shape(matrix))
    rotation, s, v = proper_polar(embed(matrix))
    generator = rotation_logarithm(rotation)
    rates = np.log(np.where(s > 0, s, np.exp(-_BETA)))
    angles = np.abs(np.linalg.eigvals(generator).imag)
    # The extra dimension that no input reaches need not decay.
    rates = np.where((s == 0) & (np.abs(v[:, : shape[1]]).max(axis=1) < 1e-9), 0.0, rates)
    factors = _stretch(method, s, rates, steps)
    stretch = (v.T * factors) @ v
    turn = method.step(generator, 1.0 / steps)
    return LinearFlow(
        (stretch,) * steps + (turn,) * steps,
        (shape[0], shape[1]),
        tuple(map(float, angles)),
        tuple(map(float, rates)),
    )


def _stretch(method: Scheme, s: np.ndarray, rates: np.ndarray, steps: int) -> np.ndarray:
    """Factor of each direction in one step of the stretch."""
    if method.order is None:
        return s ** (1.0 / steps)
    needed, worst = max((method.smallest_stable(float(rate)), float(rate)) for rate in rates)
    if steps < needed:
        raise ValueError(
            f"`steps` must be at least {needed} for {method.name!r} here: fewer do not follow a "
            f"stretch with the rate {worst:.3g}. Received: steps={steps}"
        )
    return np.array([method.step(np.array([[rate]]), 1.0 / steps)[0, 0] for rate in rates])
