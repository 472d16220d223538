"""The layers against explicit finite differences, and the contracts of a Keras layer."""

import functools
import inspect

import keras
import numpy as np
import pytest
from conftest import BACKEND, NUMPY_PADDING, shifted, to_format

from keras_pdenets.layers import (
    DecomposedConv2D,
    DepthwiseStencil2D,
    PDEConv2D,
    PolynomialConv2D,
    QuasiLinear2D,
)
from keras_pdenets.operators import PDE_STENCILS, pde_coefficients

# JAX computes in float64 only where the whole process does.
DTYPE, TOLERANCE = ("float32", 1e-5) if BACKEND == "jax" else ("float64", 1e-12)
LAYERS = [PDEConv2D, DecomposedConv2D]
ALL_LAYERS = [*LAYERS, DepthwiseStencil2D, PolynomialConv2D, QuasiLinear2D]


def _numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _tensor(images, data_format="channels_last"):
    return keras.ops.convert_to_tensor(to_format(images, data_format), DTYPE)


def _assert_close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)


def _finite_differences(images, coefficients, boundary):
    """The sum of Eq. (44) written out, in float64."""
    u = shifted(images, boundary)
    derivatives = [
        u[0, 1] - 2 * u[0, 0] + u[0, -1],
        u[1, 0] - 2 * u[0, 0] + u[-1, 0],
        u[1, 1] - u[1, -1] - u[-1, 1] + u[-1, -1],
        u[0, 1] - u[0, -1],
        u[1, 0] - u[-1, 0],
        u[0, 0],
    ]
    return sum(d @ c for d, c in zip(derivatives, coefficients, strict=True))


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("boundary", NUMPY_PADDING)
def test_pde_layer_equals_finite_differences(boundary, strides, data_format):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 7, 9, 3))
    layer = PDEConv2D(5, strides, boundary, form="quadratic", data_format=data_format, dtype=DTYPE)
    found = _numpy(layer(_tensor(images, data_format)))
    coefficients = pde_coefficients(*(_numpy(w) for w in (layer.sigma, layer.b, layer.c)))
    wanted = _finite_differences(images, coefficients, boundary)[:, ::strides, ::strides]
    np.testing.assert_allclose(
        found, to_format(wanted, data_format), atol=TOLERANCE, rtol=TOLERANCE
    )
    assert layer.compute_output_shape(to_format(images, data_format).shape) == found.shape


def test_normalized_layer_is_the_true_operator_on_a_quadratic():
    layer = PDEConv2D(1, normalize=True, form="quadratic", use_bias=False, dtype=DTYPE)
    u = np.fromfunction(lambda b, y, x, c: x * x + 3 * x * y + 2.0 * y + b * c, (1, 5, 5, 1))
    found = _numpy(layer(_tensor(u)))[0, 2, 2, 0]
    (s1, s2), (b1, b2), (c1, c2) = (_numpy(w)[:, 0, 0] for w in (layer.sigma, layer.b, layer.c))
    # At (2, 2): u_xx = 2, u_yy = 0, u_xy = 3, u_x = 10, u_y = 8, u = 20.
    wanted = s1**2 / 2 * 2 + s2**2 / 2 * 0 + b1 * b2 * 3 + b1 * c2 * 10 + b2 * c1 * 8 + c1 * c2 * 20
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("boundary", NUMPY_PADDING)
@pytest.mark.parametrize("mid_filters", ["output", "input", 4])
def test_decomposed_layer_equals_two_passes(mid_filters, boundary, strides, data_format):
    images = np.random.default_rng(1).normal(size=(2, 7, 9, 3))
    layer = DecomposedConv2D(
        5, mid_filters, strides, boundary, data_format=data_format, dtype=DTYPE
    )
    found = _numpy(layer(_tensor(images, data_format)))
    row, column = _numpy(layer.row_kernel)[0], _numpy(layer.column_kernel)[:, 0]
    u = shifted(images, boundary)
    middle = sum(u[0, j] @ row[j + 1] for j in (-1, 0, 1))
    v = shifted(middle, boundary)
    wanted = sum(v[i, 0] @ column[i + 1] for i in (-1, 0, 1))[:, ::strides, ::strides]
    np.testing.assert_allclose(
        found, to_format(wanted, data_format), atol=TOLERANCE, rtol=TOLERANCE
    )
    assert row.shape[-1] == {"output": 5, "input": 3}.get(mid_filters, mid_filters)


def _moments(layers, images):
    """Second moment of the activations after each layer and a ReLU."""
    moments = []
    for layer in layers:
        images = keras.ops.relu(layer(images))
        moments.append(float(_numpy(keras.ops.mean(keras.ops.square(images)))))
    return np.array(moments)


