"""Convolutions in groups: each group is a convolution of its own."""

import numpy as np

from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.conversion.forms import DecomposedForm, PDEForm, convolutions
from keras_pdenets.transforms.conversion.least_squares import NormalEquations


class GroupedForm:
    """The `DecomposedForm` of every group: two convolutions of Keras in as many groups.

    Args:
        target: The `Target`.
        share: Channels between the two of a group, relative to its filters.
    """

    name = DecomposedForm.name

    def __init__(self, target, share=1.0):
        self.target, self.arrays = target, {}
        kernels = np.split(as_float64(target.layer.kernel), target.layer.groups, -1)
        self.parts = [DecomposedForm(target, share, kernel) for kernel in kernels]
        self.middle = sum(part.middle for part in self.parts)

    @property
    def unknowns(self):
        """Numbers to be found for each filter."""
        return self.parts[0].unknowns

    @property
    def parameters(self):
        """Numbers of both kernels."""
        return sum(part.parameters for part in self.parts)

    @property
    def products(self):
        """Products for one place of the output."""
        return sum(part.products for part in self.parts)

    def features(self, patches):
        """(places, points, n), as they are: `GroupedEquations` parts them."""
        return patches

    def solve(self, normal, ridge, **options):
        """Find the kernels of all groups."""
        solutions = [
            part.solve(equations, ridge, **options)
            for part, equations in zip(self.parts, normal.parts, strict=True)
        ]
        names = self.parts[0].arrays
        self.arrays = {name: np.stack([part.arrays[name] for part in self.parts]) for name in names}
        return solutions

    def kernel(self):
        """The kernel, (h, w, n / groups, o)."""
        for index, part in enumerate(self.parts):
            part.arrays = {name: array[index] for name, array in self.arrays.items()}
        return np.concatenate([part.kernel() for part in self.parts], -1)

    def layer(self):
        """The two new layers, and what their weights will be besides a bias."""
        rows, columns = zip(*(part.pair() for part in self.parts), strict=True)
        return convolutions(
            self.target.layer, np.concatenate(rows, -1), np.concatenate(columns, -1)
        )


class GroupedEquations:
    """`NormalEquations` of every group.

    Args:
        form: The `GroupedForm`.
        centred: Whether a constant is fitted besides.
    """

    def __init__(self, form, centred):
        self.parts = [NormalEquations(x.unknowns, x.filters, centred) for x in form.parts]

    def add(self, features, outputs):
        """Add (places, points, n) and (places, o)."""
        count = len(self.parts)
        halves = np.split(features, count, -1), np.split(outputs, count, -1)
        for part, given, wanted in zip(self.parts, *halves, strict=True):
            part.add(given.reshape(len(given), -1), wanted)

    def finish(self):
        """Take the means off, where a constant is fitted."""
        for part in self.parts:
            part.finish()
        return self

    def constant(self, solutions):
        """The constants beside the solutions of all groups."""
        pairs = zip(self.parts, solutions, strict=True)
        return np.concatenate([part.constant(solution) for part, solution in pairs])

    def error(self, solutions):
        """Energy of the error, relative to that of the outputs of all groups."""
        energies = [part.energy for part in self.parts]
        errors = [part.error(x) for part, x in zip(self.parts, solutions, strict=True)]
        return float(np.dot(errors, energies)) / max(sum(energies), 1e-300)


def decomposed(target, share=1.0):
    """The decomposed form of a convolution, in groups or not."""
    return (DecomposedForm if target.layer.groups == 1 else GroupedForm)(target, share)


FORMS = {PDEForm.name: PDEForm, DecomposedForm.name: decomposed}


def equations_of(form):
    """Normal equations of the unknowns of a form."""
    centred = form.target.layer.use_bias
    if isinstance(form, GroupedForm):
        return GroupedEquations(form, centred)
    return NormalEquations(form.unknowns, form.target.shape[-1], centred)
