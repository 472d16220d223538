"""PDE nets of Eq. 44 in the linear form, which holds them all."""

import keras
import numpy as np

from keras_pdenets.compat.keras import layers_inside
from keras_pdenets.graphs.graph import functional
from keras_pdenets.layers import PDEConv2D
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.operators import pde_basis, pde_coefficients, pde_orthonormal_basis
from keras_pdenets.transforms.copying import copy_layer, give_weights


def to_linear_form(model):
    r"""Turn the PDE layers of a net from the quadratic form to the linear one, with equal outputs.

    Every operator of Eq. (44), Yin et al. 2019, arXiv 1904.07568, is one of the linear form: its
    coordinates are $\langle Q_j, K \rangle$ with the kernel K and the orthonormal basis Q of the
    six stencils. The way back is open for few operators only: the quadratic form has five degrees
    of freedom a pair, and no negative diffusion.

    Args:
        model: Any functional or sequential Keras model; models inside it and the branches of
            layers such as `ScaledResidual` are converted too. It is not changed.

    Returns:
        A new `keras.Model`; layers keep their names.

    Raises:
        ValueError: If the model is not functional or has no quadratic PDE layer.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PDEPreActResNet20(weights=None, classes=10)
    >>> new = keras_pdenets.transforms.to_linear_form(model)
    >>> new.count_params() == model.count_params()
    True
    """
    model = functional(model)
    if not any(_is_quadratic(layer) for layer in layers_inside(model)):
        raise ValueError(
            "`model` must have layers of `PDEConv2D` in the quadratic form. "
            f"Received: {model.name!r} without any"
        )
    new = keras.models.clone_model(model, clone_function=_clone, recursive=True)
    for old, copy in zip(layers_inside(model), layers_inside(new), strict=True):
        if _is_quadratic(old):
            _give_operators(old, copy)
        elif not layers_inside(old):
            give_weights(old, copy)
    return new


def _is_quadratic(layer):
    return isinstance(layer, PDEConv2D) and layer.form == "quadratic"


def _clone(layer):
    config = layer.get_config()
    changed = _linear_config(config, isinstance(layer, PDEConv2D))
    return copy_layer(layer, changed if changed != config else None)


def _linear_config(value, is_pde=False):
    """A config in which every PDE layer has the linear form, also inside branches."""
    if isinstance(value, list | tuple):
        return type(value)(_linear_config(item) for item in value)
    if not isinstance(value, dict):
        return value
    config = {
        key: _linear_config(item, value.get("class_name") == "PDEConv2D" and key == "config")
        for key, item in value.items()
    }
    return config | {"form": "linear", "normalize": False} if is_pde else config


def _give_operators(old, new):
    """Give a linear layer the operators of a quadratic one, computed in 64 bits."""
    numbers = pde_coefficients(*(as_float64(w) for w in (old.sigma, old.b, old.c)))
    # (k, h, w) . (j, h, w), (k, n, o) -> (j, n, o)
    overlap = np.tensordot(pde_orthonormal_basis(), pde_basis(old.normalize), ((1, 2), (1, 2)))
    new.coordinates.assign(np.tensordot(overlap, numbers, 1))
    if old.use_bias:
        new.bias.assign(as_float64(old.bias))
