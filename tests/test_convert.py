"""Trained convolutions as differential operators and as one-dimensional convolutions."""

import functools

import keras
import numpy as np
import pytest
from conftest import build, fill, to_format

import keras_pdenets
from keras_pdenets.layers import DecomposedConv2D, PDEConv2D
from keras_pdenets.operators import pde_orthonormal_basis
from keras_pdenets.transforms import convert, fold
from keras_pdenets.transforms.conversion.least_squares import NormalEquations, ridge_solve
from keras_pdenets.transforms.conversion.solving import Conversion


def _numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor), "float64")


def _images(count=12, sides=(9, 8), channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *sides, channels)).astype("float32")


def _net(kernel, data_format="channels_last", sides=(9, 8), open_sides=False, **options):
    """One convolution behind another, which is not converted: its images have correlations."""
    first = sides if not open_sides else (None, None)
    shape = (*first, 3) if data_format == "channels_last" else (3, *first)
    inputs = keras.Input(shape)
    x = keras.layers.Conv2D(kernel.shape[2], 1, data_format=data_format, name="mix")(inputs)
    layer = keras.layers.Conv2D(
        kernel.shape[-1], kernel.shape[:2], data_format=data_format, name="conv", **options
    )
    model = fill(keras.Model(inputs, layer(x)))
    layer.kernel.assign(kernel)
    return model


def _pde_kernel(channels=4, filters=5):
    numbers = np.random.default_rng(1).normal(size=(6, channels, filters))
    return np.einsum("khw,kno->hwno", pde_orthonormal_basis(), numbers)


def _thin_kernel(height=3, width=3, channels=4, filters=5, middle=5):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(width, channels, middle))
    return np.einsum("wnm,hmo->hwno", rows, rng.normal(size=(height, middle, filters)))


def _same_outputs(model, new, data):
    wanted = model.predict(data, verbose=0)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(new.predict(data, verbose=0), wanted, atol=1e-5 * scale)


# Mathematics.


def test_ridge_is_least_squares_towards_its_start():
    rng = np.random.default_rng(0)
    features, outputs = rng.normal(size=(50, 4)) + 1, rng.normal(size=(50, 2)) + 2
    start, normal = rng.normal(size=(4, 2)), NormalEquations(4, 2, centred=True)
    for part in np.split(np.arange(50), 5):
        normal.add(features[part], outputs[part])
    normal.finish()
    found = ridge_solve(normal.gram, normal.cross, start, 1e-14)
    with_one = np.column_stack([features, np.ones(50)])
    wanted, rest, _, _ = np.linalg.lstsq(with_one, outputs, rcond=None)
    np.testing.assert_allclose(found, wanted[:4], atol=1e-9)
    np.testing.assert_allclose(normal.constant(found), wanted[4], atol=1e-9)
    centred = outputs - outputs.mean(0)
    np.testing.assert_allclose(normal.error(found), rest.sum() / (centred**2).sum(), rtol=1e-9)
    np.testing.assert_allclose(ridge_solve(normal.gram, normal.cross, start, 1e9), start, atol=1e-7)


BORDERS = [
    ("same", 1, (9, 8)), ("valid", 1, (9, 8)), ("same", 2, (9, 8)), ("valid", 2, (9, 8)),
    ("same", 3, (9, 8)), ("valid", 3, (8, 10)),
]  # fmt: skip


@pytest.mark.parametrize(("padding", "strides", "sides"), BORDERS)
@pytest.mark.parametrize("operator", ["pde", "decomposed"])
def test_a_kernel_that_is_of_the_kind_already_is_kept_at_every_border(
    operator, padding, strides, sides, data_format
):
    kernel = _pde_kernel() if operator == "pde" else _thin_kernel()
    model = _net(kernel, data_format, sides, padding=padding, strides=strides, activation="relu")
    data = to_format(_images(sides=sides), data_format)
    new, report = convert(model, operator, data, verbose=0)
    kind = PDEConv2D if operator == "pde" else DecomposedConv2D
    assert type(new.get_layer("conv")) is kind
    assert report.layers[0].error < 1e-10
    kernels = [_numpy(part) for part in new.get_layer("conv").kernels()]
    np.testing.assert_allclose(functools.reduce(np.matmul, kernels), kernel, atol=1e-5)
    _same_outputs(model, new, data)


