"""The operators of a net's layers, as numbers that the page draws."""

import numpy as np

from keras_pdenets.analysis import describe_operators
from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.layers import QuasiLinear2D
from keras_pdenets.layers.linear_maps import linear_map
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.operators import derivative_factors, pde_orthonormal_basis

_SHOWN = 12


def operator_table(model):
    """The strongest kernels of every layer with 3x3 ones, and their equations.

    Args:
        model: The net.

    Returns:
        List of one entry for each layer: its name, what the kernels hold in all
        (`analysis.describe_operators`), and of each kernel that is shown its nine numbers and its
        factors of the six derivatives.
    """
    known = {layer.name: layer for layer in describe_operators(model).layers}
    table = []
    for layer in flatten(model).layers:
        kernel = _kernel(layer)
        if kernel is None:
            continue
        entry = {
            "layer": layer.name,
            "shape": list(kernel.shape[2:]),
            "kernels": _strongest(kernel),
        }
        if layer.name in known:
            words = known[layer.name]
            entry |= {
                "held": round(words.held, 4),
                "shares": {term: round(share, 4) for term, share in words.shares.items()},
            }
        table.append(entry)
    return table


def _kernel(layer):
    """Kernels of shape (3, 3, in, out) in float64, or None."""
    if isinstance(layer, QuasiLinear2D):
        return as_float64(layer.stencils.kernel)
    found = linear_map(layer, subclasses=True)
    if found is None or found.sides != (3, 3) or found.varies or found.adjoint:
        return None
    return found.kernels()[0]


def _strongest(kernel):
    """The kernels of the largest norms, with what they are as differential operators."""
    basis = pde_orthonormal_basis()
    norms = np.sqrt(np.sum(kernel**2, axis=(0, 1)))
    order = np.argsort(-norms, axis=None)[:_SHOWN]
    found = []
    for place in order:
        source, target = np.unravel_index(place, norms.shape)
        one = kernel[:, :, source, target]
        coordinates = np.tensordot(basis, one, 2)
        factors = derivative_factors(basis) @ coordinates
        found.append(
            {
                "from": int(source), "to": int(target),
                "values": [float(f"{v:.3g}") for v in one.ravel()],
                "factors": [float(f"{v:.3g}") for v in factors],
                "held": round(float(np.sum(coordinates**2) / max(np.sum(one**2), 1e-30)), 3),
            }
        )  # fmt: skip
    return found
