"""A linear map as a flow: a stretch and rotations, split into steps."""

import functools
from dataclasses import dataclass

import numpy as np

from keras_pdenets.operators.flows.rotations import (
    embed,
    proper_polar,
    proper_svd,
    rotation_logarithm,
)
from keras_pdenets.operators.flows.schemes import SCHEMES, Scheme
from keras_pdenets.operators.flows.times import increments
from keras_pdenets.utils.checks import check_choice

# Rate of a zero singular value in schemes that need a finite one: e^-40 is 4e-18.
_BETA = 40.0
PAPER = "paper"
# For a matrix, backward Euler costs as much as Cayley's step and has half its order.
LINEAR_SCHEMES = (*(name for name in SCHEMES if name != "backward_euler"), PAPER)


@dataclass(frozen=True)
class LinearFlow:
    """Steps whose product is a matrix, in one dimension more.

    Args:
        steps: Matrices of the steps, each near the identity, in order.
        shape: Shape of the matrix itself, (m, n).
    """

    steps: tuple[np.ndarray, ...]
    shape: tuple[int, int]

    def product(self) -> np.ndarray:
        """The product of the steps, of shape (m, n)."""
        whole = functools.reduce(lambda product, step: step @ product, self.steps)
        return whole[: self.shape[0], : self.shape[1]]


def linear_flow(
    matrix: np.ndarray, steps: int, scheme: str = "exact", time: str = "linear"
) -> LinearFlow:
    r"""Split a linear map into steps of a stretch and steps of a rotation.

    $$W = R\,P, \quad x' = \log P\,x \ \text{then}\ x' = \log R\,x$$

    Section 2, Li and Shi 2017, arXiv 1708.05115, with the polar decomposition instead of the
    singular value decomposition (`proper_polar`). A zero singular value has no logarithm: the exact
    scheme uses powers, $P^{1/l}$, the others the rate -40.

    Args:
        matrix: W, of shape (m, n); columns are inputs.
        steps: Number of steps of each flow.
        scheme: One of `LINEAR_SCHEMES`; `"paper"`: three flows, of V, the singular values and U, by
            Euler's method with the increments $\alpha h'(\tau_r)$.
        time: Key of `TIMES`.

    Returns:
        A `LinearFlow` of 2 * steps matrices, 3 * steps for `"paper"`.

    Raises:
        ValueError: If the scheme is unknown, `steps` is below 1, or too small for the scheme to be
            stable; the message says how many are needed.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.operators.flows import linear_flow
    >>> w = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]])
    >>> flow = linear_flow(w, steps=8)
    >>> bool(np.abs(flow.product() - w).max() < 1e-13)
    True
    """
    paper = scheme == PAPER
    check_choice("scheme", scheme, LINEAR_SCHEMES)
    method = SCHEMES["euler" if paper else scheme]
    _, increment = increments(time, steps, paper)
    shape = (np.shape(matrix)[0], np.shape(matrix)[1])
    square, before = embed(matrix), []
    if paper:
        last, s, first = proper_svd(square)
        before, basis = _turns(method, first, increment), np.eye(len(square))
    else:
        last, s, basis = proper_polar(square)
    rates = np.log(np.where(s > 0, s, np.exp(-_BETA)))
    if not paper:
        # The extra dimension is zero: it need not decay.
        unreached = (s == 0) & (np.abs(basis[:, : shape[1]]).max(axis=1) < 1e-9)
        rates = np.where(unreached, 0.0, rates)
    after = _turns(method, last, increment)
    stretches = _stretches(method, s, rates, basis, increment, time, paper)
    return LinearFlow((*before, *stretches, *after), shape)


def _turns(method: Scheme, rotation: np.ndarray, increment: np.ndarray) -> list[np.ndarray]:
    """Steps of a rotation."""
    generator = rotation_logarithm(rotation)
    known = {step: method.step(generator, step) for step in set(increment.tolist())}
    return [known[step] for step in increment.tolist()]


def _stretches(
    method: Scheme,
    s: np.ndarray,
    rates: np.ndarray,
    basis: np.ndarray,
    increment: np.ndarray,
    time: str,
    paper: bool,
) -> list[np.ndarray]:
    """Steps of the stretch V^T diag(s) V."""
    if method.order is not None:
        needed, worst = max(
            (method.smallest_stable(float(rate), time, paper, len(increment)), float(rate))
            for rate in rates
        )
        if len(increment) < needed:
            name = PAPER if paper else method.name
            raise ValueError(
                f"`steps` must be at least {needed} for {name!r} here: with fewer a "
                f"stretch with the rate {worst:.3g} is unstable. Received: steps={len(increment)}"
            )
        growth = [[method.growth(step * rate) for rate in rates] for step in increment]
    else:
        growth = [s**step for step in increment]
    return [(basis.T * np.asarray(factors)) @ basis for factors in growth]
