"""Energies and symbols of learned operators, against loops, quadrature and FFT."""

import csv

import keras
import numpy as np
import pytest

from keras_pdenets import layers
from keras_pdenets.analysis import fourier_symbols, path_integral
from keras_pdenets.analysis.action import line_equation
from keras_pdenets.analysis.fourier import kernel_of
from keras_pdenets.operators import PDE_STENCILS, pde_kernel
from keras_pdenets.plots import plot_fourier_symbols, plot_operators, plot_path_integral

RNG = np.random.default_rng(0)


def _pde_net(normalize, draws):
    """Two PDE layers, 1 -> 2 -> 2 channels, with given sigma, b and c."""
    inputs = x = keras.Input((4, 4, 1))
    for i, draw in enumerate(draws):
        layer = layers.PDEConv2D(2, normalize=normalize, form="quadratic", name=f"pde{i}")
        x = layer(x)
        for variable, value in zip((layer.sigma, layer.b, layer.c), draw, strict=True):
            variable.assign(value)
    return keras.Model(inputs, x)


def _draws():
    return [RNG.normal(size=(3, 2, n, 2)).astype("f4") for n in (1, 2)]


@pytest.mark.parametrize("normalize", [False, True])
def test_action_is_that_of_a_loop(normalize, tmp_path):
    draws = _draws()
    draws[1][0, 1, 0, 1] = 0.0  # sigma of one operator, along y
    report = path_integral(_pde_net(normalize, draws), velocity=0.3)
    action, left_out = 0.0, 0
    for layer, (s, b, c) in zip(report.layers, draws, strict=True):
        lagrangians = []
        for axis in (0, 1):
            for n in range(s.shape[1]):
                for o in range(2):
                    # Eq. (44): sigma_x^2 dxx + b_x c_y dx + c_x c_y, or the same along y. Without
                    # normalize the stencil of dx is 2 d/dx, and 1/2 sigma^2 is the factor of dxx.
                    here, there = axis, 1 - axis
                    sigma2 = float(s[here, n, o]) ** 2 * (1 if normalize else 2)
                    drift = float(b[here, n, o]) * float(c[there, n, o]) * (1 if normalize else 2)
                    growth = float(c[0, n, o]) * float(c[1, n, o])
                    assert layer.variance[axis, n, o] == pytest.approx(sigma2, rel=1e-12)
                    assert layer.drift[axis, n, o] == pytest.approx(drift, rel=1e-12)
                    assert layer.growth[axis, n, o] == pytest.approx(growth, rel=1e-12)
                    if sigma2 <= 0:
                        left_out += 1
                        assert np.isnan(layer.lagrangian[axis, n, o])
                        continue
                    kinetic = (0.3 + drift) ** 2 / (2 * sigma2)
                    potential = growth - np.log(np.sqrt(sigma2))
                    assert layer.kinetic[axis, n, o] == pytest.approx(kinetic, rel=1e-12)
                    assert layer.potential[axis, n, o] == pytest.approx(potential, rel=1e-12)
                    lagrangians.append(kinetic - potential)
        action += np.median(lagrangians)
    assert report.action[-1] == pytest.approx(action, rel=1e-12)
    assert (report.left_out, left_out) == (1, 1)
    assert "2 PDE layers" in str(report)
    assert "1 of 12 equations along x or y left out" in str(report)
    report.write_csv(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], row["operators"], row["left_out"]) for row in rows] == [
        ("pde0", "4", "0"), ("pde1", "8", "1"),
    ]  # fmt: skip
    assert float(rows[1]["action"]) == report.action[1]