@pytest.mark.once
@pytest.mark.parametrize("make", [*LAYERS, functools.partial(PDEConv2D, form="quadratic")])
def test_activations_keep_the_size_that_he_gives_them(make):
    images = np.random.default_rng(2).normal(size=(4, 16, 16, 64)).astype("float32")
    logs = []
    for seed in range(0, 1000, 100):
        he = (keras.initializers.HeNormal(seed + i) for i in range(10))
        common = {"use_bias": False, "data_format": "channels_last"}
        dense = [
            keras.layers.Conv2D(64, 3, padding="same", kernel_initializer=init, **common)
            for init in he
        ]
        layers = [make(64, seed=seed + i, **common) for i in range(10)]
        logs.append(np.log(_moments(layers, images) / _moments(dense, images)))
    # Ten draws: one alone strays by a factor of 1.4 (64 channels, ten layers).
    ratio = np.exp(np.mean(logs, axis=0))
    assert ratio.max() < 2, ratio
    assert ratio.min() > 0.5, ratio


@pytest.mark.parametrize("make", ALL_LAYERS)
def test_config_is_complete(make):
    values = {"filters": 3, "strides": 2, "boundary": "reflect", "use_bias": False, "seed": 7}
    values |= {"data_format": "channels_first", "normalize": True, "mid_filters": 2}
    values |= {"depth_multiplier": 3, "shared": True, "equation": 6, "multiplier": 5}
    values |= {"shared_stencil": False, "degree": 0, "train_norm": False, "form": "stencils"}
    values |= {"terms": ("dx", "id")}
    names = set(inspect.signature(make.__init__).parameters) - {"self", "kwargs"}
    layer = make(**{name: values[name] for name in names}, name="a", dtype="mixed_bfloat16")
    config = layer.get_config()
    assert {name: config[name] for name in names} == {name: values[name] for name in names}
    assert make.from_config(config).get_config() == config


@pytest.mark.parametrize("make", ALL_LAYERS)
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_precisions(make, dtype):
    images = np.random.default_rng(3).normal(size=(2, 8, 8, 3)).astype("float32")
    layer = make(4, dtype=dtype, seed=1)
    output = layer(images)
    assert keras.backend.standardize_dtype(output.dtype) == layer.compute_dtype
    reference = make(4, dtype="float32")
    reference.build(images.shape)
    for mine, other in zip(reference.weights, layer.weights, strict=True):
        mine.assign(keras.ops.cast(other, "float32"))
    error = _numpy(keras.ops.cast(output, "float32")) - _numpy(reference(images))
    assert np.abs(error).max() < {"mixed_bfloat16": 0.1, "mixed_float16": 0.01}[dtype]