@pytest.mark.parametrize(
    "options",
    [{"dilation_rate": 2}, {"strides": (2, 1)}, {"padding": "same", "dilation_rate": (1, 2)}],
)
def test_other_borders_take_two_convolutions_of_keras(options):
    model = _net(_thin_kernel(), **options)
    new, report = convert(model, "decomposed", _images(), verbose=0)
    assert [type(layer).__name__ for layer in new.layers[-2:]] == ["Conv2D", "Conv2D"]
    assert report.layers[0].error < 1e-10
    _same_outputs(model, new, _images())


def test_large_kernels_are_decomposed_and_left_by_the_operators():
    model = _net(_thin_kernel(5, 7), padding="same", strides=2)
    new, report = convert(model, "decomposed", _images(), verbose=0)
    assert new.get_layer("conv").kernel_size == (5, 1)
    _same_outputs(model, new, _images())
    assert report.layers[0].parameters == (5 * 7 * 20, 5 * (7 * 4 + 5 * 5))
    with pytest.raises(ValueError, match="conv: of 5x7 points, operators have 3x3"):
        convert(model, "pde", _images(), verbose=0)


def test_channels_take_over_what_a_kernel_cannot_express():
    # The second channel is the first, one pixel further: what one kernel lacks the other has.
    rng = np.random.default_rng(0)
    one = rng.normal(size=(12, 9, 9))
    data = np.stack([one[:, :, :-1], one[:, :, 1:]], -1).astype("float32")
    x = keras.Input((9, 8, 2))
    layer = keras.layers.Conv2D(3, 3, name="conv", use_bias=False)
    model = keras.Model(x, layer(x))
    layer.kernel.assign(rng.normal(size=(3, 3, 2, 3)))
    basis = pde_orthonormal_basis().reshape(6, 9)
    flat = _numpy(layer.kernel).reshape(9, -1)
    nearest = (basis.T @ (basis @ flat)).reshape(3, 3, 2, 3)
    errors = []
    for kernel in (nearest, None):
        new = keras.models.clone_model(model)
        if kernel is None:
            new, report = convert(model, "pde", data, verbose=0)
        else:
            new.layers[-1].kernel.assign(kernel)
        wanted = model.predict(data, verbose=0)
        errors.append(((new.predict(data, verbose=0) - wanted) ** 2).sum() / (wanted**2).sum())
    assert errors[1] < 0.7 * errors[0]
    # All places are used: the error that is reported is that of the outputs.
    np.testing.assert_allclose(report.layers[0].error, errors[1], rtol=1e-3)


def test_less_width_is_more_error_and_fewer_operations():
    model = _net(np.random.default_rng(2).normal(size=(3, 3, 4, 8)), padding="same")
    errors, operations = [], []
    for share in (0.25, 0.5, 1.0):
        _, report = convert(model, "decomposed", _images(), share=share, verbose=0)
        (layer,) = report.layers
        errors.append(layer.error)
        operations.append(layer.operations[1])
        assert layer.operations[1] == 2 * 72 * layer.middle * (3 * 4 + 3 * 8)
    assert errors[0] > errors[1] > errors[2]
    assert operations[0] < operations[1] < operations[2]


# Whole nets.


def test_a_folded_pde_net_comes_back():
    pde = fill(build("pde_preact_resnet20", side=16, config={"num_blocks": 1}))
    plain, _ = fold(pde, portable=True)
    data = _images(50, (16, 16))
    new, report = convert(plain, "pde", data, layers="stage*", verbose=0)
    assert max(layer.error for layer in report.layers) < 1e-9
    names = {layer.name for layer in report.layers}
    assert names == {layer.name for layer in pde.layers if type(layer) is PDEConv2D}
    _same_outputs(pde, new, data)
    # The last of a block takes no batch norm in.
    found, wanted = (_numpy(n.get_layer("stage0_block0_conv1").coordinates) for n in (new, pde))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_merged_decomposed_net_comes_back():
    net = fill(build("decomposed_preact_resnet20", side=16, config={"num_blocks": 1}))
    plain, _ = fold(net, decomposed="merge", portable=True)
    data = _images(80, (16, 16))
    new, report = convert(plain, "decomposed", data, layers="stage*", verbose=0)
    assert max(layer.error for layer in report.layers) < 1e-9
    assert new.count_params() < plain.count_params()
    _same_outputs(net, new, data)