@pytest.mark.parametrize("normalize", [False, True])
def test_the_line_equation_is_what_the_kernel_does_to_parabolas(normalize):
    draw = _draws()[1]
    layer = _pde_net(normalize, [_draws()[0], draw]).get_layer("pde1")
    kernel = pde_kernel(*draw.astype("float64"), normalize)
    second, first, value = 0.7, -0.4, 1.3
    parabola = second * np.array([-1, 0, 1]) ** 2 / 2 + first * np.array([-1, 0, 1]) + value
    variance, drift, growth = line_equation(layer)
    for axis, patch in enumerate((np.tile(parabola, (3, 1)), np.tile(parabola[:, None], (1, 3)))):
        found = np.einsum("ij,ijno->no", patch, kernel)
        wanted = 0.5 * variance[axis] * second + drift[axis] * first + growth[axis] * value
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_energies_are_the_integral_over_momenta():
    # Eq. (37): the sum of e^{ip x'} e^{-H(p)} over p is e^{V - T}, but for 1 / sqrt(2 pi).
    draw = np.array([[0.5, -1.5], [1.0, -0.3], [0.2, 0.8]], "f4")  # sigma, b and c of two axes
    draws = [np.repeat(draw, n * 2, axis=-1).reshape(3, 2, n, 2) for n in (1, 2)]
    report = path_integral(_pde_net(True, draws), velocity=0.6)
    p, step = np.linspace(-40, 40, 4001, retstep=True)
    layer = report.layers[0]
    for place in np.ndindex(layer.variance.shape):
        s2, b, c = (a[place] for a in (layer.variance, layer.drift, layer.growth))
        hamiltonian = 0.5 * s2 * p**2 - 1j * b * p - c
        integral = np.exp(1j * p * 0.6 - hamiltonian).sum().real * step / np.sqrt(2 * np.pi)
        assert np.exp(-layer.lagrangian[place]) == pytest.approx(integral, rel=1e-9)


def test_a_layer_without_diffusion_adds_nothing_to_the_action():
    draws = _draws()
    draws[0][0] = 0.0
    report = path_integral(_pde_net(False, draws))
    assert np.isnan(report.lagrangian[0])
    assert report.action[0] == 0.0
    assert report.action[1] == pytest.approx(report.lagrangian[1])
    assert report.left_out == 4


def test_pde_layers_are_found_in_order_and_inside_models():
    model = _pde_net(True, _draws())
    inputs = keras.Input((4, 4, 1))
    last = layers.PDEConv2D(1, form="quadratic", name="last")
    outer = keras.Model(inputs, last(model(keras.layers.ReLU()(inputs))))
    assert [layer.name for layer in path_integral(outer).layers] == ["pde0", "pde1", "last"]
    # The path that drifts along costs no kinetic energy.
    for variable, value in zip((last.sigma, last.b, last.c), (1.0, 0.5, 1.0), strict=True):
        variable.assign(np.full(variable.shape, value))
    (*_, found) = path_integral(outer, velocity=-1.0).layers  # of a stencil that is 2 d/dx
    np.testing.assert_allclose(found.kinetic, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.potential, 1.0 - 0.5 * np.log(2.0), atol=1e-12)
    with pytest.raises(ValueError, match="must have PDE layers"):
        path_integral(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)))
    with pytest.raises(ValueError, match="`velocity` must be finite"):
        path_integral(model, velocity=np.inf)


CLOSED_FORMS = {
    "dxx": lambda x, y: 2 * np.cos(x) - 2,
    "dyy": lambda x, y: 2 * np.cos(y) - 2,
    "dxy": lambda x, y: -4 * np.sin(x) * np.sin(y),
    "dx": lambda x, y: 2j * np.sin(x),
    "dy": lambda x, y: 2j * np.sin(y),
    "id": lambda x, y: np.ones_like(x),
}


@pytest.mark.parametrize("stencil", PDE_STENCILS, ids=lambda s: s.name)
@pytest.mark.parametrize("size", [7, 8])
def test_symbols_of_the_stencils_have_closed_forms(stencil, size):
    waves = fourier_symbols(stencil.kernel, size)
    assert (np.diff(waves.frequencies) > 0).all()
    y, x = np.meshgrid(waves.frequencies, waves.frequencies, indexing="ij")
    found = waves.symbols[..., 0, 0]
    np.testing.assert_allclose(found, CLOSED_FORMS[stencil.name](x, y), atol=1e-12)
    # Towards 0 it is that of the derivative.
    m, n = stencil.derivative
    small = waves.frequencies / 1e3
    kernel_waves = np.exp(1j * np.outer(small, [-1, 0, 1]))
    near = np.einsum("pi,qj,ij->pq", kernel_waves, kernel_waves, stencil.kernel)
    wanted = stencil.scale * (1j * x / 1e3) ** m * (1j * y / 1e3) ** n
    np.testing.assert_allclose(near, wanted, atol=1e-4 * max(np.abs(wanted).max(), 1e-9))


