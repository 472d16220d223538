"""Conversions under a budget, resumed; the equation of a net, and the picture."""

import keras
import numpy as np
import pytest
from conftest import fill

import keras_pdenets
from keras_pdenets import cli
from keras_pdenets.analysis import describe_operators
from keras_pdenets.data import load_pictures
from keras_pdenets.layers import PDEConv2D
from keras_pdenets.plots import plot_conversion
from keras_pdenets.transforms import convert, count_operations, fold, plan_conversion


def _net(seed=0):
    layers = keras.layers
    x = keras.Input((10, 10, 3))
    y = layers.Conv2D(8, 3, padding="same", name="conv0")(x)
    y = layers.ReLU(name="relu0")(layers.BatchNormalization(name="norm0")(y))
    y = layers.ReLU(name="relu1")(layers.Conv2D(8, 3, padding="same", name="conv1")(y))
    y = layers.ReLU(name="relu2")(layers.Conv2D(8, 3, padding="same", name="conv2")(y))
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    return fill(keras.Model(x, layers.Dense(4, activation="softmax", name="head")(y)))


def _images(count=40):
    return np.random.default_rng(0).normal(size=(count, 10, 10, 3)).astype("float32")


@pytest.fixture(scope="module")
def net():
    return _net()


@pytest.fixture(scope="module")
def plan(net):
    return plan_conversion(net, _images(), verbose=0)


def test_a_plan_says_what_every_layer_costs(plan, net, tmp_path):
    assert list(plan.layers) == ["conv0", "conv1", "conv2"]
    left, pde, *thin = plan.layers["conv1"]
    assert (left.operator, left.error, left.parameters) == ("left", 0.0, 576)
    assert (pde.operator, pde.parameters, pde.operations) == ("pde", 384, left.operations)
    assert [x.share for x in thin] == [0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]
    errors = [x.error for x in thin]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < errors[0] < 1
    assert 0 < pde.error < 1
    assert thin[1].operations == 2 * 100 * 3 * (3 * 8 + 3 * 8)
    # What the layer alone is converted to has the error that was planned.
    _, report = convert(net, "pde", _images(), layers="conv0", verbose=0)
    assert report.layers[0].error == pytest.approx(plan.layers["conv0"][1].error, rel=1e-6)
    plan.write_csv(tmp_path / "plan.csv")
    rows = (tmp_path / "plan.csv").read_text().splitlines()
    assert len(rows) == 1 + 27
    assert len(str(plan).splitlines()) == 28


@pytest.mark.parametrize("budget", [0.9, 0.6, {"parameters": 0.7}])
def test_a_budget_is_met_with_the_least_error_that_single_steps_find(plan, budget):
    chosen = plan.choose(budget)
    what, share = next(iter(budget.items())) if isinstance(budget, dict) else ("operations", budget)
    whole = getattr(plan, what)
    saved = sum(
        getattr(plan.layers[name][0], what) - getattr(option, what)
        for name, option in chosen.items()
    )
    assert whole - saved <= share * whole
    # Each layer alone: nothing of as little cost has a smaller error.
    for name, option in chosen.items():
        others = [x for x in plan.layers[name] if getattr(x, what) <= getattr(option, what)]
        assert option.error == min(x.error for x in others)


def test_a_bound_of_the_error_takes_the_cheapest_below_it(plan):
    for name, option in plan.choose({"error": 0.05}).items():
        assert option.error <= 0.05
        cheaper = [x for x in plan.layers[name] if x.operations < option.operations]
        assert all(x.error > 0.05 for x in cheaper)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (0.05, r"`budget` cannot be met: 0\.\d+ of the operations of the net is the least"),
        (1.5, r"`budget` must be in \(0, 1\]"),
        ({"time": 0.5}, "dictionary of one of operations, parameters, error"),
        (1.0, "`budget` must leave something to convert"),
    ],
)
def test_bad_budgets_are_named(net, budget, message):
    with pytest.raises(ValueError, match=message):
        convert(net, ("pde", "decomposed"), _images(), budget=budget, verbose=0)


def test_the_converted_net_has_the_operations_of_its_budget(net):
    new, report = convert(net, "decomposed", _images(), budget=0.6, verbose=0)
    before, after = report.operations
    assert after <= 0.6 * before
    folded, _ = fold(new, decomposed="keep", portable=True)
    whole = [count_operations(model) for model in (fold(net, portable=True)[0], folded)]
    assert whole[0] - whole[1] == pytest.approx(before - after, rel=0.05)
    with pytest.raises(ValueError, match="`operator` must be one without a `budget`"):
        convert(net, ("pde", "decomposed"), _images(), verbose=0)


def test_a_conversion_goes_on_where_it_was_stopped(net, tmp_path, monkeypatch):
    options = {"data": _images(), "operator": "decomposed", "share": 0.5, "verbose": 0}
    whole, report = convert(net, **options)
    convert(net, **options, folder=tmp_path)
    (tmp_path / "layer0002.npz").unlink()
    solved, form = [], keras_pdenets.transforms.conversion.forms.DecomposedForm
    solve = form.solve
    monkeypatch.setattr(
        form, "solve", lambda self, *a: solved.append(self.target.name) or solve(self, *a)
    )
    again, second = convert(net, **options, folder=tmp_path)
    assert solved == ["conv2"]
    assert [x.error for x in second.layers] == [x.error for x in report.layers]
    for one, other in zip(whole.weights, again.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (one, other)))
    with pytest.raises(ValueError, match="which holds another conversion"):
        convert(net, **options, seed=1, folder=tmp_path)
    (tmp_path / "layer0000.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is damaged; remove it"):
        convert(net, **options, folder=tmp_path)