def _stack(with_norm=True):
    """A net of nested models, a sequential one among them."""
    layers = keras.layers
    body = keras.Sequential(
        [keras.Input((12, 12, 4)), layers.Conv2D(6, 3, padding="same", use_bias=False, name="b0"),
         *([layers.BatchNormalization(name="norm")] if with_norm else []), layers.ReLU(name="r0"),
         layers.ZeroPadding2D(1, name="pad"), layers.Conv2D(6, 3, strides=2, name="b1")],
        name="body",
    )  # fmt: skip
    x = keras.Input((12, 12, 3))
    y = body(layers.Conv2D(4, 3, padding="same", activation="relu", name="a0")(x))
    y = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="r1")(y))
    return fill(keras.Model(x, layers.Dense(5, name="head")(y)))


def test_nested_models_are_unfolded_and_batch_norms_corrected():
    model, data = _stack(), _images(60, (12, 12))
    before = [_numpy(weight) for weight in model.weights]
    new, report = convert(model, "pde", data, verbose=0, held_out=(data, np.zeros(60)))
    assert [layer.name for layer in report.layers] == ["a0", "b0", "b1"]
    # The layer that padded is not needed: ours sees the same zeros.
    assert "pad" not in {layer.name for layer in new.layers}
    assert [type(new.get_layer(name)) for name in ("a0", "b0", "b1")] == [PDEConv2D] * 3
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(_numpy(weight), value)
    # Inputs of the batch norm have on these images the moments that its statistics say.
    norm, old = new.get_layer("norm"), model.get_layer("body").get_layer("norm")
    source = keras.Model(new.input, new.get_layer("b0").output).predict(data, verbose=0)
    first = keras.Sequential([model.get_layer("a0"), model.get_layer("body").get_layer("b0")])
    original = first.predict(data, verbose=0)
    change = source.mean((0, 1, 2)) - original.mean((0, 1, 2))
    np.testing.assert_allclose(
        _numpy(norm.moving_mean) - _numpy(old.moving_mean), change, atol=1e-5
    )
    ratio = source.var((0, 1, 2)) / original.var((0, 1, 2))
    np.testing.assert_allclose(
        _numpy(norm.moving_variance) / _numpy(old.moving_variance), ratio, rtol=1e-4
    )
    assert report.norms == 1
    assert 0 <= report.agreement <= 1
    assert len(report.accuracy) == 2
    assert report.parameters[1] < report.parameters[0]
    assert "3 convolutions converted" in str(report)


