"""PDE nets on a finer or a coarser grid."""

import numpy as np

from keras_pdenets.compat.keras import layers_inside
from keras_pdenets.layers import PDEConv2D
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.operators.pde import derivative_factors
from keras_pdenets.operators.stencils import STENCILS
from keras_pdenets.utils.checks import check_keras_model, check_number

_ORDERS = {stencil.name: sum(stencil.derivative) for stencil in STENCILS}


def respace(model, ratio):
    r"""Scale the factors of derivatives, so that they keep their meaning on another grid.

    An image of as many times the side has a grid as many times finer: differences of neighbours
    become smaller, and the same differential operator has the factors

    $$d_x \to r\, d_x, \quad d_{xx} \to r^2 d_{xx}, \quad d \to d,$$

    in pixels; of Eq. (44), Yin et al. 2019, arXiv 1904.07568, $\sigma$ and b are multiplied by r.
    What the operator gives for a smooth image is the same then, at the same points.

    Args:
        model: A Keras model with layers of `PDEConv2D`, in it or inside its layers. It is changed.
        ratio: r: the new side of the images, relative to the old one.

    Returns:
        The model.

    Raises:
        ValueError: If the ratio is not positive, or there is no such layer.

    Example:
    >>> import keras
    >>> import keras_pdenets
    >>> model = keras_pdenets.PDEPreActResNet20(weights=None)
    >>> layer = model.get_layer("stage0_block0_conv0")
    >>> before = keras.ops.convert_to_numpy(layer.coefficients())[0]
    >>> model = keras_pdenets.transforms.respace(model, 2.0)
    >>> after = keras.ops.convert_to_numpy(layer.coefficients())[0]
    >>> round(float(after[0, 0] / before[0, 0]), 3)
    4.0
    """
    check_keras_model(model)
    ratio = check_number("ratio", ratio, "positive", lambda number: number > 0)
    found = [layer for layer in layers_inside(model) if isinstance(layer, PDEConv2D)]
    if not found:
        raise ValueError(
            f"`model` must have layers of `PDEConv2D`. Received: {model.name!r} without any"
        )
    for layer in found:
        _respace(layer, ratio)
    return model


def _respace(layer, ratio):
    if layer.form in ("quadratic", "signed"):
        for weight in (layer.sigma, layer.b):
            weight.assign(as_float64(weight) * ratio)
        return
    basis, numbers = layer.exact_expansion()
    change = derivative_factors(basis, layer.stencils)
    powers = np.array([ratio ** _ORDERS[name] for name in layer.stencils])
    # Coordinates to factors, each by its order, and back.
    whole = np.linalg.solve(change, powers[:, None] * change)
    layer.coordinates.assign(np.tensordot(whole, numbers, 1))