def test_symbols_of_a_pde_layer_are_sums_of_closed_forms():
    draw = _draws()[1]
    layer = _pde_net(False, [_draws()[0], draw]).get_layer("pde1")
    waves = fourier_symbols(layer, 6)
    y, x = np.meshgrid(waves.frequencies, waves.frequencies, indexing="ij")
    s, b, c = draw.astype("float64")
    factors = (s[0] ** 2, s[1] ** 2, b[0] * b[1], b[0] * c[1], b[1] * c[0], c[0] * c[1])
    forms = [CLOSED_FORMS[stencil.name](x, y) for stencil in PDE_STENCILS]
    wanted = np.einsum("kpq,kno->pqno", np.array(forms), np.array(factors))
    np.testing.assert_allclose(waves.symbols, wanted, atol=1e-5)
    np.testing.assert_allclose(waves.amplitude, np.abs(wanted), atol=1e-5)


@pytest.mark.parametrize("sides", [(3, 3), (1, 3), (2, 4), (5, 3)])
def test_symbols_are_the_fft_of_the_padded_kernel(sides):
    kernel = RNG.normal(size=(*sides, 2, 3))
    padded = np.zeros((8, 8, 2, 3))
    padded[: sides[0], : sides[1]] = kernel
    middle = [-((side - 1) // 2) for side in sides]
    # A cross-correlation: the inverse transform has its sign.
    wanted = 64 * np.fft.ifft2(np.roll(padded, middle, (0, 1)), axes=(0, 1))
    found = fourier_symbols(kernel, 8)
    np.testing.assert_allclose(found.symbols, np.fft.fftshift(wanted, (0, 1)), atol=1e-12)


LAYERS = {
    "pde": lambda: layers.PDEConv2D(3, boundary="periodic", use_bias=False, seed=1),
    "decomposed": lambda: layers.DecomposedConv2D(
        3, mid_filters=5, boundary="periodic", use_bias=False, seed=1
    ),
    "polynomial": lambda: layers.PolynomialConv2D(
        3, degree=0, boundary="periodic", use_bias=False, seed=1
    ),
    "conv": lambda: keras.layers.Conv2D(3, 3, padding="same", use_bias=False),
    "even": lambda: keras.layers.Conv2D(3, (2, 4), padding="same", use_bias=False),
    "dilated": lambda: keras.layers.Conv2D(3, 3, dilation_rate=2, padding="same", use_bias=False),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(
        3, depth_multiplier=3, padding="same", use_bias=False
    ),
    "shared": lambda: layers.DepthwiseStencil2D(3, shared=True, boundary="periodic", seed=1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_multiplies_a_wave_by_its_symbol(name):
    depthwise = name in ("depthwise", "shared")
    channels, size = 1 if depthwise else 2, 8
    layer = LAYERS[name]()
    layer.build((None, size, size, channels))
    waves = fourier_symbols(layer, size)
    row, column = 2, 7  # of the frequencies
    place = np.arange(size)
    phase = np.add.outer(waves.frequencies[row] * place, waves.frequencies[column] * place)
    for channel in range(channels):
        x = np.zeros((1, size, size, channels), "f4")
        x[0, :, :, channel] = np.cos(phase)
        found = keras.ops.convert_to_numpy(layer(x))[0]
        factors = waves.symbols[row, column, 0 if depthwise else channel]
        wanted = (factors * np.exp(1j * phase)[..., None]).real
        inner = slice(2, -2)  # Keras' own layers have zeros beyond the border
        np.testing.assert_allclose(found[inner, inner], wanted[inner, inner], atol=1e-5)


def test_what_has_no_symbol_is_refused():
    with pytest.raises(ValueError, match=r"kernel of shape .*Received: shape \(3,\)"):
        fourier_symbols(np.ones(3))
    with pytest.raises(ValueError, match="`size` must be a positive integer"):
        fourier_symbols(np.ones((3, 3)), 0)
    with pytest.raises(ValueError, match="must be built"):
        fourier_symbols(layers.PDEConv2D(2))
    for layer, match in (
        (keras.layers.Dense(2), "type Dense$"),
        (layers.PolynomialConv2D(2), "PolynomialConv2D, whose kernel varies in space"),
    ):
        layer.build((None, 4, 4, 2))
        with pytest.raises(ValueError, match=match):
            kernel_of(layer)


def test_pictures(tmp_path):
    model = _pde_net(False, _draws())
    layer = model.get_layer("pde1")
    plot_operators(layer, tmp_path / "k.png", "kernels", channels=1, filters=2)
    plot_fourier_symbols(fourier_symbols(layer, 5), tmp_path / "f.png", channels=2, filters=1)
    plot_path_integral({"net": path_integral(model)}, tmp_path / "p.png")
    for name in "kfp":
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
