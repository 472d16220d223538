"""PDE nets from one form of the operator to another."""

import keras
import numpy as np

from keras_pdenets.compat.keras import layers_inside
from keras_pdenets.graphs.graph import functional
from keras_pdenets.layers import PDEConv2D
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.operators import nearest_eq44, pde_orthonormal_basis
from keras_pdenets.transforms.copying import copy_layer, give_weights


def to_linear_form(model):
    r"""Turn the PDE layers of a net into the linear form, with equal outputs.

    Every operator of Eq. (44), Yin et al. 2019, arXiv 1904.07568, is one of the linear form: its
    coordinates are $\langle Q_j, K \rangle$ with the kernel K and the orthonormal basis Q of the
    six stencils. The way back is `to_quadratic_form`.

    Args:
        model: Any functional or sequential Keras model; models inside it and the branches of
            layers such as `ScaledResidual` are converted too. It is not changed.

    Returns:
        A new `keras.Model`; layers keep their names.

    Raises:
        ValueError: If the model is not functional or has no PDE layer of another form.

    Example:
    >>> import keras_pdenets
    >>> quadratic = {"form": "quadratic"}
    >>> model = keras_pdenets.PDEPreActResNet20(weights=None, operator_options=quadratic)
    >>> new = keras_pdenets.transforms.to_linear_form(model)
    >>> new.count_params() == model.count_params()
    True
    """
    new, _ = _to_form(model, "linear")
    return new


def to_quadratic_form(model):
    r"""Give the PDE layers of a net the nearest operators of Eq. (44), which are other ones.

    Eq. (44), Yin et al. 2019, arXiv 1904.07568, has five degrees of freedom where the linear form
    has six, and no negative diffusion (`operators.nearest_eq44`). Outputs change, and batch norms
    want their averages again: `reestimate_batch_norms`.

    Args:
        model: As in `to_linear_form`.

    Returns:
        A new `keras.Model`, and for each layer by name $\|K - K'\| / \|K\|$, the relative error of
        its kernels.

    Raises:
        ValueError: If the model is not functional or has no PDE layer of another form.

    Example:
    >>> import keras_pdenets
    >>> model = keras_pdenets.PDEPreActResNet20(weights=None, operator_options={"form": "linear"})
    >>> new, errors = keras_pdenets.transforms.to_quadratic_form(model)
    >>> 0.1 < errors["stage0_block0_conv1"] < 0.7
    True
    """
    return _to_form(model, "quadratic")


def _to_form(model, form):
    model = functional(model)
    if not any(_changes(layer, form) for layer in layers_inside(model)):
        raise ValueError(
            f"`model` must have layers of `PDEConv2D` in another form than the {form} one. "
            f"Received: {model.name!r} without any"
        )
    new = keras.models.clone_model(
        model, clone_function=lambda layer: _clone(layer, form), recursive=True
    )
    errors = {}
    for old, copy in zip(layers_inside(model), layers_inside(new), strict=True):
        if _changes(old, form):
            errors[old.name] = _give_operators(old, copy)
        elif not layers_inside(old):
            give_weights(old, copy)
    return new, errors


def _changes(layer, form):
    """Whether a layer gets the form; one of other stencils is left as it is."""
    return isinstance(layer, PDEConv2D) and layer.form != form and layer.terms is None


def _clone(layer, form):
    config = layer.get_config()
    changed = _with_form(config, form, isinstance(layer, PDEConv2D))
    return copy_layer(layer, changed if changed != config else None)


def _with_form(value, form, is_pde=False):
    """A config in which every PDE layer has the form, also inside branches."""
    if isinstance(value, list | tuple):
        return type(value)(_with_form(item, form) for item in value)
    if not isinstance(value, dict):
        return value
    config = {
        key: _with_form(item, form, value.get("class_name") == "PDEConv2D" and key == "config")
        for key, item in value.items()
    }
    if not is_pde or config["terms"] is not None:
        return config
    return config | {"form": form, "normalize": config["normalize"] and form != "linear"}


def _give_operators(old, new):
    """Give a layer the operators of another one, computed in 64 bits; the relative error."""
    kernel = np.einsum("khw,kno->hwno", *old.exact_expansion())
    if new.form == "linear":
        new.coordinates.assign(np.einsum("khw,hwno->kno", pde_orthonormal_basis(), kernel))
    else:
        nearest = nearest_eq44(kernel, new.normalize)
        for weight, values in zip((new.sigma, new.b, new.c), nearest, strict=True):
            weight.assign(values)
    if old.use_bias:
        new.bias.assign(as_float64(old.bias))
    change = kernel - np.einsum("khw,kno->hwno", *new.exact_expansion())
    return float(np.linalg.norm(change) / np.linalg.norm(kernel))
