"""Groups of matrices that act on the channels of a feature map."""

from dataclasses import dataclass

import numpy as np

# From the smallest to the largest.
_PATTERNS = ("diagonal", "monomial", "all")
_NAMES = {
    ("all", True, True): "GL(n)",
    ("all", False, True): "O(n)",
    ("monomial", True, True): "monomial",
    ("monomial", True, False): "positive monomial",
    ("monomial", False, True): "signed permutation",
    ("monomial", False, False): "permutation",
    ("diagonal", True, True): "diagonal",
    ("diagonal", True, False): "positive diagonal",
    ("diagonal", False, True): "change of signs",
    ("diagonal", False, False): "identity",
}


@dataclass(frozen=True)
class Group:
    """A group of invertible matrices.

    Args:
        pattern: Where a matrix may have entries: `"all"`, `"monomial"` (one in each row and each
            column) or `"diagonal"`.
        scales: Whether lengths may change.
        signs: Whether entries may be negative. With `pattern="all"` they always may.
    """

    pattern: str = "all"
    scales: bool = True
    signs: bool = True

    @property
    def name(self) -> str:
        """The usual name."""
        return _NAMES[self.pattern, self.scales, self.signs]

    def __and__(self, other: "Group") -> "Group":
        """The matrices that are in both groups."""
        return Group(
            min(self.pattern, other.pattern, key=_PATTERNS.index),
            self.scales and other.scales,
            self.signs and other.signs,
        )

    def distance(self, matrix: np.ndarray) -> float:
        """Distance of a matrix from the group: 0 inside, else the largest offending entry."""
        matrix = np.asarray(matrix, dtype="float64")
        if self.pattern == "all":
            if self.scales:
                return 0.0
            return float(np.abs(matrix @ matrix.T - np.eye(len(matrix))).max())
        columns = np.arange(len(matrix))
        if self.pattern == "monomial":
            columns = np.abs(matrix).argmax(axis=1)
        rest = matrix.copy()
        rest[np.arange(len(matrix)), columns] = 0.0
        entries = matrix[np.arange(len(matrix)), columns]
        offences = [np.abs(rest).max()]
        if len(set(columns.tolist())) < len(matrix):
            offences.append(np.abs(entries).max())
        if not self.signs:
            offences.append(-entries.min())
        if not self.scales:
            offences.append(np.abs(np.abs(entries) - 1.0).max())
        return float(max(0.0, *offences))

    def random(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """A random element of the group, with a condition number of at most 4."""
        lengths = rng.uniform(0.5, 2.0, size) if self.scales else np.ones(size)
        if self.pattern == "all":
            left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(2))
            return (left * lengths) @ right
        if self.signs:
            lengths = lengths * rng.choice([-1.0, 1.0], size)
        order = rng.permutation(size) if self.pattern == "monomial" else np.arange(size)
        return np.diag(lengths)[order]


GENERAL_LINEAR = Group()
ORTHOGONAL = Group(scales=False)
MONOMIAL = Group("monomial")
POSITIVE_MONOMIAL = Group("monomial", signs=False)
SIGNED_PERMUTATION = Group("monomial", scales=False)
DIAGONAL = Group("diagonal")
IDENTITY = Group("diagonal", scales=False, signs=False)
