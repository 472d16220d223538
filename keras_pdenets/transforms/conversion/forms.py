"""The operators that a convolution can become, each with its least squares."""

import numpy as np
import scipy.linalg
from keras import layers

from keras_pdenets.layers import DecomposedConv2D, PDEConv2D
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.operators import pde_orthonormal_basis
from keras_pdenets.transforms.conversion.least_squares import ridge_solve


def common(layer):
    """Arguments that a new layer has from the convolution."""
    return {"data_format": layer.data_format, "dtype": layer.dtype_policy}


class PDEForm:
    """Six free coordinates for every pair of channels; all of a layer are solved for together.

    `arrays` has what was found.

    Args:
        target: The `Target`.
        share: Of no meaning here.
    """

    name = "pde"

    def __init__(self, target, share=None):
        self.target = target
        *_, self.channels, self.filters = target.shape
        self.arrays = {}
        # (6, 3, 3) -> (6, 9)
        self._basis = pde_orthonormal_basis().reshape(6, 9)

    @property
    def unknowns(self):
        """Numbers to be found for each filter."""
        return 6 * self.channels

    @property
    def parameters(self):
        """Numbers of all kernels."""
        return 6 * self.channels * self.filters

    @property
    def products(self):
        """Products for one place of the output."""
        return 9 * self.channels * self.filters

    def features(self, patches):
        """(places, 9, n) -> (places, 6 n): the derivatives of every channel."""
        return np.matmul(self._basis, patches).reshape(len(patches), -1)

    def solve(self, normal, ridge):
        """Find the coordinates; the start is the nearest operator to the kernel."""
        kernel = as_float64(self.target.layer.kernel).reshape(9, -1)
        start = (self._basis @ kernel).reshape(-1, self.filters)
        solution = ridge_solve(normal.gram, normal.cross, start, ridge)
        self.arrays = {"coordinates": solution}
        return solution

    def kernel(self):
        """The kernel, (3, 3, n, o)."""
        coordinates = self.arrays["coordinates"].reshape(6, -1)
        return (self._basis.T @ coordinates).reshape(3, 3, self.channels, self.filters)

    def layer(self):
        """The new layer, and what its weights will be besides a bias."""
        old = self.target.layer
        new = PDEConv2D(
            old.filters, old.strides[0], form="linear", use_bias=old.use_bias, name=old.name,
            **common(old),
        )  # fmt: skip
        return [new], [[self.arrays["coordinates"].reshape(6, self.channels, self.filters)]]


