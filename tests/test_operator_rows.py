"""The registry of operators: what a row says is what its layer and the nets with it are."""

import math

import keras
import pytest

from keras_pdenets.blocks.operators import OPERATORS
from keras_pdenets.blocks.parts import Parts
from keras_pdenets.layers.pde_conv import FORMS
from keras_pdenets.presets import ARCHITECTURES

# Trainable parameters for 10 classes, small stem, 3 channels: plain, PDE, decomposed.
PUBLISHED = {
    "resnet18": (11_173_962, 7_512_138, 8_028_234),
    "resnet34": (21_282_122, 14_253_386, 14_769_482),
    "resnet50": (23_520_842, 19_748_426, 19_748_426),
    "resnet101": (42_512_970, 35_398_218, 35_398_218),
    "preact_resnet20": (295_418, 198_650, 198_650),
    "preact_resnet32": (489_850, 328_570, 328_570),
    "preact_resnet44": (684_282, 458_490, 458_490),
    "preact_resnet56": (878_714, 588_410, 588_410),
    "preact_resnet110": (1_753_658, 1_173_050, 1_173_050),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_computed_counts_are_the_published_ones(name):
    rows = [ARCHITECTURES[f"{prefix}{name}"] for prefix in ("", "pde_", "decomposed_")]
    assert tuple(row.parameters for row in rows) == PUBLISHED[name]
    assert [row.operator for row in rows] == ["conv", "pde", "decomposed"]


@pytest.mark.parametrize("name", OPERATORS)
def test_a_row_describes_its_layer(name):
    row = OPERATORS[name]
    layer = row.layer(5, use_bias=False)
    layer.build((None, 8, 8, 3))
    assert layer.count_params() == row.parameters(3, 5)
    assert set(row.options) <= set(layer.get_config())
    names = {weight.name for made in _of_every_form(row) for weight in made.weights}
    assert set(row.coefficients) <= names
    assert all("kernel" in other for other in names - set(row.coefficients))
    x = keras.Input((8, 8, 3))
    net = keras.Model(x, Parts(name).operator_conv(x, 5, 2, "conv"))
    assert sum(math.prod(v.shape) for v in net.trainable_variables) == row.parameters(3, 5)
    assert net.output_shape == (None, 4, 4, 5)


def _of_every_form(row):
    for options in [{"form": form} for form in FORMS] if "form" in row.options else [{}]:
        layer = row.layer(5, use_bias=False, **options)
        layer.build((None, 8, 8, 3))
        yield layer


def test_operators_and_options_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match="`operator` must be one of conv, pde, decomposed"):
        Parts("wave")
    with pytest.raises(ValueError, match=r"may hold boundary, mid_filters.*degree"):
        Parts("decomposed", {"degree": 1})
