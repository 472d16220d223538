"""Explicit Runge-Kutta schemes as data that check themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RungeKutta:
    r"""An explicit scheme whose every stage looks back at one stage only.

    $$k_1 = F(x), \qquad k_i = F(x + h\,c_{i-1}\,k_{i-1}), \qquad x' = x + h \sum_i b_i k_i$$

    Construction checks the conditions of the declared order (Hairer, Norsett and Wanner 1993,
    section II.1), so a mistyped row cannot exist.

    Args:
        name: Its name.
        order: Order of its error in h at a fixed time, at most 4.
        nodes: c, one less than stages.
        weights: b.

    Raises:
        ValueError: If the coefficients are not of that order.

    Example:
    >>> from keras_pdenets.operators.runge_kutta import RUNGE_KUTTA
    >>> x = RUNGE_KUTTA["rk4"].step(lambda x: -x, 1.0, 0.5)
    >>> round(x, 6)  # exp(-0.5) = 0.606531
    0.606771
    """

    name: str
    order: int
    nodes: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        """Compare the sums over all trees with up to `order` vertices with what they must be."""
        b, a = np.array(self.weights), np.diag(self.nodes, -1)
        c = a.sum(axis=1)
        conditions = (
            (1, b.sum(), 1), (2, b @ c, 1 / 2), (3, b @ c**2, 1 / 3), (3, b @ a @ c, 1 / 6),
            (4, b @ c**3, 1 / 4), (4, (b * c) @ a @ c, 1 / 8), (4, b @ a @ c**2, 1 / 12),
            (4, b @ a @ a @ c, 1 / 24),
        )  # fmt: skip
        for order, found, wanted in conditions:
            if order <= self.order and not np.isclose(found, wanted):
                raise ValueError(
                    f"`order` must be that of the coefficients of {self.name!r}. Received: "
                    f"order={self.order}, and {found} where order {order} needs {wanted}"
                )

    def step(self, function: Callable[[Any], Any], x: Any, h: float) -> Any:
        """One step of size h of x' = F(x), from an array x."""
        k = function(x)
        total = self.weights[0] * k
        for node, weight in zip(self.nodes, self.weights[1:], strict=True):
            k = function(x + h * node * k)
            total = total + weight * k
        return x + h * total


RUNGE_KUTTA = {
    scheme.name: scheme
    for scheme in (
        RungeKutta("midpoint", 2, nodes=(1 / 2,), weights=(0.0, 1.0)),
        RungeKutta("rk4", 4, nodes=(1 / 2, 1 / 2, 1.0), weights=(1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    )
}
