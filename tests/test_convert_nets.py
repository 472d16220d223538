"""Convolutions in groups, and nets of other libraries, converted."""

import keras
import numpy as np
import pytest
from conftest import fill

from keras_pdenets.transforms import convert, plan_conversion


def _images(count, sides, channels=3):
    return np.random.default_rng(0).normal(size=(count, *sides, channels)).astype("float32")


def _same(model, new, data):
    wanted = model.predict(data, verbose=0)
    np.testing.assert_allclose(new.predict(data, verbose=0), wanted, atol=1e-5 * wanted.max())


@pytest.mark.parametrize("strides", [1, 2])
def test_a_convolution_in_groups_is_decomposed_group_by_group(strides, tmp_path):
    x = keras.Input((9, 8, 4))
    layer = keras.layers.Conv2D(6, 3, strides, "same", groups=2, name="conv", activation="relu")
    model = fill(keras.Model(x, layer(x)))
    rng = np.random.default_rng(1)
    # For each of two groups and every middle channel a row and a column, which are thin enough.
    rows, columns = rng.normal(size=(3, 2, 2, 3)), rng.normal(size=(3, 3, 2, 3))
    kernel = np.einsum("wngm,hmgo->hwngo", rows, columns)
    layer.kernel.assign(kernel.reshape(3, 3, 2, 6))
    data = _images(12, (9, 8), 4)
    new, report = convert(model, "decomposed", data, verbose=0, folder=tmp_path)
    assert report.layers[0].error < 1e-10
    assert (report.layers[0].middle, report.layers[0].parameters) == (6, (108, 2 * (18 + 27)))
    assert new.get_layer("conv").groups == new.get_layer("conv_row").groups == 2
    _same(model, new, data)
    again, _ = convert(model, "decomposed", data, verbose=0, folder=tmp_path)
    _same(new, again, data)
    options = plan_conversion(model, data, verbose=0).layers["conv"]
    assert [x.operator for x in options][:2] == ["left", "decomposed"]
    assert options[-1].error < 1e-10
    with pytest.raises(ValueError, match="conv: in 2 groups"):
        convert(model, "pde", data, verbose=0)


def test_a_net_of_two_inputs_is_refused_with_their_names():
    x, y = keras.Input((6, 6, 2), name="image"), keras.Input((3,), name="age")
    z = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(x)))
    model = keras.Model([x, y], z + keras.layers.Dense(2)(y))
    with pytest.raises(ValueError, match=r"one input, the images.*2 inputs \(image, age\)"):
        convert(model, data=[np.zeros((4, 6, 6, 2)), np.zeros((4, 3))])


@pytest.mark.once
def test_a_backbone_of_kerashub_is_converted():
    models = pytest.importorskip("keras_hub").models
    net = models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[3], stackwise_num_filters=[64],
        stackwise_num_blocks=[1], stackwise_num_strides=[1], block_type="basic_block",
        image_shape=(24, 24, 3),
    )  # fmt: skip
    data = _images(40, (24, 24))
    new, report = convert(net, "decomposed", data, verbose=0)
    assert (len(report.layers), report.left.keys() & {"conv1_conv"}) == (3, set())
    assert max(layer.error for layer in report.layers) < 0.3
    wanted, found = (keras.tree.flatten(m.predict(data, verbose=0))[0] for m in (net, new))
    assert np.sum((found - wanted) ** 2) < 0.2 * np.sum(wanted**2)


@pytest.mark.slow
@pytest.mark.once
def test_a_net_of_keras_applications_with_channels_first_is_converted():
    keras.config.set_image_data_format("channels_first")
    try:
        net = keras.applications.ResNet50(weights=None, input_shape=(3, 32, 32), classes=4)
        data = np.moveaxis(_images(20, (32, 32)), -1, 1)
        new, report = convert(net, "pde", data, layers="conv2_block1*", verbose=0)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [x.name for x in report.layers] == ["conv2_block1_2_conv"]
    assert new.get_layer("conv2_block1_2_conv").data_format == "channels_first"
    wanted, found = (m.predict(data, verbose=0) for m in (net, new))
    assert np.sum((found - wanted) ** 2) < 0.2 * np.sum(wanted**2)
