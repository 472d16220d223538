"""The convolutions of a net as differential operators, by the shares of their terms."""

from dataclasses import dataclass

import numpy as np

from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.layers.linear_maps import linear_map
from keras_pdenets.operators import derivative_factors, pde_orthonormal_basis
from keras_pdenets.operators.stencils import PDE_STENCILS
from keras_pdenets.utils.tables import write_rows

TERMS = ("diffusion", "mixed", "transport", "reaction")
_COLUMNS = ("held", *TERMS, "anisotropy", "forward")
_ROWS = {"diffusion": (0, 1), "mixed": (2,), "transport": (3, 4), "reaction": (5,)}


@dataclass(frozen=True)
class LayerEquation:
    r"""The operators of one layer, summarised over all pairs of channels.

    Args:
        name: Name of the layer.
        held: Share of the kernels' energy in second-order operators: 1 for a PDE layer, 2/3 for
            white noise.
        shares: Shares of the terms $d_{xx}\partial_{xx} + d_{yy}\partial_{yy}$ (`"diffusion"`),
            $d_{xy}\partial_{xy}$ (`"mixed"`), $d_x\partial_x + d_y\partial_y$ (`"transport"`) and
            $d$ (`"reaction"`): of the energies that each has alone on white noise images.
        anisotropy: Energy of the traceless part of the diffusion tensors, relative to the whole:
            0 if all directions are alike, 1 if one direction gains what the other loses.
        forward: Share of the pairs with $d_{xx} + d_{yy} > 0$, which smooth; the others sharpen.
    """

    name: str
    held: float
    shares: dict[str, float]
    anisotropy: float
    forward: float


@dataclass(frozen=True)
class OperatorDescription:
    """The equations of a net, in the order of its layers.

    Args:
        layers: One entry for each layer.

    Example:
    >>> import keras
    >>> from keras_pdenets.analysis import describe_operators
    >>> net = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Conv2D(4, 3, name="conv")])
    >>> words = describe_operators(net)
    >>> len(str(words).splitlines()), words.layers[0].name
    (2, 'conv')
    """

    layers: tuple[LayerEquation, ...]

    def __str__(self) -> str:
        """A table, one line for each layer."""
        width = max(len(layer.name) for layer in self.layers)
        lines = ["layer".ljust(width) + "".join(f"{word:>11}" for word in _COLUMNS)]
        lines += [
            layer.name.ljust(width) + "".join(f"{value:>11.2f}" for value in _numbers(layer))
            for layer in self.layers
        ]
        return "\n".join(lines)

    def write_csv(self, path):
        """Write one row for each layer, whole or not at all."""
        texts = [[layer.name, *map("{:.6g}".format, _numbers(layer))] for layer in self.layers]
        write_rows(path, [dict(zip(("layer", *_COLUMNS), row, strict=True)) for row in texts])


def describe_operators(model):
    r"""Read the 3x3 convolutions of a net as differential operators.

    Every kernel is a sum of six derivatives (Eq. 18 and 44, Yin et al. 2019, arXiv 1904.07568) and
    a remainder in the other three of nine dimensions, which no second-order operator covers. A PDE
    layer has no remainder; for any other convolution the description says how large it is.

    Args:
        model: A functional or sequential Keras model, nested models included. Only its weights are
            read.

    Returns:
        An `OperatorDescription` of all dense 3x3 convolutions, in whatever layer.

    Raises:
        ValueError: If the model has no graph or no such convolution.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PDEPreActResNet20(weights="hub")
    >>> words = keras_pdenets.analysis.describe_operators(model)
    >>> len(words.layers), round(words.layers[-1].held, 6)
    (19, 1.0)
    """
    kernels = [(layer.name, *_kernels(layer)) for layer in flatten(model).layers]
    found = [(name, kernel) for name, *one in kernels for kernel in one]
    if not found:
        raise ValueError(
            f"`model` must have a dense 3x3 convolution. Received: {model.name!r} without any"
        )
    return OperatorDescription(tuple(_describe(name, kernel) for name, kernel in found))


def _kernels(layer):
    """The kernel of a layer in float64, or nothing."""
    found = linear_map(layer, subclasses=True)
    plain = found is not None and found.sides == (3, 3) and found.groups == 1
    if not plain or found.depthwise or found.adjoint or found.varies:
        return ()
    if found.dilation and max(found.dilation) > 1:
        return ()
    return found.kernels()


def _describe(name, kernel):
    basis = pde_orthonormal_basis()
    # (6, 3, 3), (3, 3, n, o) -> (6, n, o)
    coordinates = np.tensordot(basis, kernel, 2)
    factors = np.tensordot(derivative_factors(basis), coordinates, 1)
    norms = [np.sum((s.kernel / s.scale) ** 2) for s in PDE_STENCILS]
    energies = np.einsum("j,jno->j", norms, factors**2)
    dxx, dyy, dxy = factors[:3]
    tensor = np.sum(dxx**2 + dyy**2 + dxy**2 / 2)
    apart = np.sum((dxx - dyy) ** 2 / 2 + dxy**2 / 2)
    return LayerEquation(
        name,
        _ratio(np.sum(coordinates**2), np.sum(kernel**2)),
        {term: _ratio(sum(energies[list(_ROWS[term])]), np.sum(energies)) for term in TERMS},
        _ratio(apart, tensor),
        float(np.mean(dxx + dyy > 0)),
    )


def _ratio(part, whole):
    return float(part / whole) if whole > 0 else float("nan")


def _numbers(layer):
    return (layer.held, *layer.shares.values(), layer.anisotropy, layer.forward)
