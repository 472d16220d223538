"""PDE layers on a finer grid: the same differential operator."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_pdenets.hub.files import load_weights
from keras_pdenets.layers import PDEConv2D
from keras_pdenets.operators import STENCILS
from keras_pdenets.training import Recipe, train
from keras_pdenets.training.models import build_model
from keras_pdenets.transforms import respace


def _net(**options):
    x = keras.Input((None, None, 2))
    return keras.Model(x, PDEConv2D(3, name="pde", seed=1, **options)(x))


def _parabolas(side):
    """Two images of second degree, sampled at so many points of [0, 1)."""
    y, x = np.meshgrid(*[np.arange(side) / side] * 2, indexing="ij")
    images = [1 + x - 2 * y + 3 * x * y - x**2 + 0.5 * y**2, 2 - 3 * x + x * y + 4 * y**2]
    return np.stack(images, -1)[None].astype("float32")


@pytest.mark.parametrize("form", ["linear", "stencils", "quadratic", "signed"])
def test_the_operator_gives_the_same_at_the_same_points_of_a_finer_grid(form):
    net = _net(form=form)
    # Stencils are exact for these; zeros beyond the border are not, which is cut off.
    coarse = net.predict(_parabolas(8), verbose=0)[:, 1:-1, 1:-1]
    assert respace(net, 3.0) is net
    fine = net.predict(_parabolas(24), verbose=0)[:, 3:-3:3, 3:-3:3]
    np.testing.assert_allclose(fine, coarse, rtol=1e-4, atol=1e-4)


def test_every_derivative_takes_its_order_and_there_is_a_way_back():
    names = [stencil.name for stencil in STENCILS]
    net = _net(terms=names)
    layer = net.get_layer("pde")
    before = keras.ops.convert_to_numpy(layer.coefficients())
    respace(net, 2.0)
    orders = [sum(stencil.derivative) for stencil in STENCILS]
    found = keras.ops.convert_to_numpy(layer.coefficients())
    wanted = before * 2.0 ** np.reshape(orders, (-1, 1, 1))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    respace(net, 0.5)
    again = keras.ops.convert_to_numpy(layer.coefficients())
    np.testing.assert_allclose(again, before, rtol=1e-4, atol=1e-5)


def test_bad_ratios_and_nets_without_operators_are_refused():
    with pytest.raises(ValueError, match="`ratio` must be positive"):
        respace(_net(), 0)
    x = keras.Input((4, 4, 1))
    with pytest.raises(ValueError, match="must have layers of `PDEConv2D`"):
        respace(keras.Model(x, keras.layers.Conv2D(1, 3)(x)), 2.0)


@pytest.mark.once
@pytest.mark.slow
def test_a_recipe_respaces_where_the_side_of_the_images_changes(tmp_path):
    net = {"architecture": "pde_preact_resnet20", "input_shape": (28, 28, 1), "classes": 10}
    net |= {"options": {"num_blocks": 1, "filters": (4, 4, 4)}}
    phases = ({"epochs": 1, "image_size": 4}, {"epochs": 1, "image_size": 8})
    found = []
    for respaced in (False, True):
        recipe = Recipe(
            "mine", net, "sample", phases, learning_rate=1e-12, weight_decay=0.0,
            warmup_epochs=0.0, batch_size=500, respace=respaced,
        )  # fmt: skip
        train(recipe, tmp_path / str(respaced), verbose=0)
        model = build_model(recipe.checkpoint)
        load_weights(model, tmp_path / str(respaced) / "model.safetensors")
        layer = model.get_layer("stage0_block0_conv0")
        found.append(keras.ops.convert_to_numpy(layer.coefficients()))
    ratios = np.reshape([4, 4, 4, 2, 2, 1], (-1, 1, 1))
    np.testing.assert_allclose(found[1], found[0] * ratios, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="`respace` must be false where `ema`"):
        dataclasses.replace(recipe, ema=0.9)
