"""One step of a linear flow x' = A x: rational functions, as data."""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # which imports its parts when they are used

from keras_pdenets.operators.flows.times import increments


@dataclass(frozen=True)
class Scheme:
    r"""A one-step method by its stability function.

    $$x_{r+1} = R(\Delta h A)\,x_r, \qquad R(z) = \frac{p_0 + p_1 z + \dots}{q_0 + q_1 z + \dots}$$

    Args:
        name: Its name.
        order: Largest k with R(z) = e^z + O(z^(k+1)), or None for the exponential itself; checked
            when it is made.
        numerator: p, the constant first.
        denominator: q.

    Raises:
        ValueError: If the coefficients are not of that order.

    Example:
    >>> from keras_pdenets.operators.flows import SCHEMES
    >>> SCHEMES["midpoint"].growth(-0.5)
    0.625
    """

    name: str
    order: int | None
    numerator: tuple[float, ...] = (1.0,)
    denominator: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Compare p with q e^z, coefficient by coefficient."""
        if self.order is None:
            return
        for k in range(self.order + 2):
            given = self.numerator[k] if k < len(self.numerator) else 0.0
            wanted = sum(q / math.factorial(k - i) for i, q in enumerate(self.denominator[: k + 1]))
            if (abs(given - wanted) < 1e-12) != (k <= self.order):
                raise ValueError(
                    f"`order` must be that of the coefficients. Received: order={self.order} for "
                    f"{self.name!r}, whose z^{k} has {given} where e^z has {wanted}"
                )

    def growth(self, z: float) -> float:
        """R(z): the factor of a component with the eigenvalue z in one step."""
        if self.order is None:
            return float(np.exp(z))
        with np.errstate(divide="ignore"):
            return float(
                np.polyval(self.numerator[::-1], z) / np.polyval(self.denominator[::-1], z)
            )

    def step(self, generator: np.ndarray, increment: float) -> np.ndarray:
        """R(increment * generator), the matrix of one step.

        Args:
            generator: A, of shape (d, d).
            increment: Length of the step in h.
        """
        scaled = increment * generator
        if self.order is None:
            return scipy.linalg.expm(scaled)
        return np.linalg.solve(
            _polynomial(self.denominator, scaled), _polynomial(self.numerator, scaled)
        )

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
        if any(root.real <= z for root in np.roots(self.denominator[::-1]) if root.real > 0):
            return False
        return self.growth(z) > 0 and (z > 0 or self.growth(z) <= 1.0 + 1e-12)


def _polynomial(coefficients: tuple[float, ...], matrix: np.ndarray) -> np.ndarray:
    result = np.zeros_like(matrix)
    for coefficient in reversed(coefficients):
        result = result @ matrix + coefficient * np.eye(len(matrix))
    return result


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("euler", 1, (1.0, 1.0)),
        Scheme("midpoint", 2, (1.0, 1.0, 1 / 2)),
        Scheme("rk4", 4, (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24)),
        Scheme("cayley", 2, (1.0, 1 / 2), (1.0, -1 / 2)),
        Scheme("exact", None),
    )
}
