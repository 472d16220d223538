"""What can stand for a 3x3 convolution inside a net: one row for each operator."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from keras_pdenets.layers.decomposed_conv import DecomposedConv2D
from keras_pdenets.layers.pde_conv import COEFFICIENTS, PDEConv2D
from keras_pdenets.layers.polynomial_conv import PolynomialConv2D


@dataclass(frozen=True)
class Operator:
    """An operator of nets. A new one is a layer (see `layers.bordered_conv`) and a row.

    Args:
        name: Value of a config's `operator`.
        layer: Its Keras layer.
        options: What `operator_options` may hold, arguments of the layer, with their documentation.
        parameters: Trainable parameters without bias, of channels in and filters out.
        prefix: Beginning of the names of its builders, which `applications` lists; None: it has
            none, and is reached by the `operator` of a config.
        reference: Where it comes from, None for the plain convolution.
        coefficients: Names of weights that are no kernels, but what kernels are products of: they
            decay where a recipe says so.
    """

    name: str
    layer: Callable[..., Any]
    options: dict[str, str]
    parameters: Callable[[int, int], int]
    prefix: str | None = None
    reference: str | None = None
    coefficients: tuple[str, ...] = ()


_YIN = "Yin et al. 2019, arXiv 1904.07568, Eq. (44)"
_BOUNDARY = {"boundary": '`"zero"`, `"replicate"`, `"reflect"` or `"periodic"`'}

OPERATORS = {
    row.name: row
    for row in (
        Operator(
            # Keras' own, unless an option asks for more than that can do.
            "conv",
            partial(PolynomialConv2D, degree=0),
            {**_BOUNDARY, "degree": "0, or 1 for weights that change from place to place"},
            lambda channels, filters: 9 * channels * filters,
            "",
        ),
        Operator(
            "pde",
            PDEConv2D,
            {
                **_BOUNDARY,
                "normalize": "true derivatives in place of the printed stencils",
                "form": '`"linear"`: six free factors, or `"quadratic"`: Eq. (44)',
                "terms": "which stencils, for free factors",
            },
            lambda channels, filters: 6 * channels * filters,
            "PDE",
            _YIN,
            COEFFICIENTS,
        ),
        Operator(
            "decomposed",
            DecomposedConv2D,
            {**_BOUNDARY, "mid_filters": 'a width, `"output"` or `"input"`'},
            lambda channels, filters: 3 * channels * filters + 3 * filters * filters,
            "Decomposed",
            _YIN,
        ),
    )
}


def options_documented():
    """The documentation of all operators' options, in one sentence."""
    return (
        "Arguments of the 3x3 operator's layer. "
        + "; ".join(
            f"{row.name}: " + ", ".join(f"`{key}` ({text})" for key, text in row.options.items())
            for row in OPERATORS.values()
        )
        + "."
    )