class DecomposedForm:
    r"""A kernel along the rows, then one along the columns: $K_{h w n o} = \sum_m U_{wnm} V_{hmo}$.

    The start is the singular value decomposition of the kernel, its rows weighted with the root of
    the covariance of the inputs; V by least squares on the outputs, then U and V in turn. `arrays`
    has what was found.

    Args:
        target: The `Target`.
        share: Channels between the two, relative to the filters.
        kernel: The kernel of one group; None: that of the convolution.
    """

    name = "decomposed"

    def __init__(self, target, share=1.0, kernel=None):
        self.target = target
        self._kernel = as_float64(target.layer.kernel) if kernel is None else kernel
        self.height, self.width, self.channels, self.filters = self._kernel.shape
        self.arrays = {}
        most = min(self.width * self.channels, self.height * self.filters)
        self.middle = max(1, min(round(share * self.filters), most))

    @property
    def unknowns(self):
        """Numbers to be found for each filter."""
        return self.height * self.width * self.channels

    @property
    def parameters(self):
        """Numbers of both kernels."""
        return self.middle * (self.width * self.channels + self.height * self.filters)

    @property
    def products(self):
        """Products for one place of the output: the rows between strides are computed too."""
        rows = self.target.layer.strides[0] * self.width * self.channels
        return self.middle * (rows + self.height * self.filters)

    def features(self, patches):
        """(places, points, n) -> (places, points n)."""
        return patches.reshape(len(patches), -1)

    def solve(self, normal, ridge, sweeps=2):
        """Find both kernels."""
        gram = normal.gram.reshape(self.height, self.unknowns // self.height, self.height, -1)
        self.arrays["rows"], start = self._decompose(gram)
        self.arrays["columns"] = self._solve_columns(normal, start, ridge)
        for _ in range(sweeps):
            self._improve_rows(normal)
            self.arrays["columns"] = self._solve_columns(normal, self.arrays["columns"], ridge)
        return self._whole()

    def _decompose(self, gram):
        """The leading part of the kernel, in the metric of the rows that the inputs have."""
        covariance = np.einsum("hahb->ab", gram)
        floor = 1e-6 * np.mean(np.diag(covariance)) + 1e-300
        values, vectors = np.linalg.eigh(covariance + floor * np.eye(len(covariance)))
        values = np.sqrt(np.maximum(values, floor))
        # (h, w, n, o) -> (w n, h o)
        matrix = self._kernel.transpose(1, 2, 0, 3).reshape(self.width * self.channels, -1)
        weighted = (vectors * values) @ (vectors.T @ matrix)
        left, sizes, right = scipy.linalg.svd(weighted, full_matrices=False)
        rows = (vectors / values) @ (vectors.T @ left[:, : self.middle])
        columns = sizes[: self.middle, None] * right[: self.middle]
        # As large as one another: single precision has the same digits for both.
        scale = np.linalg.norm(rows, axis=0) + 1e-300
        return rows / scale, self._by_rows(columns * scale[:, None])

    def _by_rows(self, columns):
        """(m, h o) -> (h m, o)."""
        shape = (self.middle, self.height, self.filters)
        return columns.reshape(shape).transpose(1, 0, 2).reshape(-1, self.filters)

    def _solve_columns(self, normal, start, ridge):
        along = self._on_rows(normal.gram, self.arrays["rows"])
        gram = self._on_rows(along.T, self.arrays["rows"])
        cross = self._on_rows(normal.cross.T, self.arrays["rows"]).T
        return ridge_solve((gram + gram.T) / 2, cross, start, ridge)

    def _on_rows(self, matrix, rows):
        """(k, h w n), (w n, m) -> (k, h m): a matrix times the rows' kernel at every height."""
        return (matrix.reshape(-1, len(rows)) @ rows).reshape(len(matrix), -1)

    def _improve_rows(self, normal, steps=10):
        """Conjugate gradients on U, whose own normal equations would be too many."""
        columns = self.arrays["columns"].reshape(self.height, self.middle, self.filters)

        def back(matrix):
            # (h, w n, o), (h, m, o) -> (w n, m)
            matrix = matrix.reshape(self.height, -1, self.filters)
            return sum(part @ side.T for part, side in zip(matrix, columns, strict=True))

        def curve(rows):
            return back(self._on_rows(normal.gram, rows) @ self.arrays["columns"])

        rest = back(normal.cross) - curve(self.arrays["rows"])
        step, size = rest, float(np.vdot(rest, rest))
        # Of an exact start nothing but rounding is left, which is no direction.
        least = 1e-16 * float(np.sum(back(normal.cross) ** 2))
        for _ in range(steps):
            if size <= least:
                break
            curved = curve(step)
            length = size / max(float(np.vdot(step, curved)), 1e-300)
            self.arrays["rows"] = self.arrays["rows"] + length * step
            rest = rest - length * curved
            size, before = float(np.vdot(rest, rest)), size
            step = rest + (size / before) * step

    def _whole(self):
        """(h w n, o)."""
        columns = self.arrays["columns"].reshape(self.height, self.middle, self.filters)
        return np.concatenate([self.arrays["rows"] @ side for side in columns])

    def kernel(self):
        """The kernel, (h, w, n, o)."""
        return self._whole().reshape(self._kernel.shape)

    def pair(self):
        """Both kernels: (1, w, n, m) and (h, 1, m, o)."""
        return (
            self.arrays["rows"].reshape(1, self.width, self.channels, self.middle),
            self.arrays["columns"].reshape(self.height, 1, self.middle, self.filters),
        )

    def layer(self):
        """The new layer or layers, and what their weights will be besides a bias."""
        old, (rows, columns) = self.target.layer, self.pair()
        if self.target.alignment is None:
            return convolutions(old, rows, columns)
        new = DecomposedConv2D(
            old.filters, self.middle, old.strides[0], use_bias=old.use_bias, name=old.name,
            **common(old),
        )  # fmt: skip
        return [new], [[rows, columns]]


def convolutions(old, rows, columns):
    """Two convolutions of Keras in place of one, and their kernels."""
    pair = [
        layers.Conv2D(
            kernel.shape[-1], kernel.shape[:2], strides, padding=old.padding,
            dilation_rate=dilation, groups=old.groups, use_bias=bias, name=name, **common(old),
        )
        for kernel, strides, dilation, bias, name in (
            (rows, (1, old.strides[1]), (1, old.dilation_rate[1]), False, f"{old.name}_row"),
            (columns, (old.strides[0], 1), (old.dilation_rate[0], 1), old.use_bias, old.name),
        )
    ]  # fmt: skip
    return pair, [[rows], [columns]]
