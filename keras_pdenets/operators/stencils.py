"""Finite-difference stencils on the 3x3 neighbourhood, checked on construction.

A stencil is a cross-correlation kernel indexed `[row, column]`: rows run down (y), columns to the
right (x), and the grid spacing is 1 pixel.
"""

from dataclasses import dataclass, field
from math import factorial

import numpy as np

_OFFSETS = np.array([-1.0, 0.0, 1.0])


def moment_weights(i: int, j: int) -> np.ndarray:
    """x^i y^j / (i! j!) at the nine pixels around the origin, indexed `[row, column]`."""
    return np.outer(_OFFSETS**j, _OFFSETS**i) / (factorial(i) * factorial(j))


@dataclass(frozen=True)
class Stencil:
    r"""A 3x3 kernel that approximates a multiple of one partial derivative.

    $$\sum_{i,j} K_{ij}\, u(x+j, y+i) = s\, \partial_x^m \partial_y^n u + O(h^{p})$$

    with `derivative = (m, n)`, `scale = s` and `order = p`. Construction checks that the kernel
    has the moments that this requires (Taylor's theorem), so a mistyped row cannot exist.

    Args:
        name: Short name, as in a formula.
        column: The 1-D factor along y (three numbers).
        row: The 1-D factor along x (three numbers).
        derivative: Orders `(m, n)` of the derivative in x and in y.
        scale: The factor s.
        order: Order of accuracy p in the grid spacing.

    Raises:
        ValueError: If the moments contradict `derivative`, `scale` or `order`.

    Example:
    >>> from keras_pdenets.operators.stencils import PDE_STENCILS
    >>> [s.name for s in PDE_STENCILS]
    ['dxx', 'dyy', 'dxy', 'dx', 'dy', 'id']
    """

    name: str
    column: tuple[float, float, float]
    row: tuple[float, float, float]
    derivative: tuple[int, int]
    scale: float
    order: int
    kernel: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the outer product and check all moments that the declared order determines."""
        object.__setattr__(self, "kernel", np.outer(self.column, self.row))
        m, n = self.derivative
        for degree in range(m + n + self.order):
            for i in range(degree + 1):
                wanted = self.scale if (i, degree - i) == (m, n) else 0.0
                found = self.moment(i, degree - i)
                if not np.isclose(found, wanted):
                    raise ValueError(
                        f"Stencil `{self.name}` must have moment x^{i} y^{degree - i} = {wanted} "
                        f"to be {self.scale} d^{m}x d^{n}y of order {self.order}. Received: {found}"
                    )

    def moment(self, i: int, j: int) -> float:
        """The kernel applied to x^i y^j / (i! j!) at the origin."""
        return float((self.kernel * moment_weights(i, j)).sum())


_CENTRE, _SECOND, _FIRST = (0.0, 1.0, 0.0), (1.0, -2.0, 1.0), (-1.0, 0.0, 1.0)

# The order of the first six rows is the order of the products in `pde.pde_coefficients`.
# The first differences are not halved in Yin et al.: they are 2x (mixed: 4x) the derivative.
STENCILS = (
    Stencil("dxx", column=_CENTRE, row=_SECOND, derivative=(2, 0), scale=1.0, order=2),
    Stencil("dyy", column=_SECOND, row=_CENTRE, derivative=(0, 2), scale=1.0, order=2),
    Stencil("dxy", column=_FIRST, row=_FIRST, derivative=(1, 1), scale=4.0, order=2),
    Stencil("dx", column=_CENTRE, row=_FIRST, derivative=(1, 0), scale=2.0, order=2),
    Stencil("dy", column=_FIRST, row=_CENTRE, derivative=(0, 1), scale=2.0, order=2),
    Stencil("id", column=_CENTRE, row=_CENTRE, derivative=(0, 0), scale=1.0, order=2),
    Stencil("dxxy", column=_FIRST, row=_SECOND, derivative=(2, 1), scale=2.0, order=2),
    Stencil("dxyy", column=_SECOND, row=_FIRST, derivative=(1, 2), scale=2.0, order=2),
    Stencil("dxxyy", column=_SECOND, row=_SECOND, derivative=(2, 2), scale=1.0, order=2),
)
PDE_STENCILS = STENCILS[:6]  # those of Eq. (44); with the other three they span all 3x3 kernels
