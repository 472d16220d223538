"""Scaled residual blocks: bounds that hold."""

import keras
import numpy as np
import pytest
from conftest import build, fill
from keras import ops

from keras_pdenets.layers import PDEConv2D, ScaledResidual
from keras_pdenets.layers.convolution_bound import convolution_bound
from keras_pdenets.operators.norms import convolution_norm

TINY = {"num_blocks": (2,), "filters": (4,)}


class _Bound(keras.layers.Layer):
    def call(self, kernels):
        return convolution_bound(kernels[0])[None]


@pytest.mark.slow
def test_the_bound_of_a_convolution_is_never_below_its_norm():
    side, rng = 4, np.random.default_rng(0)
    kernels = rng.normal(size=(1000, 3, 3, 2, 3)) * rng.choice([0.0, 1.0], (1000, 3, 3, 1, 1))
    matrices = np.zeros((1000, side, side, 2, side, side, 3))
    for i, j in np.ndindex(side, side):
        for k, m in np.ndindex(3, 3):
            if 0 <= i + k - 1 < side and 0 <= j + m - 1 < side:
                matrices[:, i + k - 1, j + m - 1, :, i, j, :] = kernels[:, k, m]
    norms = np.linalg.norm(matrices.reshape(1000, side * side * 2, -1), 2, axis=(1, 2))
    layer = _Bound()
    layer.compute_output_shape = lambda shape: (None,)
    x = keras.Input((3, 3, 2, 3))
    bounds = keras.Model(x, layer(x)).predict(kernels, batch_size=1, verbose=0).ravel()
    assert (bounds >= norms).all()
    used = norms > 0
    assert np.median(bounds[used] / norms[used]) < 1.6  # a small image does not use all of a kernel
    matrix = rng.normal(size=(3, 5)).astype("float32")
    bound = float(ops.convert_to_numpy(convolution_bound(ops.convert_to_tensor(matrix))))
    assert 1 < bound / np.linalg.norm(matrix, 2) < 1.05


def test_a_scaled_block_never_moves_two_inputs_apart():
    model = build("preact_resnet20", side=6, config={**TINY, "leak": 0.3, "step_size": 100.0})
    layer = model.get_layer("stage0_block0_step")
    rng = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(rng.normal(size=variable.shape) * 3.0)
    alpha, bound = (float(ops.convert_to_numpy(v)) for v in (layer.factor(), layer.lipschitz()))
    assert alpha * bound == pytest.approx(0.3, rel=1e-5)
    # Near and far pairs, 1,000 of them.
    x = rng.normal(size=(1000, 6, 6, 4)).astype("float32")
    other = x + rng.normal(size=x.shape).astype("float32") * np.logspace(-1, 1, 1000)[
        :, None, None, None
    ].astype("float32")
    block = keras.Model(layer.input, layer.input + layer.output)
    y = block.predict(np.concatenate([x, other]), verbose=0)
    ratios = np.linalg.norm((y[1000:] - y[:1000]).reshape(1000, -1), axis=1) / np.linalg.norm(
        (other - x).reshape(1000, -1), axis=1
    )
    assert ratios.max() <= 1
    assert ratios.min() > 0.4  # the leak alone: 0.7
    # h is the largest factor, and a branch that starts at zero does not divide by its bound.
    zero = build("pde_preact_resnet20", config={**TINY, "leak": 0.3, "zero_start": True})
    assert float(ops.convert_to_numpy(zero.get_layer("stage0_block0_step").factor())) == 1


@pytest.mark.parametrize("operator", ["conv", "pde", "decomposed"])
def test_every_operator_has_a_bound(operator):
    layer = fill(
        build("preact_resnet20", config={**TINY, "leak": "1/depth", "operator": operator})
    ).get_layer("stage0_block1_step")
    assert layer.leak == 0.5
    impulses = np.zeros((5, 16, 16, 4), "float32")  # and none, for the bias
    impulses[:4, 8, 8] = np.eye(4)
    norm = 1.0
    for index in (0, 1):
        y = ops.convert_to_numpy(layer.branch.get_layer(f"stage0_block1_conv{index}")(impulses))
        kernel = np.moveaxis(y[:4] - y[4], 0, 2)[7:10, 7:10]  # (i, h, w, o) -> (h, w, i, o)
        norm *= convolution_norm(kernel, samples=64)
    # The norm of a decomposed one is below the product of its two.
    largest = 1.4 if operator != "decomposed" else 3.0
    assert 1 < float(ops.convert_to_numpy(layer.lipschitz())) / norm < largest


def test_errors_of_the_layer():
    x = keras.Input((4, 4, 2))
    normed = keras.Model(x, keras.layers.BatchNormalization(name="bn")(x))
    with pytest.raises(ValueError, match=r"bn \(BatchNormalization has no bound\)"):
        ScaledResidual(normed, 0.1)
    with pytest.raises(ValueError, match="one input and one output of the same shape"):
        ScaledResidual(keras.Model(x, PDEConv2D(3)(x)), 0.1)
    conv = PDEConv2D(2)
    with pytest.raises(ValueError, match="a layer called twice"):
        ScaledResidual(keras.Model(x, conv(conv(x))), 0.1)
    with pytest.raises(ValueError, match="must be a functional Keras model"):
        ScaledResidual(conv, 0.1)
