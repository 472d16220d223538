"""Schemes for x' = F(x) as data that check themselves, and their steps of a linear flow."""

import functools
from dataclasses import dataclass

import numpy as np
import scipy  # which imports its parts when they are used

from keras_pdenets.operators.flows.times import increments


@dataclass(frozen=True)
class Scheme:
    r"""A Runge-Kutta method whose every stage looks back at itself and one stage at most.

    $$k_i = F(x + h\,c_{i-1}\,k_{i-1} + h\,d\,k_i), \qquad x' = x + h \sum_i b_i k_i$$

    For a linear F it is a rational function, its stability function R:

    $$x_{r+1} = R(\Delta h A)\,x_r, \qquad R(z) = \frac{p_0 + p_1 z + \dots}{q_0 + q_1 z + \dots}$$

    Construction checks the conditions of the declared order (Hairer, Norsett and Wanner 1993,
    section II.1), so a mistyped row cannot exist.

    Args:
        name: Its name.
        order: Order of its error in h at a fixed time, at most 4, or None for the exponential
            itself, which linear flows alone have.
        nodes: c, one less than stages.
        weights: b.
        diagonal: d; 0 for explicit schemes.

    Raises:
        ValueError: If the coefficients are not of that order.

    Example:
    >>> from keras_pdenets.operators.flows import SCHEMES
    >>> SCHEMES["midpoint"].growth(-0.5)
    0.625
    """

    name: str
    order: int | None
    nodes: tuple[float, ...] = ()
    weights: tuple[float, ...] = (1.0,)
    diagonal: float = 0.0

    def __post_init__(self) -> None:
        """Compare the sums over all trees with up to `order` vertices with what they must be."""
        if self.order is None:
            return
        a, b = self._tableau()
        c = a.sum(axis=1)
        conditions = (
            (1, b.sum(), 1), (2, b @ c, 1 / 2), (3, b @ c**2, 1 / 3), (3, b @ a @ c, 1 / 6),
            (4, b @ c**3, 1 / 4), (4, (b * c) @ a @ c, 1 / 8), (4, b @ a @ c**2, 1 / 12),
            (4, b @ a @ a @ c, 1 / 24), (5, b @ a @ a @ a @ c, 1 / 120),
        )  # fmt: skip
        wrong = [
            (k, found, wanted) for k, found, wanted in conditions if abs(found - wanted) > 1e-9
        ]
        if not wrong or wrong[0][0] != self.order + 1:
            order, found, wanted = wrong[0] if wrong else conditions[-1]
            raise ValueError(
                f"`order` must be that of the coefficients of {self.name!r}. Received: "
                f"order={self.order}, and {found} where order {order} needs {wanted}"
            )

    @property
    def explicit(self) -> bool:
        """Whether a step needs no equation to be solved."""
        return self.order is not None and self.diagonal == 0

    def _tableau(self) -> tuple[np.ndarray, np.ndarray]:
        """The matrix of the coefficients of all stages, and the weights."""
        b = np.array(self.weights)
        return np.diag(self.nodes, -1) + self.diagonal * np.eye(len(b)), b

    @functools.cached_property
    def _polynomials(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of the numerator p and the denominator q of R, the constant first."""
        a, b = self._tableau()
        # det(1 - z a), times the series of R
        q = np.poly(a)
        powers = [np.linalg.matrix_power(a, k) for k in range(len(b))]
        series = [1.0, *(float(b @ power @ np.ones(len(b))) for power in powers)]
        p = np.convolve(q, series)[: len(series)]
        return np.trim_zeros(p, "b"), np.trim_zeros(q, "b")

    def growth(self, z: float) -> float:
        """R(z): the factor of a component with the eigenvalue z in one step."""
        if self.order is None:
            return float(np.exp(z))
        with np.errstate(divide="ignore"):
            p, q = (np.polyval(part[::-1], z) for part in self._polynomials)
            return float(p / q)

    def step(self, generator: np.ndarray, increment: float) -> np.ndarray:
        """R(increment * generator), the matrix of one step.

        Args:
            generator: A, of shape (d, d).
            increment: Length of the step in h.
        """
        scaled = increment * generator
        if self.order is None:
            return scipy.linalg.expm(scaled)
        p, q = (_polynomial(part, scaled) for part in self._polynomials)
        return np.linalg.solve(q, p)

    def smallest_stable(
        self,
        rate: float,
        time: str = "linear",
        paper: bool = False,
        start: int = 1,
        largest: int = 100_000,
    ) -> int:
        """Smallest number of steps, from `start` on, that keep a stretch e^rate a stretch.

        A step must neither flip the sign, nor reach a pole, nor make what decays grow.

        Args:
            rate: Eigenvalue of the generator of a stretch.
            time: As in `increments`.
            paper: As in `increments`.
            start: Where the search begins.
            largest: Where it ends.

        Raises:
            ValueError: If no number up to `largest` will do.
        """

        def stable(steps: int) -> bool:
            step = increments(time, steps, paper)[1]
            return self._stable(rate * step.min()) and self._stable(rate * step.max())

        if stable(start):
            return start
        low, high = start, 2 * start
        while not stable(high):
            low, high = high, 2 * high
            if high > largest:
                raise ValueError(
                    f"`rate` needs more than {largest} steps of {self.name!r}. "
                    f"Received: rate={rate:.3g}"
                )
        while high - low > 1:  # next to 0 every scheme is: R(0) = 1, R'(0) = 1
            middle = (low + high) // 2
            low, high = (low, middle) if stable(middle) else (middle, high)
        return high

    def _stable(self, z: float) -> bool:
        poles = np.roots(self._polynomials[1][::-1]) if self.order is not None else ()
        if any(pole.real <= z for pole in poles if pole.real > 0):
            return False
        return self.growth(z) > 0 and (z > 0 or self.growth(z) <= 1.0 + 1e-12)


def _polynomial(coefficients: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    result = np.zeros_like(matrix)
    for coefficient in reversed(coefficients):
        result = result @ matrix + coefficient * np.eye(len(matrix))
    return result


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("euler", 1),
        Scheme("midpoint", 2, nodes=(1 / 2,), weights=(0.0, 1.0)),
        Scheme("rk4", 4, nodes=(1 / 2, 1 / 2, 1.0), weights=(1 / 6, 1 / 3, 1 / 3, 1 / 6)),
        Scheme("backward_euler", 1, diagonal=1.0),
        Scheme("cayley", 2, diagonal=1 / 2),
        Scheme("exact", None),
    )
}