def test_the_seed_decides_which_places_are_looked_at():
    model, data = _stack(False), _images(60, (12, 12))
    options = {"data": data, "layers": "a0", "places": 100, "verbose": 0}
    kernels = [
        _numpy(convert(model, seed=seed, **options)[0].get_layer("a0").coordinates)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 1e-6


def _outputs(model, data):
    tensors = [model.get_layer(name).output for name in ("first", "last", "sum")]
    return keras.Model(model.input, tensors).predict(data, verbose=0)


def test_a_layer_makes_up_for_the_shortcut_that_is_added_to_it(monkeypatch):
    layers, x = keras.layers, keras.Input((10, 10, 3))
    first = layers.Conv2D(6, 3, padding="same", name="first")(x)
    last = layers.Conv2D(6, 3, padding="same", name="last")(layers.ReLU(name="relu")(first))
    model = fill(keras.Model(x, layers.Add(name="sum")([first, last])))
    data = _images(60, (10, 10))
    wanted, errors = _outputs(model, data)[-1], []
    for alone in (False, True):
        if alone:
            monkeypatch.setattr(Conversion, "_beside", lambda *arguments: None)
        new, report = convert(model, data=data, verbose=0)
        shortcut, _, found = _outputs(new, data)
        errors.append(float(((found - wanted) ** 2).sum()))
        if not alone:
            aim = wanted - shortcut
            energy = float(((aim - aim.mean((0, 1, 2))) ** 2).sum())
            np.testing.assert_allclose(report.layers[1].error, errors[0] / energy, rtol=1e-3)
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("layers", ["b*", ["b0", "b1"], lambda layer: layer.name in ("b0", "b1")])
def test_layers_are_chosen_by_pattern_names_or_a_function(layers):
    new, report = convert(_stack(), data=_images(20, (12, 12)), layers=layers, verbose=0)
    assert [layer.name for layer in report.layers] == ["b0", "b1"]
    assert report.left == {"a0": "not among `layers`"}
    assert type(new.get_layer("a0")) is keras.layers.Conv2D


def test_what_cannot_be_converted_is_listed_with_the_reason():
    layers, x = keras.layers, keras.Input((12, 12, 4))
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    y = shared(shared(layers.Conv2D(4, 3, padding="same", name="conv")(x)))
    y = layers.Conv2D(4, 3, padding="same", groups=2, name="groups")(y)
    y = layers.Conv2D(4, 2, padding="same", name="even")(layers.DepthwiseConv2D(3, name="deep")(y))
    y = layers.Conv2D(4, 3, padding="same", dilation_rate=2, name="wide")(y)
    model = keras.Model(x, PDEConv2D(4, name="ours")(y))
    _, report = convert(model, data=_images(20, (12, 12), 4), verbose=0)
    assert report.left == {
        "shared": "called 2 times", "groups": "in 2 groups", "deep": "a DepthwiseConv2D",
        "even": "of 2x2 points, an even side", "wide": "dilated by (2, 2)", "ours": "a PDEConv2D",
    }  # fmt: skip
    assert "(called 2 times)" in str(report)


def test_open_sides_are_left_only_where_the_border_depends_on_them():
    data = _images()
    new, report = convert(_net(_pde_kernel(), open_sides=True), data=data, verbose=0)
    assert report.operations is report.layers[0].operations is None
    assert tuple(new.output.shape) == (None, None, None, 5)
    with pytest.raises(ValueError, match="a strided border of images whose sides are open"):
        convert(_net(_pde_kernel(), open_sides=True, strides=2), data=data, verbose=0)


# Bad input.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": _images(channels=2)}, r"`data` must be of shape \('n', 12, 12, 3\)"),
        ({"data": None}, "`data` must be an array of numbers"),
        ({"data": np.full((4, 12, 12, 3), 7.0)}, "constant ones every operator is the same"),
        ({"data": np.full((4, 12, 12, 3), np.nan)}, "`data` must be finite"),
        ({"operator": "fourier"}, "`operator` must be one of pde, decomposed"),
        ({"share": 0}, r"`share` must be in \(0, 1\]"),
        ({"ridge": 0}, "`ridge` must be above 0"),
        ({"layers": 5}, "`layers` must be None, names of layers, a pattern"),
        ({"layers": "conv*"}, "must have a convolution that can become 'pde'.*a0: not among"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        convert(_stack(), **{"data": _images(20, (12, 12)), "verbose": 0, **changes})


def test_a_net_without_convolutions_or_with_bad_weights_is_refused():
    x = keras.Input((4, 4, 1))
    model = keras.Model(x, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match="with 0 convolutions, none of them such"):
        convert(model, data=_images(4, (4, 4), 1), verbose=0)
    model = _stack()
    model.get_layer("head").kernel.assign(np.full((6, 5), np.inf))
    with pytest.raises(ValueError, match="`model` must give finite outputs for `data`"):
        convert(model, data=_images(4, (12, 12)), verbose=0)


def test_too_few_images_are_counted_and_the_nearest_kernel_fills_in():
    x = keras.Input((4, 4, 8))
    layer = keras.layers.Conv2D(2, 3, name="conv")
    model = keras.Model(x, layer(x))
    with pytest.warns(UserWarning, match="48 unknowns.* 8 places .* give 12 images at least"):
        new, _ = convert(model, data=_images(2, (4, 4), 8), verbose=0)
    assert np.isfinite(_numpy(new.get_layer("conv").coordinates)).all()


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(("operator", "least"), [("pde", 0.95), ("decomposed", 0.97)])
def test_the_trained_resnet_keeps_its_classes(operator, least):
    model = keras_pdenets.PreActResNet20(weights="hub")
    images, _ = keras_pdenets.data.load_sample()
    rest = np.random.default_rng(0).permutation(1000)
    data, held_out = images[rest[:400]], images[rest[400:]]
    _, report = convert(model, operator, data, layers="stage*", held_out=held_out, verbose=0)
    assert report.agreement >= least
