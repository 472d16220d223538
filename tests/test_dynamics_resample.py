"""Nets with other steps through the same time."""

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill
from keras import ops

from keras_pdenets.builders.remat import RematModel
from keras_pdenets.transforms import resample
from keras_pdenets.transforms.sections import Section

# The first forward derivative that torch takes makes torch itself complain.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
SMALL = {"num_blocks": (2,), "filters": (4,)}


@pytest.fixture
def data():
    return np.random.default_rng(0).uniform(0, 255, (24, 8, 8, 3)).astype("float32")


def _net(name="preact_resnet20", **config):
    return fill(build(name, side=8, config={**SMALL, **config}))


def _value(model, path):
    return next(ops.convert_to_numpy(v) for v in model.weights if v.path == path)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (2, 4, [0, 0, 1, 1]),
        (4, 2, [1, 3]),
        (3, 3, [0, 1, 2]),
        (2, 3, [0, 1, 1]),
        (3, 6, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_every_step_takes_the_block_of_its_time(before, after, wanted):
    section = Section(steps=list(range(before)), count=after)
    assert [section.source(i) for i in range(after)] == wanted
    assert section.factor * after == pytest.approx(before)


def test_twice_the_depth_is_every_block_twice_with_half_the_step(data):
    model = _net(remat=True)
    new, report = resample(model, "double", data)
    assert isinstance(new, RematModel)
    assert (report.blocks, report.factors, report.reestimated) == (((2,), (4,)), (0.5,), 9)
    assert "2 blocks before, 4 after, step size times 0.5" in str(report)
    # It is the net that the builder makes, by layers and variables.
    built = build("preact_resnet20", side=8, config={**SMALL, "num_blocks": (4,), "step_size": 0.5})
    assert [layer.name for layer in new.layers] == [layer.name for layer in built.layers]
    assert [v.path for v in new.variables] == [v.path for v in built.variables]
    assert new.get_layer("stage0_block3_step").scale == 0.5
    for index in range(4):
        old = _value(model, f"stage0_block{index // 2}_conv0/kernel")
        np.testing.assert_array_equal(_value(new, f"stage0_block{index}_conv0/kernel"), old)
    back, report = resample(new, "half", data)
    assert report.factors == (2.0,)
    assert back.get_layer("stage0_block1_step").scale == 1.0
    _, report = resample(back, 2, data)  # the same averages now: it is the same net
    assert report.change < 1e-6


# The model of every step is compiled.
@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "key", "layer"),
    [
        ({"scheme": "rk4", "step_size": 0.25}, "scale", "stage0_block3_back1"),
        ({"scheme": "backward_euler", "step_size": 0.25}, "step_size", "stage0_block3_step"),
        ({"leak": 0.25, "stochastic_depth": 0.1}, "leak", "stage0_block3_step"),
    ],
)
def test_every_scheme_can_be_resampled(config, key, layer, data):
    model = _net(**config)
    new, report = resample(model, 4, data[:4])
    assert report.factors == (0.5,)
    wanted = -0.0625 if key == "scale" else 0.125
    assert getattr(new.get_layer(layer), key) == pytest.approx(wanted)
    np.testing.assert_array_equal(
        _value(new, "stage0_block3_conv1/kernel"), _value(model, "stage0_block1_conv1/kernel")
    )
    # The state of the head, which alone has a norm in implicit and scaled nets.
    assert report.reestimated == (9 if "rk4" in config.values() else 1)
    if BACKEND == "torch":
        assert np.isfinite(new.predict(data[:4], verbose=0)).all()


def test_the_outputs_change_by_the_square_of_the_step(data):
    changes = []
    for h in (0.1, 0.05):
        model = _net(step_size=h)
        same, _ = resample(model, 2, data)
        _, report = resample(same, "double", data)
        changes.append(report.change)
    # A fixed number of steps: O(h^2), O(h) through a fixed time. Half the step would leave O(h).
    assert np.log2(changes[0] / changes[1]) == pytest.approx(2, abs=0.3)
    assert changes[0] < 0.05


def test_the_averages_are_those_of_the_data(data):
    model = _net("resnet18", stem="cifar")
    model.get_layer("stem_bn0").trainable = False
    new, _ = resample(model, 4, data, batch_size=10)  # 10 + 10 + 4 images
    assert not new.get_layer("stem_bn0").trainable
    assert new.get_layer("stem_bn0").momentum == 0.9
    inner = keras.Model(new.input, new.get_layer("stem_bn0").input)
    stem = inner.predict(data, verbose=0).reshape(-1, 4)
    np.testing.assert_allclose(
        _value(new, "stem_bn0/moving_mean"), stem.mean(axis=0), atol=1e-4 * np.abs(stem).max()
    )
    # Over one batch the net at inference is the net in training.
    new, _ = resample(model, 4, data, batch_size=24)
    new.get_layer("stem_bn0").trainable = True
    trained = ops.convert_to_numpy(new(data, training=True))
    new, _ = resample(model, 4, data, batch_size=24)
    np.testing.assert_allclose(new.predict(data, verbose=0), trained, atol=1e-3)
    assert np.abs(model.predict(data, verbose=0) - trained).max() > 0.05


def test_projections_stay(data):
    model = _net("resnet18", num_blocks=(2, 3), filters=(4, 8), stem="cifar")
    new, report = resample(model, "double", data)
    assert report.blocks == ((2, 3), (4, 5))
    assert [x.name for x in new.layers if "shortcut_conv" in x.name] == [
        "stage1_block0_shortcut_conv"
    ]
    assert "stage1_block0_step" not in {layer.name for layer in new.layers}
    assert new.get_layer("stage1_block4_step").scale == 0.5
    np.testing.assert_array_equal(
        _value(new, "stage1_block4_conv0/kernel"), _value(model, "stage1_block2_conv0/kernel")
    )
    with pytest.raises(ValueError, match="`depth` of section 1 must be above 1: 1 of its blocks"):
        resample(model, (2, 1), data)


def test_errors(data):
    net, x = _net(), keras.Input((8, 8, 3))
    plain, nested = keras.Model(x, keras.layers.ReLU()(x)), keras.Model(x, net(x))
    for arguments, message in (
        ((net, 4), "`data` must be an array of inputs, .* Received: NoneType, and 5 batch norms"),
        ((net, 4, data[:0]), "`data` must be an array of inputs"),
        ((net, (2, 2), data), "`depth` must be one integer or 1"),
        ((net, "twice", data), "`depth` must be one integer or 1"),
        ((net, 0, data), "`depth` must be a positive integer"),
        ((_net(num_blocks=(3,)), "half", data), "an odd one in section 0"),
        ((nested, 4, data), "not nested in another"),
        ((plain, 4, data), "must be a residual net of this package"),
        (
            (_net("hyperbolic_resnet20", num_blocks=(2,)), 4, data),
            "blocks that end in their sum or in ReLU.* stage0_block1_activation",
        ),
        (
            (keras.Model(net.input, [net.get_layer("stage0_block0_add").output, net.output]), 4,
             data),
            "must read only the outputs of its sections",
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            resample(*arguments)
