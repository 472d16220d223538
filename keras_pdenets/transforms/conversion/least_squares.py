"""Least squares in 64 bits, from sums over batches."""

import numpy as np
import scipy.linalg


class NormalEquations:
    r"""Sums that least squares of outputs on features need: $F^T F$, $F^T Y$ and means.

    Memory is that of the square of the number of features, whatever the number of rows. In NumPy
    on the host: JAX has no 64 bits unless told so, and in 32 the sums lose the digits that ridge
    needs.

    Args:
        features: Number of features.
        outputs: Number of outputs.
        centred: Whether a constant is fitted besides.
    """

    def __init__(self, features, outputs, centred):
        self.centred, self.rows = centred, 0
        self.gram = np.zeros((features, features))
        self.cross = np.zeros((features, outputs))
        self.energy = 0.0
        self._sums = np.zeros(features), np.zeros(outputs)

    def add(self, features, outputs):
        """Add rows of features and of outputs, in float64."""
        self.gram += features.T @ features
        self.cross += features.T @ outputs
        self.energy += float(np.vdot(outputs, outputs))
        self._sums = self._sums[0] + features.sum(0), self._sums[1] + outputs.sum(0)
        self.rows += len(features)

    def finish(self):
        """Take the means off, where a constant is fitted."""
        if self.centred:
            given, wanted = (part / self.rows for part in self._sums)
            self.gram -= self.rows * np.outer(given, given)
            self.cross -= self.rows * np.outer(given, wanted)
            self.energy -= self.rows * float(wanted @ wanted)
        return self

    def constant(self, solution):
        """The constant beside a solution: what the means of the outputs are off."""
        given, wanted = (part / self.rows for part in self._sums)
        return wanted - given @ solution if self.centred else np.zeros(len(wanted))

    def error(self, solution):
        """Energy of the error of a solution, relative to that of the outputs."""
        energy = np.vdot(solution, self.gram @ solution) - 2 * np.vdot(solution, self.cross)
        return max(float(energy) + self.energy, 0.0) / max(self.energy, 1e-300)


def ridge_solve(gram, cross, start, ridge):
    r"""The X of least $\|F X - Y\|^2 + \lambda \|X - X_0\|^2$.

    A start that is exact stays, and what the data do not tell is taken from it.

    Args:
        gram: $F^T F$.
        cross: $F^T Y$.
        start: $X_0$.
        ridge: $\lambda$, relative to the mean of the diagonal of `gram`.
    """
    weight = ridge * np.mean(np.diag(gram)) + 1e-300
    matrix = gram + weight * np.eye(len(gram))
    return start + scipy.linalg.solve(matrix, cross - gram @ start, assume_a="pos")