# The equation.


def _one(kernel):
    x = keras.Input((6, 6, kernel.shape[2]))
    layer = keras.layers.Conv2D(kernel.shape[3], 3, name="conv")
    model = keras.Model(x, layer(x))
    layer.kernel.assign(kernel)
    return describe_operators(model).layers[0]


@pytest.mark.parametrize(
    ("kernel", "term"),
    [
        ([[0, 1, 0], [1, -4, 1], [0, 1, 0]], "diffusion"),
        ([[1, 0, -1], [0, 0, 0], [-1, 0, 1]], "mixed"),
        ([[0, 0, 0], [-1, 0, 1], [0, 0, 0]], "transport"),
        ([[0, 0, 0], [0, 3, 0], [0, 0, 0]], "reaction"),
    ],
)
def test_each_term_is_read_as_itself(kernel, term):
    found = _one(np.asarray(kernel, "float32")[..., None, None])
    assert found.held == pytest.approx(1)
    assert {name: round(share, 6) for name, share in found.shares.items() if share > 1e-9} == {
        term: 1.0
    }
    if term == "diffusion":
        assert (found.anisotropy, found.forward) == (pytest.approx(0, abs=1e-9), 1.0)
    if term == "mixed":
        assert found.anisotropy == pytest.approx(1)


def test_diffusion_along_one_axis_backwards_is_read():
    found = _one(np.asarray([[0, 0, 0], [-1, 2, -1], [0, 0, 0]], "float32")[..., None, None])
    assert found.anisotropy == pytest.approx(0.5)
    assert found.forward == 0.0


def test_white_noise_is_two_thirds_an_operator_and_a_pde_layer_all(tmp_path):
    noise = np.random.default_rng(0).normal(size=(3, 3, 40, 40)).astype("float32")
    assert _one(noise).held == pytest.approx(2 / 3, abs=0.01)
    x = keras.Input((6, 6, 2))
    net = keras.Model(x, PDEConv2D(3, name="pde")(keras.layers.Conv2D(2, 1)(x)))
    words = describe_operators(net)
    assert words.layers[0].held == pytest.approx(1)
    words.write_csv(tmp_path / "words.csv")
    assert (tmp_path / "words.csv").read_text().startswith("layer,held,diffusion,mixed,transport")
    assert "pde" in str(words)
    with pytest.raises(ValueError, match="must have a dense 3x3 convolution"):
        describe_operators(keras.Model(x, keras.layers.Conv2D(2, 1)(x)))


def test_the_picture_shows_the_error_along_the_depth(net, tmp_path):
    pytest.importorskip("matplotlib")
    _, report = convert(net, "pde", _images(), verbose=0)
    plot_conversion({"PDE": report}, tmp_path / "errors.png")
    assert (tmp_path / "errors.png").stat().st_size > 5000
    report.write_csv(tmp_path / "report.csv")
    rows = (tmp_path / "report.csv").read_text().splitlines()
    assert rows[0].startswith("layer,operator,middle,error,parameters")
    assert len(rows) == 4


# The command.


@pytest.mark.once
def test_the_command_converts_a_file(tmp_path, capsys):
    net, pictures = _net(), tmp_path / "pictures"
    net.save(tmp_path / "net.keras")
    pictures.mkdir()
    for index, image in enumerate(np.random.default_rng(0).uniform(0, 255, (12, 14, 9, 3))):
        keras.utils.save_img(pictures / f"{index}.png", image, scale=False)
    out = tmp_path / "thin.keras"
    words = [
        "convert", str(tmp_path / "net.keras"), "--data", str(pictures), "--images", "10",
        "--operator", "decomposed", "--budget", "0.7", "--out", str(out),
        "--csv", str(tmp_path / "layers.csv"), "--plot", str(tmp_path / "errors.png"),
    ]  # fmt: skip
    assert cli.main(words) == 0
    assert "convolutions converted" in capsys.readouterr().out
    new = keras.saving.load_model(out)
    kinds = {type(layer).__name__ for layer in new.layers}
    assert "DecomposedConv2D" in kinds
    assert (tmp_path / "layers.csv").exists()
    assert (tmp_path / "errors.png").exists()
    # An array as the model takes it; errors before the work, and no file.
    np.save(tmp_path / "images.npy", _images(5))
    assert load_pictures(tmp_path / "images.npy", (10, 10, 3), 3).shape == (3, 10, 10, 3)
    assert load_pictures(pictures, (6, 7, 1)).shape == (12, 6, 7, 1)
    assert load_pictures(pictures, (3, 6, 7), 2, "channels_first").shape == (2, 3, 6, 7)
    # As `predict` sees them: turned by their EXIF data.
    from PIL import Image

    turned = Image.new("RGB", (8, 8), "black")
    turned.paste("white", (0, 0, 8, 4))
    exif = turned.getexif()
    exif[274] = 3  # by half a turn
    (tmp_path / "turned").mkdir()
    turned.save(tmp_path / "turned" / "a.jpg", exif=exif, quality=100)
    (image,) = load_pictures(tmp_path / "turned", (8, 8, 1))
    assert image[:4].max() < 20
    assert image[4:].min() > 235
    assert cli.main([*words[:-6], "--out", str(tmp_path / "net.h5")]) == 1
    assert "`out` must be a .keras file" in capsys.readouterr().err
    with pytest.raises(ValueError, match="`path` must hold pictures"):
        load_pictures(_empty(tmp_path), (6, 6, 3))
    with pytest.raises(ValueError, match="only for images of known sides"):
        load_pictures(pictures, (None, None, 3))


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"
