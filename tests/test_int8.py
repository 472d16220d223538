"""Int8 on any number of images, in bounded memory."""

import weakref

import numpy as np
import pytest
from conftest import build, fill

from keras_pdenets.export import export, quantize_int8, ranges, runtime
from keras_pdenets.export.ranges import ranges_of

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A net in ONNX, and images."""
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    export(fill(build("pde_preact_resnet20", side=8, config={"num_blocks": 1})), path, "onnx")
    return path, np.random.default_rng(0).uniform(0, 255, (51, 8, 8, 3)).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["percentile", "minmax", "entropy"])
def test_int8_takes_any_number_of_images(calibration, net, tmp_path):
    source, images = net
    path = tmp_path / "int8.onnx"
    for count, kind in ((1, "uint8"), (51, "float16")):
        some = images[:count].astype(kind)
        assert quantize_int8(source, path, some, calibration, min_agreement=0).images == count
    assert quantize_int8(source, path, list(images[:3]), calibration, min_agreement=0).images == 3
    # The size of the steps has no part in it.
    whole, parts = (
        ranges_of(source, images[:51], calibration, ["Conv"], batch) for batch in (51, 4)
    )
    assert whole.keys() == parts.keys()
    assert len(whole) > 10
    for name, limits in whole.items():
        np.testing.assert_allclose(parts[name], limits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("calibration", ["percentile", "minmax", "entropy"])
def test_the_memory_of_int8_does_not_grow_with_the_images(calibration, monkeypatch):
    outputs, alive = [], []

    def run(images):
        for name in "ab":
            output = np.random.default_rng(len(outputs)).normal(size=(len(images), 50))
            outputs.append(weakref.ref(output))
            alive.append(sum(reference() is not None for reference in outputs))
            yield name, output

    monkeypatch.setattr(ranges, "_runner", lambda path, operations: run)
    found = ranges_of("net.onnx", np.zeros((200, 2)), calibration, ["Conv"], 5)
    assert set(found) == {"a", "b"}
    assert len(alive) >= 80
    assert max(alive) <= 4


def test_larger_images_are_taken_in_smaller_steps():
    assert [runtime.batch_of(np.zeros((1, side, side, 3))) for side in (28, 64, 224, 4000)] == [
        250, 62, 5, 1,
    ]  # fmt: skip


def test_the_private_names_of_onnx_runtime():
    """`ranges` uses the choice of ONNX Runtime's histograms, which has no public name."""
    counts = np.zeros(2048, int)
    counts[:1000] = 10
    counts[2000] = 1  # one of 10001
    edges = np.linspace(0, 2048, 2049, dtype="float32")
    low, high = map(np.float32, (-2000.5, 2000.5))
    found = ranges._chosen({"x": (counts, edges, low, high)}, "percentile")["x"]
    assert found[:2] == (-999, 999)  # the left edge of the bin of the last of 99.99 %
    counts = np.zeros(128, int)
    counts[32:96] = 10
    edges = np.linspace(-1, 1, 129, dtype="float32")
    found = ranges._chosen({"x": (counts, edges, low / 4001, high / 4001)}, "entropy")["x"]
    assert found[:2] == (low / 4001, high / 4001)
