"""Energies and action of a net made of differential operators."""

from dataclasses import dataclass

import numpy as np

from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.layers import PDEConv2D
from keras_pdenets.operators import PDE_STENCILS, derivative_factors
from keras_pdenets.operators.eq44 import discriminant
from keras_pdenets.utils.checks import check_number
from keras_pdenets.utils.tables import write_rows

# Relative, of free factors stored in 16 bits; those of products are exact.
_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class LayerAction:
    r"""Energies of the operators of one layer, along x and along y.

    Arrays have the shape (2, input channels, filters); energies are NaN where $\sigma^2 \le 0$.

    Args:
        name: Name of the layer.
        variance: $\sigma^2$, in pixels squared.
        drift: b, in pixels.
        growth: c.
        kinetic: T at the given velocity.
        potential: V.
        discriminant: $d\,d_{xy} - d_x d_y$ divided by the sum of the squares of the four, of
            shape (input channels, filters); 0 if the operator is of the form of Eq. (44).
    """

    name: str
    variance: np.ndarray
    drift: np.ndarray
    growth: np.ndarray
    kinetic: np.ndarray
    potential: np.ndarray
    discriminant: np.ndarray

    @property
    def lagrangian(self):
        """L = T - V, of shape (2, input channels, filters)."""
        return self.kinetic - self.potential

    @property
    def left_out(self):
        """Number of operators without energies."""
        return int((~(self.variance > 0)).sum())

    @property
    def of_eq44(self):
        """Which operators have a two-dimensional sigma, b, c; shape (input channels, filters)."""
        return (self.variance >= 0).all(axis=0) & (np.abs(self.discriminant) <= _ROUNDING)


@dataclass(frozen=True, eq=False)
class PathIntegral:
    """Energies along the depth of a net. Its arrays have the shape (layers,).

    Args:
        velocity: Velocity of the path along x and along y, in pixels per layer.
        layers: One entry for each layer, in the order of the graph.

    Example:
    >>> import keras
    >>> from keras_pdenets.analysis import path_integral
    >>> from keras_pdenets.layers import PDEConv2D
    >>> net = keras.Sequential([keras.Input((8, 8, 2)), PDEConv2D(4, name="pde")])
    >>> energies = path_integral(net, velocity=0.5)
    >>> energies.layers[0].name, energies.action.shape
    ('pde', (1,))
    """

    velocity: float
    layers: tuple[LayerAction, ...]

    @property
    def kinetic(self):
        """Median of T over the operators of each layer."""
        return self._medians("kinetic")

    @property
    def potential(self):
        """Median of V over the operators of each layer."""
        return self._medians("potential")

    @property
    def lagrangian(self):
        """Median of L over the operators of each layer; NaN if none has one."""
        return self._medians("lagrangian")

    @property
    def action(self):
        """Cumulative sum of the median L over the layers; a layer without one adds nothing."""
        return np.nancumsum(self.lagrangian)

    @property
    def left_out(self):
        """Number of operators without energies."""
        return sum(layer.left_out for layer in self.layers)

    def _medians(self, name):
        found = [getattr(layer, name) for layer in self.layers]
        found = [values[np.isfinite(values)] for values in found]
        return np.array([np.median(values) if values.size else np.nan for values in found])

    def write_csv(self, path):
        """Write one row for each layer, whole or not at all."""
        columns = ("kinetic", "potential", "lagrangian", "action")
        lines = zip(*(getattr(self, name) for name in columns), strict=True)
        write_rows(
            path,
            [
                {"layer": layer.name, **dict(zip(columns, line, strict=True)),
                 "operators": layer.variance.size, "left_out": layer.left_out}
                for layer, line in zip(self.layers, lines, strict=True)
            ],
        )  # fmt: skip

    def __str__(self) -> str:
        """The action and what was left out, in one line."""
        lines = sum(layer.variance.size for layer in self.layers)
        in_plane = sum(int(layer.of_eq44.sum()) for layer in self.layers)
        return (
            f"{len(self.layers)} PDE layers, action {self.action[-1]:.4g} at velocity "
            f"{self.velocity:g}; {self.left_out} of {lines} equations along x or y left out "
            f"(sigma^2 is not positive); {in_plane} of {lines // 2} operators are of Eq. (44)"
        )


