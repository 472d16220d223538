"""Golden files: the weight that was changed and the layer that differs are named."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill
from safetensors.numpy import load_file, save_file

import keras_pdenets
from keras_pdenets.analysis import fingerprint
from keras_pdenets.analysis.fingerprint import Fingerprint, measure, weight_digests
from keras_pdenets.analysis.verification import record_golden, verify
from keras_pdenets.hub.digests import sha256_of
from keras_pdenets.hub.files import save_tensors, write_weights
from keras_pdenets.hub.golden import (
    GOLDEN_FILE,
    MOST_IMAGES,
    read_golden,
    write_golden,
)
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.presets import Checkpoint

once = pytest.mark.once
PRESET = "pde_resnet20_fashion_mnist"
CHECKPOINT = Checkpoint("pde_preact_resnet20", (16, 16, 1), 10, {"num_blocks": 1}, (70.0,), (90.0,))


@pytest.fixture(scope="module")
def net():
    return keras_pdenets.PDEPreActResNet20(weights=PRESET)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small net of one's own: weight file, golden file."""
    return _publish(CHECKPOINT, tmp_path_factory.mktemp("own"))


def _publish(checkpoint, folder):
    """Weight file and golden file of a net."""
    channels, config = checkpoint.input_shape[-1], checkpoint.options
    model = fill(build(checkpoint.architecture, channels=channels, config=config))
    write_weights(model, folder / "model.safetensors", checkpoint, float16=True)
    images = np.random.default_rng(0).integers(0, 256, (3, *checkpoint.input_shape))
    write_golden(record_golden(_load(folder), images), folder / GOLDEN_FILE)
    return folder


def _load(folder):
    return keras_pdenets.load_model(folder)


def _golden(name):
    return WeightsSource.parse(name).golden().resolve().path


def _values(weight):
    return np.array(keras.ops.convert_to_numpy(weight))


def test_it_agrees_on_this_backend(net):
    report = verify(net)
    assert report.agrees
    assert report.layers == len(net.layers) - 1
    assert report.weights == len(net.weights)
    assert report.changed == ()
    # Measured: 5e-6 and 1.2e-6 at most, over 7 checkpoints and 3 backends.
    assert report.largest < 2e-5
    assert report.logits < 1e-5
    assert str(report).endswith("as published")


# Kinds of layers with weights in each.
NETS = {
    "pde_preact_resnet20": 4, "decomposed_preact_resnet20": 4, "hyperbolic_resnet56": 5,
}  # fmt: skip


# JAX compiles each net, and each again for every change.
@pytest.mark.parametrize("name", NETS if BACKEND != "jax" else ["pde_preact_resnet20"])
def test_any_single_weight_names_its_layer(name, tmp_path):
    """Some layers of every kind; most of their outputs move less than is allowed."""
    checkpoint = dataclasses.replace(CHECKPOINT, architecture=name)
    model = _load(_publish(checkpoint, tmp_path))
    rng = np.random.default_rng(0)
    kinds = {}
    for layer in model.layers:
        if layer.weights:
            kinds.setdefault(type(layer).__name__, []).append(layer)
    assert len(kinds) == NETS[name]
    most = 1 if BACKEND == "jax" else 3
    for layer in (layer for kind in kinds.values() for layer in rng.permutation(kind)[:most]):
        found = layer.weights[rng.integers(len(layer.weights))]
        before = _values(found)
        after = before.copy()
        after.flat[rng.integers(before.size)] += 1e-2
        found.assign(after)
        report = verify(model)
        found.assign(before)
        assert report.changed == (found.path,)
        assert found.path.startswith(f"{layer.name}/")
        assert not report.agrees
        # What the net computes is never blamed on a layer before it.
        names = [layer.name for layer in model.layers]
        assert report.first is None or names.index(report.first) >= names.index(layer.name)
        assert f"1 of {report.weights} weights changed ({found.path})" in str(report)


@once
def test_every_weight_is_compared(net):
    """All of them, not one of a kind: by digests alone, which takes no images."""
    published = weight_digests(net)
    assert set(published) == {w.path for w in net.weights}
    for found in net.weights:
        before = _values(found)
        after = before.copy()
        after.flat[before.size - 1] += 1e-2
        found.assign(after)
        changed = weight_digests(net)
        found.assign(before)
        assert [p for p in published if changed[p] != published[p]] == [found.path]