@pytest.mark.parametrize("train_norm", [True, False])
def test_a_norm_that_is_not_trained_stays_so_through_freeze_and_thaw(train_norm):
    layer = QuasiLinear2D(4, train_norm=train_norm, data_format="channels_last")
    inner = keras.Sequential([keras.Input((8, 8, 4)), layer])
    model = keras.Sequential([keras.Input((8, 8, 4)), inner])
    names = [v.path for v in layer.trainable_variables]
    assert len(names) == 3 + 2 * train_norm
    for holder in (model, inner, layer):
        holder.trainable = False
        assert not layer.trainable_variables
        holder.trainable = True
        assert [v.path for v in layer.trainable_variables] == names
        images = np.random.default_rng(0).normal(size=(4, 8, 8, 4)).astype("float32")
        before = _numpy(layer.stencil_norm.moving_mean).copy()
        model(images, training=True)
        moved = np.abs(_numpy(layer.stencil_norm.moving_mean) - before).max() > 0
        assert moved == train_norm
    again = QuasiLinear2D.from_config(layer.get_config())
    assert again.train_norm == train_norm


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": True}, "`filters` must be a positive integer"),
        ({"filters": 0}, "`filters` must be a positive integer. Received: filters=0"),
        ({"filters": 2.5}, "`filters` must be a positive integer"),
        ({"filters": 2, "strides": 0}, "`strides` must be a positive integer"),
        ({"filters": 2, "boundary": "neumann"}, "`boundary` must be one of zero, replicate"),
        ({"filters": 2, "data_format": "NHWC"}, "`data_format` must be one of channels_last"),
    ],
)
def test_errors_name_the_argument(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("make", ALL_LAYERS)
def test_errors_of_the_input(make):
    with pytest.raises(ValueError, match="needs images of rank 4"):
        make(2)(np.zeros((3, 8, 8), "float32"))
    with pytest.raises(ValueError, match="needs a known number of channels"):
        make(2, data_format="channels_last").build((None, 8, 8, None))
    with pytest.raises(ValueError, match="needs sides of at least two pixels"):
        make(2, boundary="reflect").build((None, 1, 1, 1))
    layer = make(2, data_format="channels_last")
    layer.build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
        layer(np.zeros((1, 8, 8, 4), "float32"))


@pytest.mark.parametrize("make", ALL_LAYERS)
def test_one_seed_gives_one_layer(make):
    first, second = make(4, seed=5), make(4, seed=5)
    for layer in (first, second):
        layer.build((None, 8, 8, 3))
    for a, b in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(_numpy(a), _numpy(b))
    if make is PDEConv2D:  # different parameters must not be one draw
        printed = make(4, form="quadratic", seed=5)
        printed.build((None, 8, 8, 3))
        b, c = (_numpy(w).ravel() for w in (printed.b, printed.c))
        assert abs(np.corrcoef(b, c)[0, 1]) < 0.6


def test_the_stencils_of_the_layer_are_those_of_the_table():
    layer = PDEConv2D(1, form="quadratic", dtype=DTYPE)
    layer.build((None, 3, 3, 1))
    for index in range(2):
        layer.sigma.assign(np.eye(2)[index].reshape(2, 1, 1))
        layer.b.assign(np.zeros((2, 1, 1)))
        layer.c.assign(np.zeros((2, 1, 1)))
        kernel = _numpy(layer.assemble_kernel())[:, :, 0, 0]
        np.testing.assert_array_equal(kernel, PDE_STENCILS[index].kernel)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_polynomial_layer_equals_the_sum_written_out(boundary, strides, data_format):
    images = np.random.default_rng(5).normal(size=(2, 7, 9, 3))
    layer = PolynomialConv2D(4, 1, strides, boundary, data_format=data_format, dtype=DTYPE)
    x = _tensor(images, data_format)
    layer(x)
    for index, weight in enumerate(layer.weights):
        weight.assign(np.random.default_rng(index).normal(size=tuple(weight.shape)))
    u = shifted(images, boundary)
    parts = [
        sum(u[i, j] @ _numpy(kernel)[i + 1, j + 1] for i, j in u)
        for kernel in (layer.kernel, *layer.slope_kernels)
    ]
    column, row = (np.arange(9) - 4) / 4.5, (np.arange(7) - 3) / 4.5
    wanted = parts[0] + parts[1] * column[:, None] + parts[2] * row[:, None, None]
    wanted = to_format((wanted + _numpy(layer.bias))[:, ::strides, ::strides], data_format)
    _assert_close(_numpy(layer(x)), wanted)
    assert layer.compute_output_shape(x.shape) == wanted.shape


def _rotated(size, angle, steps=400):
    """Error of u_t = -y u_x + x u_y, solved with the layer, against the rotated image."""
    half = size / 2.0
    layer = PolynomialConv2D(1, 1, use_bias=False, data_format="channels_last", dtype=DTYPE)
    layer.build((None, size, size, 1))
    along_x, along_y = np.zeros((2, 3, 3, 1, 1))
    along_x[1, :, 0, 0] = along_y[:, 1, 0, 0] = np.array([-0.5, 0.0, 0.5]) * half
    layer.kernel.assign(np.zeros((3, 3, 1, 1)))
    layer.slope_kernels[0].assign(along_y)  # x u_y
    layer.slope_kernels[1].assign(-along_x)  # -y u_x
    places = (np.arange(size) - (size - 1) / 2) / half
    x, y = np.meshgrid(places, places)

    def blob(x, y):
        return np.exp(-((x - 0.3) ** 2 + (y + 0.1) ** 2) / 0.05)

    u, dt = blob(x, y)[None, ..., None], angle / steps

    def slope(u):
        return _numpy(layer(keras.ops.convert_to_tensor(u, DTYPE)))

    for _ in range(steps // 4):  # Runge-Kutta of order 4, whose error is far below the grid's
        h = 4 * dt
        k1 = slope(u)
        k2 = slope(u + h / 2 * k1)
        k3 = slope(u + h / 2 * k2)
        u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(u + h * k3))
    cos, sin = np.cos(angle), np.sin(angle)
    return np.abs(u[0, ..., 0] - blob(x * cos - y * sin, x * sin + y * cos)).max()


@pytest.mark.once
def test_the_special_equation_rotates_the_image_at_second_order():
    coarse, fine = _rotated(24, 0.8), _rotated(48, 0.8)
    assert fine < 0.05
    assert 3.0 < coarse / fine < 5.5