def path_integral(model, velocity=0.0):
    r"""Kinetic and potential energy, Lagrangian and action of the PDE layers of a net.

    $$H(p) = \tfrac12\sigma^2 p^2 - ibp - c, \qquad
      T(\dot x) = \frac{(\dot x + b)^2}{2\sigma^2}, \qquad V = c - \log\sigma, \qquad
      L = T - V, \qquad S = \sum_t L_t$$

    Eq. (36) and (38)-(40), Yin et al. 2019, arXiv 1904.07568: a path of the data through pixels,
    one step per layer, contributes $e^{-S}$. They are one-dimensional,
    $\partial_t u = \tfrac12\sigma^2\partial_{xx} u + b\,\partial_x u + c\,u$ (Eq. 18). A layer of
    `PDEConv2D` is that equation on images that vary along x only, and another one along y: the
    factors of $\partial_{xx}$, $\partial_x$ and 1 in its operator are $\tfrac12\sigma^2$, b and c.
    Without `normalize` the stencils are multiples of the derivatives; this is taken into account.

    In two dimensions, sigma, b and c exist only for operators of Eq. (44): no diffusion is
    negative, and

    $$d\,d_{xy} = d_x d_y$$

    (`operators.discriminant`: reaction, transport and mixed derivative are then one product
    $(c_1 + b_1\partial_x)(c_2 + b_2\partial_y)$). Every quadratic layer satisfies this; operators
    of the free forms in general do not, and their energies are only those along x and along y. The
    report counts them.

    Free factors may have been stored in 16 bits: for these, a $\sigma^2$ below 0.001 of the
    operator's size (the root of its six squared factors) is 0, and so is such a discriminant.

    Energies need $\sigma^2 > 0$. Otherwise they are NaN, and the report says how many operators
    were left out. $1/\sigma^2$ has no mean over operators with normally distributed $\sigma$, so a
    layer is summarised by its medians.

    Everything between the layers is ignored: batch norms, activations, shortcuts (the paper's $h_t$
    is 0), and the mixed derivative, which vanishes on such images.

    Args:
        model: A functional or sequential Keras model with `PDEConv2D` layers, nested models
            included. Only its weights are read.
        velocity: $\dot x$ of the path, in pixels per layer, along both x and y; 0: the path stays
            at its pixel.

    Returns:
        A `PathIntegral`.

    Raises:
        ValueError: If the model has no graph or no PDE layer, no operator of it has a positive
            $\sigma^2$, or `velocity` is not finite.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PDEPreActResNet20(weights=None)
    >>> energies = keras_pdenets.analysis.path_integral(model)
    >>> energies.action.shape
    (18,)
    """
    velocity = check_number("velocity", velocity, "finite")
    layers = [layer for layer in flatten(model).layers if isinstance(layer, PDEConv2D)]
    if not layers:
        raise ValueError(
            "`model` must have PDE layers (`layers.PDEConv2D`), whose sigma, b and c define the "
            f"energies. Received: {model.name!r} without any"
        )
    found = PathIntegral(velocity, tuple(_energies(layer, velocity) for layer in layers))
    if not any((layer.variance > 0).any() for layer in found.layers):
        raise ValueError(
            "`model` must have operators with diffusion, sigma^2 > 0, since the energies divide by "
            f"it. Received: {model.name!r}, whose {len(layers)} PDE layers have none"
        )
    return found


def _energies(layer, velocity):
    factors = _factors(layer)
    variance, drift, growth = line_equation(layer)
    if len(layer.weights) - layer.use_bias == 1:  # free factors
        least = _ROUNDING * np.sqrt(np.square(factors).sum(axis=0))
        variance = np.where(np.abs(variance) > least, variance, 0.0)
    defined = variance > 0
    variance_there = np.where(defined, variance, np.nan)
    return LayerAction(
        layer.name,
        variance,
        drift,
        growth,
        kinetic=(velocity + drift) ** 2 / (2.0 * variance_there),
        potential=growth - 0.5 * np.log(variance_there),
        discriminant=discriminant(factors),
    )


def line_equation(layer):
    r"""$\sigma^2$, b and c of a PDE layer along x and y, each of shape (2, inputs, filters)."""
    d = _factors(layer)
    return 2.0 * d[[0, 1]], d[[3, 4]], d[[5, 5]]


def _factors(layer):
    # In 64 bits and not from the kernel: a sigma of 0 must give exactly 0 here, and so must a term
    # that the layer lacks.
    basis, numbers = layer.exact_expansion()
    found = np.einsum("jk,kno->jno", derivative_factors(basis, layer.stencils), numbers)
    by_name = dict(zip(layer.stencils, found, strict=True))
    return np.stack([by_name.get(s.name, np.zeros(numbers.shape[1:])) for s in PDE_STENCILS])
