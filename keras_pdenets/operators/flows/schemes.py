"""Runge-Kutta schemes for x' = F(x), checked on construction, and their steps of linear flows."""

import functools
from dataclasses import dataclass

import numpy as np
import scipy  # imports its submodules lazily

from keras_pdenets.operators.flows.times import increments


@dataclass(frozen=True)
class Scheme:
    r"""A Runge-Kutta method whose stages depend on themselves and the stage before only.

    $$k_i = F(x + h\,c_{i-1}\,k_{i-1} + h\,d\,k_i), \qquad x' = x + h \sum_i b_i k_i$$

    For a linear F a step is a rational function of A, the stability function R:

    $$x_{r+1} = R(\Delta h A)\,x_r, \qquad R(z) = \frac{p_0 + p_1 z + \dots}{q_0 + q_1 z + \dots}$$

    Construction checks the conditions of the declared order (Hairer, Norsett and Wanner 1993,
    section II.1), so a mistyped row cannot exist.

    Args:
        name: Its name.
        order: Order of convergence, at most 4, or None for the exponential itself, which exists
            for linear flows only.
        nodes: c, one fewer than stages.
        weights: b.
        diagonal: d; 0 for explicit schemes.

    Raises:
        ValueError: If the coefficients do not have that order.

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
        """Check the order conditions of all rooted trees with up to `order` vertices."""
        if self.order is None:
            return
        a, b = self._tableau()
        c = a.sum(axis=1)
        conditions = (
            (1, b.sum(), 1), (2, b @ c, 1 / 2), (3, b @ c**2, 1 / 3), (3, b @ a @ c, 1 / 6),
            (4, b @ c**3, 1 / 4), (4, (b * c) @ a @ c, 1 / 8), (4, b @ a @ c**2, 1 / 12),
            (4, b @ a @ a @ c, 1 / 24), (5, b @ a @ a @ a @ c, 1 / 120),
        )  # fmt: skip
        wrong = [row for row in conditions if abs(row[1] - row[2]) > 1e-9]
        if not wrong or wrong[0][0] != self.order + 1:
            order, found, wanted = wrong[0] if wrong else conditions[-1]
            raise ValueError(
                f"`order` must be that of the coefficients of {self.name!r}. Received: "
                f"order={self.order}, and {found} where order {order} needs {wanted}"
            )

    @property
    def explicit(self) -> bool:
        """Whether a step requires no equation to be solved."""
        return self.order is not None and self.diagonal == 0

    def _tableau(self) -> tuple[np.ndarray, np.ndarray]:
        """Butcher matrix and weights."""
        b = np.array(self.weights)
        return np.diag(self.nodes, -1) + self.diagonal * np.eye(len(b)), b

    @functools.cached_property
    def _polynomials(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of the numerator p and the denominator q of R, constant first."""
        a, b = self._tableau()
        # q is det(1 - z a); p is q times the series of R
        q = np.poly(a)
        powers = [np.linalg.matrix_power(a, k) for k in range(len(b))]
        series = [1.0, *(float(b @ power @ np.ones(len(b))) for power in powers)]
        p = np.convolve(q, series)[: len(series)]
        return np.trim_zeros(p, "b"), np.trim_zeros(q, "b")

    def growth(self, z: float) -> float:
        """R(z): the factor by which a step multiplies a component with eigenvalue z."""
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
        """Smallest number of steps, from `start` on, that is stable for a stretch e^rate.

        A step must not flip the sign, reach a pole, or make a decaying component grow.

        Args:
            rate: Eigenvalue of the stretch's generator.
            time: As in `increments`.
            paper: As in `increments`.
            start: Start of the search.
            largest: End of the search.

        Raises:
            ValueError: If no number up to `largest` is stable.
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
        while high - low > 1:  # near 0 every scheme is stable: R(0) = 1, R'(0) = 1
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
