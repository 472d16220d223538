"""2-norms of layers: bounds against dense matrices, in NumPy and of the layers themselves."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, DATA_FORMATS
from keras import layers as keras_layers

from keras_pdenets import layers as own
from keras_pdenets.analysis import spectral_norms
from keras_pdenets.operators.norms import circular_norm, convolution_norm
from keras_pdenets.plots import plot_spectral_norms

CASES = 1000


def _places(size, side, stride, rate, padding):
    """1 where an output pixel reads an input pixel by a point of the kernel: (out, in, point)."""
    full = (side - 1) * rate + 1
    count, before = (size - full) // stride + 1, 0
    if padding == "same":
        count = -(-size // stride)
        before = max((count - 1) * stride + full - size, 0) // 2
    out, point = np.meshgrid(np.arange(count), np.arange(side), indexing="ij")
    read = out * stride - before + point * rate
    table = np.zeros((count, size, side))
    inside = (read >= 0) & (read < size)
    table[out[inside], read[inside], point[inside]] = 1
    return table


def _dilated(kernel, rates):
    wide = np.zeros([(k - 1) * r + 1 for k, r in zip(kernel.shape, rates, strict=False)]
                    + list(kernel.shape[2:]))  # fmt: skip
    wide[:: rates[0], :: rates[1]] = kernel
    return wide


def _random_cases():
    """Kernel, sides, strides and dense matrix of convolutions of every kind, drawn at random."""
    rng = np.random.default_rng(0)
    for _ in range(CASES):
        sides, shape = rng.integers(1, 8, 2), rng.integers(1, 6, 2)
        strides, rates = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
        kernel = rng.normal(size=(*shape, *rng.integers(1, 4, 2)))
        if rng.random() < 0.3:  # smooth ones have their largest gain at one frequency alone
            kernel = np.abs(kernel)
        fits = all((k - 1) * r < n for k, r, n in zip(shape, rates, sides, strict=True))
        padding = "valid" if fits and rng.random() < 0.5 else "same"
        rows, columns = (
            _places(n, k, s, r, padding)
            for n, k, s, r in zip(sides, shape, strides, rates, strict=True)
        )
        dense = np.einsum("yia,xjb,abcd->yxdijc", rows, columns, kernel, optimize=True)
        dense = dense.reshape(np.prod(dense.shape[:3]), -1)
        yield _dilated(kernel, rates), tuple(sides), tuple(strides), np.linalg.norm(dense, 2)


@pytest.mark.once
def test_no_bound_is_violated_in_a_thousand_cases():
    looseness, grid, reshaped = [], 0, 0
    for kernel, sides, strides, norm in _random_cases():
        bound = convolution_norm(kernel, sides=sides, strides=strides)
        anything = convolution_norm(kernel, sides=sides)
        everywhere = convolution_norm(kernel)
        assert norm <= bound
        assert norm <= anything
        assert norm <= everywhere
        if norm:
            looseness.append(bound / norm)
        # The traps: the grid of the image itself, and the kernel as one matrix.
        grid += norm > circular_norm(kernel, sides) * (1 + 1e-9)
        reshaped += norm > np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2) * (1 + 1e-9)
    assert np.median(looseness) < 1.6  # 1.9 where strides are taken for none
    assert grid > 0
    assert reshaped > 50


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_the_norm_on_a_torus_is_that_of_the_dense_matrix(strides):
    rng, (height, width) = np.random.default_rng(1), (4, 6)
    kernel = rng.normal(size=(5, 3, 3, 2))  # longer than the torus: it is wound up
    dense = np.zeros((height, width, 2, height, width, 3))
    for y, x, i, j in np.ndindex(height, width, 5, 3):
        dense[y, x, :, (y + i) % height, (x + j) % width] += kernel[i, j].T
    dense = dense[:: strides[0], :: strides[1]].reshape(-1, height * width * 3)
    wanted = np.linalg.norm(dense, 2)
    assert circular_norm(kernel, (height, width), strides) == pytest.approx(wanted, rel=1e-9)


def test_groups_and_large_images_are_bounded():
    rng = np.random.default_rng(2)
    kernel = rng.normal(size=(3, 3, 2, 6))
    parts = [convolution_norm(kernel[..., 2 * g : 2 * g + 2], sides=(5, 4)) for g in range(3)]
    assert convolution_norm(kernel, sides=(5, 4), groups=3) == pytest.approx(max(parts), rel=1e-9)
    kernel = rng.normal(size=(3, 2, 2))
    dense = np.einsum("yia,acd->ydic", _places(90, 3, 1, 1, "same"), kernel).reshape(180, 180)
    norm = np.linalg.norm(dense, 2)
    assert norm <= convolution_norm(kernel, sides=(90,)) < 1.005 * norm
    assert norm <= convolution_norm(kernel, samples=16, sides=(90,)) < 1.05 * norm
    # Its largest gain is midway between two of the 16 frequencies.
    kernel = np.array([1.0, 4 * np.cos(2 * np.pi * 3.5 / 16), -0.5])
    dense = _places(300, 3, 1, 1, "same") @ kernel
    kernel = kernel.reshape(3, 1, 1)
    norm = np.linalg.norm(dense, 2)
    assert circular_norm(kernel, (16,)) < norm
    assert norm <= convolution_norm(kernel, samples=16, sides=(300,)) < 1.02 * norm


@pytest.mark.parametrize("boundary", ["replicate", "reflect"])
def test_copies_beyond_the_border_count(boundary):
    x = keras.Input((5, 6, 1))
    shift = own.PolynomialConv2D(1, degree=0, boundary=boundary)
    model = keras.Model(x, shift(x))
    shift.kernel.assign(np.eye(9)[-1].reshape(3, 3, 1, 1))
    norms = spectral_norms(model)  # the pixel in the corner comes out four times
    assert norms.lower == pytest.approx(2, rel=1e-3)
    assert norms.upper == pytest.approx(2, rel=1e-3)


def _layers(first):
    order = {"data_format": "channels_first" if first else "channels_last"}
    conv, shape = keras_layers.Conv2D, (5, 7, 3)
    yield conv(2, 3, strides=2, padding="same", activation="relu", **order), shape
    yield own.DecomposedConv2D(4, 2, strides=2, **order), shape
    if first:
        return
    yield keras_layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), shape
    yield own.PDEConv2D(2, boundary="replicate", strides=2), shape
    yield keras_layers.Dense(4, activation="softmax"), (5, 3)
    if BACKEND != "torch":  # JAX takes seconds to compile each, for the same NumPy
        return
    yield conv(2, (2, 3), padding="same", dilation_rate=2), shape
    yield conv(4, 3, strides=(2, 1), groups=2), (4, 4, 2)
    yield keras_layers.SeparableConv2D(3, 3, depth_multiplier=2, strides=2), shape
    yield keras_layers.Conv2DTranspose(2, 3, strides=2, padding="same"), (3, 4, 3)
    yield keras_layers.Conv1D(2, 3, strides=2, padding="causal"), (9, 3)
    yield own.LinearFlowStep(), (2, 2, 3)
    yield own.DepthwiseStencil2D(2, shared=True), shape
    yield own.PolynomialConv2D(2), shape
    for boundary in ("zero", "reflect", "periodic"):
        yield own.PDEConv2D(2, boundary=boundary, strides=2), shape
        yield own.PDEConv2D(2, boundary=boundary), (3, 2, 2)
    yield own.PDEConv2D(2, boundary="replicate"), (3, 1, 2)


def _dense_norm(layer, shape):
    """Norm of what the layer does, by columns; bias off, before the activation."""
    bent = getattr(layer, "activation", None)
    if bent is not None:
        layer.activation = keras.activations.linear
    basis = np.eye(np.prod(shape), dtype="float32").reshape(-1, *shape)
    rows = layer(np.concatenate([basis, 0 * basis[:1]]))
    rows = np.array(keras.ops.convert_to_numpy(rows)).reshape(len(basis) + 1, -1)
    if bent is not None:
        layer.activation = bent
    return np.linalg.norm(rows[:-1] - rows[-1:], 2)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("data_format", DATA_FORMATS)
def test_bounds_of_layers_enclose_the_norms_of_their_matrices(data_format):
    first, rng = data_format == "channels_first", np.random.default_rng(3)
    inputs, outputs, wanted = [], [], []
    for layer, shape in _layers(first):
        shape = np.roll(shape, 1) if first else shape
        inputs.append(keras.Input(shape))
        outputs.append(layer(inputs[-1]))
        for variable in layer.weights:
            variable.assign(rng.normal(size=tuple(variable.shape)))
        wanted.append((layer, _dense_norm(layer, shape)))
    model = keras.Model(inputs, outputs)
    before = [len(layer._inbound_nodes) for layer in model.layers]
    norms = spectral_norms(model, steps=60)
    assert before == [len(layer._inbound_nodes) for layer in model.layers]
    assert norms.others == ()
    found = dict(zip(norms.names, zip(norms.lower, norms.upper, strict=True), strict=True))
    assert len(found) == len(wanted)
    for layer, norm in wanted:
        low, high = found[layer.name]
        assert 0.97 * norm < low < (1 + 1e-5) * norm, layer
        # Copies on the border, and coefficients that change, cost up to these factors.
        slack = 1.75 if getattr(layer, "boundary", "zero") == "zero" else 2.6
        if isinstance(layer, own.PolynomialConv2D) or min(layer.input.shape[1:3]) < 3:
            slack = 10
        assert (1 - 1e-6) * norm < high < slack * norm, layer


def test_sizes_may_be_open_and_precision_half(tmp_path):
    models = []
    for dtype in ("float32", "mixed_float16"):
        x = keras.Input((None, None, 1))
        twice = keras_layers.Conv2D(1, 1, name="twice")
        y = keras_layers.Conv2D(1, 3, dtype=dtype, name="half")(x)
        models.append(keras.Model(x, twice(twice(y))))
    models[1].set_weights(models[0].get_weights())
    single, norms = (spectral_norms(model, steps=40) for model in models)
    assert norms.names == ("half", "twice")  # both calls of one layer have one norm
    np.testing.assert_allclose(norms.lower, single.lower, rtol=1e-5)
    assert (norms.lower <= norms.upper).all()
    assert (norms.lower > 0.9 * norms.upper).all()
    assert "half (Conv2D)" in str(norms)
    plot_spectral_norms(norms, tmp_path / "norms.png")
    assert (tmp_path / "norms.png").stat().st_size > 1000


def test_zero_kernels_and_layers_without_bound():
    x = keras.Input((4, 4, 2))
    y = keras_layers.Conv2D(2, 3, padding="same", kernel_initializer="zeros", name="zeros")(x)
    y = keras_layers.EinsumDense("bhwc,cd->bhwd", (4, 4, 2), name="products")(y)
    norms = spectral_norms(keras.Model(x, y))
    assert (norms.lower, norms.upper) == (0, 0)
    assert norms.others == ("products",)
    assert "no bound is known for products" in str(norms)


def test_what_is_wrong_is_said():
    x = keras.Input((4,))
    with pytest.raises(ValueError, match="`model` must have a convolution or a dense layer"):
        spectral_norms(keras.Model(x, keras_layers.ReLU()(x)))
    with pytest.raises(ValueError, match="`steps` must be a positive integer"):
        spectral_norms(keras.Model(x, keras_layers.Dense(1)(x)), steps=0)
    with pytest.raises(ValueError, match="has no graph"):
        spectral_norms(keras.Sequential())
    dense = keras_layers.Dense(2, name="lost")
    lost = keras.Sequential([keras.Input((3,)), dense])
    dense.kernel.assign(np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="'lost' has non-finite weights"):
        spectral_norms(lost)
