"""The two forms of the PDE operator: quadratic, as printed, and linear, with six free factors."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, NUMPY_PADDING, build, fill, shifted, to_format

import keras_pdenets
from keras_pdenets.analysis import path_integral
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.files import load_weights, write_weights
from keras_pdenets.layers import PDEConv2D
from keras_pdenets.layers.pde_conv import FORMS
from keras_pdenets.operators import (
    PDE_STENCILS,
    STENCILS,
    derivative_factors,
    discriminant,
    nearest_eq44,
    pde_basis,
    pde_coefficients,
    pde_kernel,
    pde_orthonormal_basis,
)
from keras_pdenets.presets import Checkpoint
from keras_pdenets.training.models import build_model
from keras_pdenets.transforms import fold, to_linear_form, to_quadratic_form

DTYPE, TOLERANCE = ("float32", 1e-5) if BACKEND == "jax" else ("float64", 1e-12)
LINEAR = {"operator_options": {"form": "linear"}}
QUADRATIC = {"operator_options": {"form": "quadratic"}}


def _numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor), "float64")


def _built(channels=3, filters=5, **options):
    layer = PDEConv2D(filters, dtype=DTYPE, **options)
    layer.build((None, 8, 8, channels))
    return layer


def test_the_orthonormal_basis_spans_the_six_stencils_in_their_order():
    basis = pde_orthonormal_basis().reshape(6, 9)
    np.testing.assert_allclose(basis @ basis.T, np.eye(6), atol=1e-15)
    stencils = pde_basis().reshape(6, 9)
    for count in range(1, 7):
        rest = stencils[:count] - stencils[:count] @ basis[:count].T @ basis[:count]
        np.testing.assert_allclose(rest, 0, atol=1e-14)
    assert (np.diag(stencils @ basis.T) > 0).all()


@pytest.mark.parametrize("normalize", [False, True])
def test_the_factors_of_the_stencils_are_exact(normalize):
    wanted = [s.scale for s in PDE_STENCILS]
    if normalize:
        wanted = [0.5, 0.5, 1, 1, 1, 1]
    np.testing.assert_array_equal(derivative_factors(pde_basis(normalize)), np.diag(wanted))


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("boundary", NUMPY_PADDING)
def test_the_linear_layer_equals_finite_differences(boundary, strides, data_format):
    images = np.random.default_rng(0).normal(size=(2, 7, 9, 3))
    layer = PDEConv2D(
        5, strides, boundary, form="linear", data_format=data_format, dtype=DTYPE, seed=1
    )
    found = _numpy(layer(keras.ops.convert_to_tensor(to_format(images, data_format), DTYPE)))
    dxx, dyy, dxy, dx, dy, one = _numpy(layer.coefficients())
    u = shifted(images, boundary)
    wanted = (
        (u[0, 1] - 2 * u[0, 0] + u[0, -1]) @ dxx
        + (u[1, 0] - 2 * u[0, 0] + u[-1, 0]) @ dyy
        + (u[1, 1] - u[1, -1] - u[-1, 1] + u[-1, -1]) / 4 @ dxy
        + (u[0, 1] - u[0, -1]) / 2 @ dx
        + (u[1, 0] - u[-1, 0]) / 2 @ dy
        + u[0, 0] @ one
    )[:, ::strides, ::strides]
    np.testing.assert_allclose(
        found, to_format(wanted, data_format), atol=TOLERANCE, rtol=TOLERANCE
    )


@pytest.mark.parametrize("normalize", [False, True])
def test_coefficients_of_the_quadratic_form_are_those_of_the_paper(normalize):
    layer = _built(normalize=normalize, form="quadratic")
    s, b, c = map(_numpy, (layer.sigma, layer.b, layer.c))
    half, two, four = (0.5, 1, 1) if normalize else (1, 2, 4)
    wanted = [half * s[0] ** 2, half * s[1] ** 2, four * b[0] * b[1], two * b[0] * c[1],
              two * b[1] * c[0], c[0] * c[1]]  # fmt: skip
    np.testing.assert_allclose(_numpy(layer.coefficients()), wanted, rtol=TOLERANCE)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("form", ["linear", "stencils"])
def test_the_start_of_the_free_forms_has_the_second_moment_of_he(form):
    channels, squares = 8, []
    for seed in range(1000):
        layer = PDEConv2D(4, form=form, seed=seed)
        layer.build((None, 8, 8, channels))
        squares.append(_numpy(layer.assemble_kernel()) ** 2)
    mean = np.mean(squares, axis=0).sum(axis=(0, 1))  # E|K|^2 of every pair, over the draws
    # Six squared normal numbers, 1,000 draws, 32 pairs: a relative standard error of 0.0032.
    assert mean.mean() == pytest.approx(2 / channels, rel=0.015)
    assert np.abs(mean * channels / 2 - 1).max() < 5 * (2 / 6 / 1000) ** 0.5


@pytest.mark.once
@pytest.mark.parametrize("form", FORMS)
def test_the_second_moment_over_ten_layers_is_within_a_factor_of_two_of_hes(form):
    def last(make):
        found = []
        for start in range(0, 50, 10):
            x = np.random.default_rng(start).normal(size=(4, 16, 16, 32)).astype("float32")
            for seed in range(start, start + 10):
                x = keras.ops.relu(make(seed)(x))
            found.append(np.square(_numpy(x)).mean())
        return np.median(found)

    wanted = last(
        lambda seed: keras.layers.Conv2D(
            32, 3, padding="same", kernel_initializer=keras.initializers.HeNormal(seed)
        )
    )
    found = last(lambda seed: PDEConv2D(32, form=form, seed=seed))
    assert 0.5 < found / wanted < 2


@pytest.mark.parametrize("form", ["linear", "stencils"])
@pytest.mark.parametrize("terms", [["id"], ["dy", "dx", "id"], [s.name for s in STENCILS]])
def test_a_layer_of_other_terms_holds_their_stencils_only_and_starts_as_he(form, terms):
    layer = _built(64, 32, form=form, terms=terms, seed=2)
    kernel = _numpy(layer.assemble_kernel())
    rows = [s for s in STENCILS if s.name in terms]
    assert layer.terms == tuple(s.name for s in rows)
    factors = _numpy(layer.coefficients())
    wanted = sum(
        np.multiply.outer(s.kernel / s.scale, factor)
        for s, factor in zip(rows, factors, strict=True)
    )
    np.testing.assert_allclose(kernel, wanted, atol=10 * TOLERANCE)
    # 2,048 pairs: the relative standard error of the mean square is 0.03 for one term.
    assert (kernel**2).sum((0, 1)).mean() * 64 / 2 == pytest.approx(1, abs=0.12)
    assert PDEConv2D.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("form", ["linear", "stencils"])
@pytest.mark.parametrize("strides", [1, 2])
def test_nine_terms_are_the_convolution(form, strides):
    layer = _built(form=form, strides=strides, terms=[s.name for s in STENCILS])
    wanted = np.random.default_rng(0).normal(size=(3, 3, 3, 5))
    basis = layer._basis().reshape(9, 9)
    numbers = np.linalg.solve(basis.T, wanted.reshape(9, -1)).reshape(9, 3, 5)
    layer.coordinates.assign(numbers)
    conv = keras.layers.Conv2D(5, 3, strides, "valid", dtype=DTYPE)
    images = keras.ops.convert_to_tensor(np.random.default_rng(1).normal(size=(2, 8, 8, 3)), DTYPE)
    padded = keras.ops.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    conv.build(padded.shape)
    conv.kernel.assign(wanted)
    np.testing.assert_allclose(
        _numpy(layer(images)), _numpy(conv(padded)), atol=10 * TOLERANCE, rtol=10 * TOLERANCE
    )


def test_signed_diffusion_is_eq_44_with_the_sign_of_sigma():
    layer, printed = _built(form="signed", seed=1), _built(form="quadratic", seed=1)
    found, wanted = _numpy(layer.coefficients()), _numpy(printed.coefficients())
    signs = np.sign(_numpy(layer.sigma))
    assert (signs < 0).any()
    np.testing.assert_allclose(found[:2], wanted[:2] * signs, rtol=TOLERANCE)
    np.testing.assert_allclose(found[2:], wanted[2:], rtol=TOLERANCE)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_net_of_eq_44_has_the_same_outputs_in_the_linear_form(normalize):
    options = {"form": "quadratic", "normalize": normalize, "boundary": "replicate"}
    model = fill(
        build("pde_preact_resnet20", config={"num_blocks": 1, "operator_options": options})
    )
    new = to_linear_form(model)
    images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype("float32")
    before, after = (net.predict(images, verbose=0) for net in (model, new))
    np.testing.assert_allclose(after, before, atol=1e-6 * np.abs(before).max())
    forms = {layer.form for layer in new.layers if isinstance(layer, PDEConv2D)}
    assert forms == {"linear"}
    assert new.count_params() == model.count_params()


def test_the_discriminant_is_zero_for_products_alone():
    rng = np.random.default_rng(0)
    s, b, c = rng.normal(size=(3, 2, 500))
    coefficients = pde_coefficients(s, b, c)
    np.testing.assert_allclose(discriminant(coefficients), 0, atol=1e-15)
    coefficients[2] += (
        0.1  # another mixed derivative: no product any more where there is a reaction
    )
    assert (np.abs(discriminant(coefficients)) > 1e-6).mean() > 0.95
    assert discriminant(np.array([1.0, 1, 1, 0, 0, 1])) == 0.5
    assert discriminant(np.zeros(6)) == 0


@pytest.mark.parametrize("normalize", [False, True])
def test_the_nearest_operator_of_eq_44_to_one_of_them_is_itself(normalize):
    s, b, c = np.random.default_rng(0).normal(size=(3, 2, 30, 40))
    kernels = pde_kernel(s, b, c, normalize)
    found = nearest_eq44(kernels, normalize)
    np.testing.assert_allclose(pde_kernel(*found, normalize), kernels, atol=1e-13)
    first = found[1] * (1 if normalize else 2) / 2**0.5  # of an orthonormal first difference
    lengths = np.sqrt(found[2] ** 2 + first**2)
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-10)


def test_no_small_change_of_sigma_b_and_c_comes_nearer():
    rng = np.random.default_rng(0)
    kernels = np.einsum("khw,kn->hwn", pde_orthonormal_basis(), rng.normal(size=(6, 200)))
    found = np.stack(nearest_eq44(kernels))

    def error(parameters):
        return ((pde_kernel(*parameters) - kernels) ** 2).sum((0, 1))

    for _ in range(100):
        moved = found + rng.normal(size=found.shape) * rng.choice([1e-3, 1e-2, 1e-1])
        assert (error(moved) >= error(found) - 1e-12).all()
    # It also beats the projection of the coefficients, one by one.
    d = np.einsum("jk,kn->jn", derivative_factors(pde_orthonormal_basis()),
                  np.einsum("khw,hwn->kn", pde_orthonormal_basis(), kernels))  # fmt: skip
    u, sizes, v = np.linalg.svd(np.moveaxis([[d[5], d[4] / 2], [d[3] / 2, d[2] / 4]], 2, 0))
    x, y = u[..., 0] * sizes[:, :1] ** 0.5, v[:, 0] * sizes[:, :1] ** 0.5
    clipped = (
        np.maximum(d[:2], 0) ** 0.5,
        np.stack([x[:, 1], y[:, 1]]),
        np.stack([x[:, 0], y[:, 0]]),
    )
    assert (error(found) <= error(clipped) + 1e-9).mean() > 0.99


def test_a_linear_net_of_eq_44_comes_back_to_the_quadratic_form():
    model = fill(build("pde_preact_resnet20", config={"num_blocks": 1, **QUADRATIC}))
    linear = to_linear_form(model)
    new, errors = to_quadratic_form(linear)
    assert errors.keys() == {x.name for x in model.layers if isinstance(x, PDEConv2D)}
    assert max(errors.values()) < 1e-6
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    before, after = (net.predict(images, verbose=0) for net in (model, new))
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


def test_path_integral_says_which_operators_are_of_eq_44():
    quadratic, linear = (
        fill(build("pde_preact_resnet20", config={"num_blocks": 1, **form}))
        for form in (QUADRATIC, LINEAR)
    )
    found = path_integral(quadratic)
    assert all(layer.of_eq44.all() for layer in found.layers)
    total = sum(layer.of_eq44.size for layer in found.layers)
    assert str(found).endswith(f"{total} of {total} operators are of Eq. (44)")
    free = path_integral(linear)
    assert sum(int(layer.of_eq44.sum()) for layer in free.layers) < 0.01 * total
    assert all(layer.of_eq44.all() for layer in path_integral(to_linear_form(quadratic)).layers)


def test_a_sigma_of_zero_stays_zero_in_16_bits():
    model = fill(build("pde_preact_resnet20", config={"num_blocks": 1, **QUADRATIC}))
    layers = [x for x in model.layers if isinstance(x, PDEConv2D)]
    for layer in layers:
        sigma = _numpy(layer.sigma)
        sigma[0] = 0.0
        layer.sigma.assign(sigma)
    linear = to_linear_form(model)
    for layer in linear.layers:
        if isinstance(layer, PDEConv2D):
            layer.coordinates.assign(_numpy(layer.coordinates).astype("float16"))
    for before, after in zip(
        path_integral(model).layers, path_integral(linear).layers, strict=True
    ):
        assert (before.variance[0] == 0).all()
        assert (after.variance[0] == 0).all()
        assert np.isnan(after.kinetic[0]).all()
        assert after.of_eq44.all()
        there = after.variance[1] > 0.05
        assert there.any()
        np.testing.assert_allclose(after.variance[1][there], before.variance[1][there], rtol=0.1)


def test_path_integral_of_operators_without_diffusion_is_refused():
    options = {"form": "linear", "terms": ["dx", "dy", "id"]}
    model = build("pde_preact_resnet20", config={"num_blocks": 1, "operator_options": options})
    with pytest.raises(ValueError, match=r"with diffusion, sigma\^2 > 0.* 6 PDE layers have none"):
        path_integral(model)


@pytest.mark.once
def test_a_file_of_another_form_is_refused_with_the_way_to_convert_it(tmp_path):
    for form, other, way in (
        ("linear", "quadratic", "and `transforms.to_quadratic_form`"),
        ("quadratic", "linear", "and `transforms.to_linear_form`"),
        ("stencils", "signed", "can load the file. Nothing"),
    ):
        checkpoint = Checkpoint("pde_preact_resnet20", (16, 16, 3), 10, {
            "num_blocks": 1, "operator_options": {"form": form}})  # fmt: skip
        config = {"num_blocks": 1, "operator_options": {"form": other}}
        write_weights(build_model(checkpoint), tmp_path / form, checkpoint)
        model = build("pde_preact_resnet20", config=config)
        with pytest.raises(WeightsError, match=f"the form '{form}', the model's '{other}'.*{way}"):
            load_weights(model, tmp_path / form)


@pytest.mark.once
def test_models_and_branches_inside_are_converted_too():
    config = {"num_blocks": 1, "leak": 0.2, "filters": [4, 4, 4], **QUADRATIC}
    net = build("pde_preact_resnet20", config=config)
    x = keras.Input((16, 16, 3))
    model = keras.Model(x, keras.layers.Dense(2)(net(x)))
    new = to_linear_form(model)
    found = [x for x in new._flatten_layers() if isinstance(x, PDEConv2D)]
    assert len(found) == 6
    assert {layer.form for layer in found} == {"linear"}
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    before, after = (m.predict(images, verbose=0) for m in (model, new))
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


def test_the_linear_form_folds_saves_and_has_energies(tmp_path):
    model = fill(build("pde_preact_resnet20", config={"num_blocks": 1, **LINEAR}))
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    _, report = fold(model, data=images)
    assert not report.left
    assert report.difference < 1e-5 * max(1, np.abs(model.predict(images, verbose=0)).max())
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    layer = next(x for x in model.layers if isinstance(x, PDEConv2D))
    first = path_integral(model).layers[0]
    factors = _numpy(layer.coefficients())
    small = np.abs(2 * factors[:2]) < 1e-3 * np.sqrt((factors**2).sum(0))
    wanted = np.where(small, 0, 2 * factors[:2])
    np.testing.assert_allclose(first.variance, wanted, atol=1e-6)
    np.testing.assert_allclose(first.drift, factors[3:5], atol=1e-6)
    assert (np.isnan(first.kinetic) == ~(first.variance > 0)).all()


def test_parameters_are_as_many_in_both_forms():
    count = {
        form: build(
            "pde_preact_resnet20", config={"num_blocks": 1, "operator_options": {"form": form}}
        ).count_params()
        for form in ("quadratic", "linear")
    }
    assert count["quadratic"] == count["linear"]


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_the_kernel_of_the_linear_form_is_assembled_in_float32(boundary, dtype):
    layer = PDEConv2D(4, form="linear", boundary=boundary, dtype=dtype, seed=1)
    other = PDEConv2D(4, form="linear", boundary=boundary, seed=1)
    for made in (layer, other):
        made.build((None, 8, 8, 3))
    np.testing.assert_array_equal(_numpy(layer.assemble_kernel()), _numpy(other.assemble_kernel()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "liner"}, "the nearest are linear, signed; .* Received: 'liner'"),
        ({"form": None}, "`form` must be one of 4 known names"),
        ({"form": ["linear"]}, "`form` must be one of 4 known names"),
        (
            {"form": "quadratic", "terms": ["dx"]},
            r"`terms` must be None for form='quadratic'.*terms=\['dx'\]",
        ),
        ({"form": "linear", "terms": "dx"}, "`terms` must be a list of stencil names"),
        ({"form": "linear", "terms": ["dxz"]}, "the nearest are dx, dxy, dxx; .* Received: 'dxz'"),
        ({"form": "linear", "terms": []}, r"`terms` must hold at least one stencil.*terms=\(\)"),
        ({"form": "stencils", "terms": ["dx", "dx"]}, "none twice. Received: terms=.'dx', 'dx'"),
        ({"form": "linear", "normalize": True}, "`normalize` must be False for form='linear'"),
    ],
)
def test_errors_name_the_form(options, message):
    with pytest.raises(ValueError, match=message):
        PDEConv2D(4, **options)


def test_what_cannot_be_converted_is_refused():
    with pytest.raises(
        ValueError, match=r"in another form than the linear one\. Received: 'dense'"
    ):
        to_linear_form(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="dense"))


def test_the_config_of_the_linear_form_is_complete():
    config = PDEConv2D(3, form="linear", seed=7).get_config()
    assert config["form"] == "linear"
    assert PDEConv2D.from_config(config).get_config() == config
    assert keras_pdenets.layers.PDEConv2D(3).form == "linear"