@pytest.mark.parametrize(
    ("layer", "weight"),
    [("stem_conv", "kernel"), ("stage1_block1_bn1", "gamma"), ("classifier", "kernel")],
)
def test_one_changed_weight_names_its_layer(net, layer, weight):
    found = next(w for w in net.get_layer(layer).weights if w.name == weight)
    before = _values(found)
    after = before.copy()
    after.flat[before.size // 2] += 1e-2
    found.assign(after)
    report = verify(net)
    found.assign(before)
    assert not report.agrees
    assert report.first == layer
    assert report.changed == (f"{layer}/{weight}",)
    assert f"The first layer whose output differs is {layer}" in str(report)


def test_swapped_gamma_and_beta_are_found(net):
    norm = net.get_layer("stage2_block0_bn1")
    gamma, beta = _values(norm.gamma), _values(norm.beta)
    norm.gamma.assign(beta)
    norm.beta.assign(gamma)
    report = verify(net)
    norm.gamma.assign(gamma)
    norm.beta.assign(beta)
    assert report.first == "stage2_block0_bn1"
    assert report.changed == ("stage2_block0_bn1/gamma", "stage2_block0_bn1/beta")
    assert not report.logits <= report.tolerance


@once
def test_right_weights_and_another_arithmetic(net, monkeypatch):
    """A backend that computes a layer in another way: the weights are not blamed."""
    layer = net.get_layer("stage1_block0_bn0")
    monkeypatch.setattr(layer, "epsilon", 0.1)
    report = verify(net)
    assert (report.changed, report.first) == ((), layer.name)
    assert "All weights are right: the backend or the machine computes differently" in str(report)


@once
def test_nan_is_a_difference(net):
    found = net.get_layer("stage0_block0_bn0").beta
    before = _values(found)
    found.assign(np.full_like(before, np.nan))
    report = verify(net)
    found.assign(before)
    assert report.first == "stage0_block0_bn0"
    assert report.changed == ("stage0_block0_bn0/beta",)


@pytest.mark.slow
@once
@pytest.mark.parametrize("name", keras_pdenets.list_presets())
def test_the_shipped_golden_files(name):
    preset = keras_pdenets.get_preset(name)
    path = _golden(name)
    assert (sha256_of(path), path.stat().st_size) == (
        preset.golden["sha256"],
        preset.golden["size"],
    )
    assert path.stat().st_size < 150_000
    assert verify(name).agrees


@once
def test_other_forms_of_the_same_net(net):
    first = keras_pdenets.PDEPreActResNet20(
        weights=PRESET, data_format="channels_first", classifier_activation=None
    )
    assert verify(first).agrees
    head = keras_pdenets.PDEPreActResNet20(weights=PRESET, classes=7)
    report = verify(head)
    assert report.agrees
    assert report.logits is None
    assert "no logits" in str(report)
    assert report.uncompared == ("classifier/kernel", "classifier/bias")
    assert str(report).endswith(
        "but for 2 weights that were not compared (classifier/kernel, classifier/bias)"
    )
    half = keras_pdenets.PDEPreActResNet20(weights=PRESET, dtype="mixed_bfloat16")
    with pytest.raises(ValueError, match="`tolerance` must be given for a net in half precision"):
        verify(half)
    assert verify(half, tolerance=0.1).agrees
    report = verify(half, tolerance=1e-4)
    assert not report.agrees
    assert report.changed == ()  # its variables are in 32 bits
    short = keras_pdenets.PDEPreActResNet20(weights=PRESET, dtype="bfloat16")
    report = verify(short, tolerance=0.1)
    assert report.agrees
    head = {w.path for w in short.weights if w.dtype == "float32"}
    assert report.weights == len(head) < 10
    assert len(report.uncompared) == len(short.weights) - len(head)
    assert f"but for {len(report.uncompared)} weights that were not compared" in str(report)


@once
def test_weights_of_ones_own(folder):
    model = keras_pdenets.PDEPreActResNet20(weights=folder / "model.safetensors")
    for weights in (folder, str(folder / "model.safetensors"), model):
        assert verify(weights).agrees
    untrained = keras_pdenets.PDEPreActResNet20(weights=None, input_shape=(16, 16, 1), classes=10)
    with pytest.raises(
        ValueError, match="`golden` must be a preset or a golden file for a model whose"
    ):
        verify(untrained)
    for golden in (folder, folder / GOLDEN_FILE):
        report = verify(untrained, golden)
        assert report.first == "preprocessing"
    # The name of a preset and the file of another.
    report = verify(PRESET, _golden("resnet20_fashion_mnist"))
    assert report.first == "stem_conv"
    assert report.changed[0] == "stem_conv/kernel"
    assert "(stem_conv/kernel, " in str(report)
    assert ", ...)" in str(report)


@once
def test_a_golden_file_is_known_by_what_it_holds(folder, tmp_path):
    named = shutil.copy(folder / "model.safetensors", tmp_path / "golden_retriever.safetensors")
    shutil.copy(folder / GOLDEN_FILE, tmp_path)
    assert verify(named).agrees
    assert verify(_load(folder), named).agrees
    other = shutil.copy(folder / GOLDEN_FILE, tmp_path / "numbers.safetensors")
    assert verify(named, other).agrees


@once
def test_what_cannot_be_compared(folder, net):
    options = {"weights": folder, "input_shape": (16, 16, 3)}
    with pytest.raises(ValueError, match=r"`model` must take images of shape \(16, 16, 1\)"):
        verify(keras_pdenets.PDEPreActResNet20(**options))
    with pytest.raises(ValueError, match="`model` must normalise pixels itself"):
        verify(keras_pdenets.PDEPreActResNet20(weights=folder, include_preprocessing=False))
    with pytest.raises(ValueError, match=r"it has 4 of its 71 layers"):
        verify(keras_pdenets.PlainNet20(weights="plain_net20_fashion_mnist"), PRESET)
    with pytest.raises(ValueError, match="nearest are"):
        verify("pde_resnet20")
    with pytest.raises(keras_pdenets.WeightsError, match=r"no weight file .*golden\.safetensors"):
        verify(net, folder.parent)


@once
def test_golden_files_that_are_none(folder, tmp_path):
    golden = read_golden(folder / GOLDEN_FILE)
    with pytest.raises(keras_pdenets.WeightsError, match="is not a golden file"):
        read_golden(folder / "model.safetensors")
    bad = tmp_path / GOLDEN_FILE
    write_golden(dataclasses.replace(golden, layers=golden.layers[1:]), bad)
    with pytest.raises(keras_pdenets.WeightsError, match="is an inconsistent golden file"):
        read_golden(bad)
    none = dataclasses.replace(golden, layers=())
    for empty in (none, dataclasses.replace(golden, weights={})):
        write_golden(empty, bad)
        with pytest.raises(keras_pdenets.WeightsError, match="without names of layers or weights"):
            read_golden(bad)
    old = {"keras_pdenets_golden": f'{{"layers": {list(golden.layers)}}}'.replace("'", '"')}
    save_file(load_file(folder / GOLDEN_FILE), bad, metadata=old)
    with pytest.raises(keras_pdenets.WeightsError, match="of an earlier version, without digests"):
        read_golden(bad)
    for text in ("[1]", '{"layers": [1]}', "{", '{"layers": 3}', '{"layers": ["a"], "weights": 1}'):
        save_file(load_file(folder / GOLDEN_FILE), bad, metadata={"keras_pdenets_golden": text})
        with pytest.raises(keras_pdenets.WeightsError, match="is not a golden file"):
            read_golden(bad)


def _bad(golden, **changes):
    return dataclasses.replace(golden, **changes)


def _with(array, value):
    array = array.copy()
    array.flat[0] = value
    return array


@once
def test_golden_files_of_numbers_that_no_net_gives(folder, tmp_path):
    golden, bad = read_golden(folder / GOLDEN_FILE), tmp_path / GOLDEN_FILE
    first, *others = golden.weights
    many = np.repeat(golden.inputs[:1], MOST_IMAGES + 1, 0)
    twice = (golden.layers[1], *golden.layers[1:])
    for change, message in (
        ({"fingerprints": _with(golden.fingerprints, np.nan)}, "without finite fingerprints"),
        ({"fingerprints": _with(golden.fingerprints, np.inf)}, "without finite fingerprints"),
        ({"fingerprints": _with(golden.fingerprints, -1.0)}, "fingerprints of non-negative size"),
        ({"logits": _with(golden.logits, np.inf)}, "without finite logits"),
        ({"inputs": _with(golden.inputs, 0.5)}, "images of integers 0-255"),
        ({"inputs": _with(golden.inputs, 256)}, "images of integers 0-255"),
        ({"inputs": _with(golden.inputs, np.nan)}, "images of integers 0-255"),
        ({"weights": {**golden.weights, first: "0" * 15}}, "digests of 16 hex digits"),
        ({"weights": {**golden.weights, first: "z" * 16}}, "digests of 16 hex digits"),
        ({"layers": twice}, "is an inconsistent golden file"),
        ({"inputs": many, "logits": np.repeat(golden.logits[:1], len(many), 0)}, "65 images"),
    ):
        write_golden(_bad(golden, **change), bad)
        with pytest.raises(keras_pdenets.WeightsError, match=message):
            read_golden(bad)
    size = 2**26 // 4 + 1
    save_tensors({"logits": np.zeros((size, 1), "float32")}, bad, _header(golden))
    with pytest.raises(keras_pdenets.WeightsError, match="a golden file has at most 67108864"):
        read_golden(bad)
    bad.unlink()
    # Digests of other variables, of some variables.
    model = _load(folder)
    strange = {f"other/{path}": digest for path, digest in golden.weights.items()}
    write_golden(_bad(golden, weights=strange), bad)
    with pytest.raises(keras_pdenets.WeightsError, match="has no digest of the model's weights"):
        verify(model, bad)
    write_golden(_bad(golden, weights={path: golden.weights[path] for path in others}), bad)
    report = verify(model, bad)
    assert report.agrees
    assert report.uncompared == (first,)
    assert str(report).endswith(f"but for 1 weights that were not compared ({first})")


def _header(golden):
    record = json.dumps({"layers": golden.layers, "weights": golden.weights})
    return {"keras_pdenets_golden": record}


@once
@pytest.mark.parametrize("shape", [[3, 0, 2**62, 2**62], [0], [3, 0, 16, 1], [2**62] * 4])
def test_golden_files_of_shapes_that_overflow(shape, folder, tmp_path):
    data = (folder / GOLDEN_FILE).read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    place = header["inputs"]["data_offsets"]
    taken = place[1] - place[0]
    for entry in header.values():
        if "shape" in entry and entry["data_offsets"][0] >= place[1]:
            entry["data_offsets"] = [n - taken for n in entry["data_offsets"]]
    header["inputs"].update(shape=shape, data_offsets=[place[0]] * 2)
    text = json.dumps(header).encode()
    bad = tmp_path / GOLDEN_FILE
    bad.write_bytes(
        len(text).to_bytes(8, "little") + text + data[end : end + place[0]] + data[end + place[1] :]
    )
    with pytest.raises(keras_pdenets.WeightsError, match="inputs with"):
        read_golden(bad)


@once
@pytest.mark.parametrize("tolerance", [-1e-9, np.nan, np.inf, "0.1", True])
def test_tolerances_that_are_none(tolerance, net):
    with pytest.raises(ValueError, match="`tolerance` must be a number >= 0"):
        verify(net, tolerance=tolerance)


@once
def test_images_that_a_golden_file_cannot_hold(folder):
    model, shape = _load(folder), (16, 16, 1)
    for images in (
        np.full((1, *shape), 0.5), np.full((1, *shape), 256), np.zeros(shape),
        np.zeros((0, *shape)), np.zeros((MOST_IMAGES + 1, *shape)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="`images` must be 1 to 64 images"):
            record_golden(model, images)
    headless = keras_pdenets.PDEPreActResNet20(weights=folder, include_top=False)
    with pytest.raises(ValueError, match="`model` must have a classifier"):
        record_golden(headless, np.zeros((1, *shape)))


@once
def test_images_are_measured_in_parts(folder, monkeypatch):
    model = _load(folder)
    images = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 1)).astype("float32")
    whole, logits = measure(model, images)
    monkeypatch.setattr(fingerprint, "_NUMBERS_AT_A_TIME", 1)
    call, sizes = keras.layers.Conv2D.call, set()

    def counted(layer, inputs):
        sizes.add(inputs.shape[0])
        return call(layer, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(keras.layers.Conv2D, "call", counted)
        parts, again = measure(model, images)
    assert sizes == {1}  # the outputs of one image are held at a time, not those of all
    assert whole.keys() == parts.keys()
    for name, found in parts.items():
        np.testing.assert_allclose(found, whole[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again, logits, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(fingerprint, "MOST_NUMBERS", 1000)
    with pytest.raises(keras_pdenets.WeightsError, match=r"for one image of shape .16, 16"):
        verify(model)


@once
def test_a_fingerprint_takes_an_array_in_pieces(monkeypatch):
    values = np.random.default_rng(0).normal(size=1000)
    whole = Fingerprint()
    whole.add(values)
    whole = whole.numbers()
    monkeypatch.setattr(fingerprint, "_PIECE", 64)
    fingerprint._codes.cache_clear()
    pieces = Fingerprint()
    for part in np.split(values, [1, 63, 64, 500]):
        pieces.add(part)
    fingerprint._codes.cache_clear()
    np.testing.assert_allclose(pieces.numbers(), whole, rtol=1e-12)


@once
def test_fingerprints_are_the_same_for_ever():
    """Against the formula in whole numbers of Python: SplitMix64 of the place, bit by bit."""
    for values in (np.arange(1.0, 6.0), np.full((2, 3), -2.0)):
        whole = Fingerprint()
        whole.add(values)
        found = whole.numbers()
        flat = values.ravel().tolist()
        sums = [0.0] * 8
        for place, value in enumerate(flat, start=1):
            bits = _split_mix(place)
            for j in range(8):
                sums[j] += value if bits >> j & 1 else -value
        wanted = [sum(v * v for v in flat) / len(flat), *(s * abs(s) / len(flat) for s in sums)]
        np.testing.assert_allclose(found * np.abs(found), wanted, rtol=1e-12)
        # Eight sums that change by the same amount each would be one.
        assert len(set(np.round(found[1:], 6))) > 3


def _split_mix(place):
    mask = 2**64 - 1
    z = place * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31
