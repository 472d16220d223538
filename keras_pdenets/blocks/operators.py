"""The table of operators that can replace a 3x3 convolution in a net."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from keras_pdenets.layers.decomposed_conv import DecomposedConv2D
from keras_pdenets.layers.pde_conv import COEFFICIENTS, PDEConv2D
from keras_pdenets.layers.polynomial_conv import PolynomialConv2D


@dataclass(frozen=True)
class Operator:
    """An operator. A new one takes a layer (see `layers.bordered_conv`) and a row of the table.

    Args:
        name: Value of a config's `operator`.
        layer: Its Keras layer.
        options: Arguments of the layer allowed in `operator_options`, with their documentation.
        parameters: Number of trainable parameters without bias, from input channels and filters.
        prefix: Prefix of the names of its builders, which `applications` lists; None: it has no
            builders, only the `operator` of a config.
        reference: Its source; None for the plain convolution.
        coefficients: Names of weights that are not kernels, but factors of kernels: they decay only
            if a recipe says so.
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
            # Keras' `Conv2D`, unless an option is set.
            "conv",
            partial(PolynomialConv2D, degree=0),
            {**_BOUNDARY, "degree": "0, or 1 for weights that depend on the position"},
            lambda channels, filters: 9 * channels * filters,
            "",
        ),
        Operator(
            "pde",
            PDEConv2D,
            {
                **_BOUNDARY,
                "normalize": "true derivatives instead of the printed stencils",
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
    """The documentation of the options of all operators."""
    return (
        "Arguments of the 3x3 operator's layer. "
        + "; ".join(
            f"{row.name}: " + ", ".join(f"`{key}` ({text})" for key, text in row.options.items())
            for row in OPERATORS.values()
        )
        + "."
    )
