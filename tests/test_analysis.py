"""Perturbations: nets whose numbers are known, then any net."""

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import BACKEND, build, fill

import keras_pdenets
from keras_pdenets.analysis import find_blocks, measure_perturbation, suggest_depth
from keras_pdenets.graphs.flattening import flatten
from keras_pdenets.training import PerturbationLogger

GOLDEN = Path(__file__).parent / "golden" / "perturbations.json"
GOLDEN_NAMES = ("ResNet50", "ResNet50V2", "MobileNetV2")
KINDS = {
    # identity, projection, subsample; blocks in each section; activations behind the sum
    "ResNet50": ((12, 4, 0), (3, 4, 6, 3), 16),
    "ResNet50V2": ((9, 4, 3), (3, 4, 6, 3), 0),
    "MobileNetV2": ((10, 0, 0), (1, 2, 3, 2, 2), 0),
    "EfficientNetV2B0": ((15, 0, 0), (1, 1, 2, 4, 7), 0),
    "ConvNeXtTiny": ((18, 0, 0), (3, 3, 9, 3), 0),
}


def _application(name):
    return getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), include_top=False
    )


@pytest.mark.parametrize("epsilon", [0.1, 0.3, 0.05])
def test_the_rule_is_the_strict_ceiling_of_fractions(epsilon):
    for hundredths in range(400):
        exact = Fraction(hundredths, 100) / Fraction(str(epsilon))
        wanted = int(exact) + 1  # the smallest L with d / L < epsilon
        assert keras_pdenets.stopping_rule(hundredths / 100, epsilon) == wanted


def test_the_rule_on_the_papers_distances():
    assert keras_pdenets.stopping_rule((4.11, 3.12, 4.58), 0.1) == (42, 32, 46)
    assert keras_pdenets.stopping_rule(np.array([3.69, 3.81, 4.27]), 0.1) == (37, 39, 43)
    assert keras_pdenets.stopping_rule(0.0, 0.1) == 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((1.0, 0.0), "`epsilon` must be positive"),
        ((1.0, -1), "`epsilon` must be positive"),
        ((1.0, float("nan")), "`epsilon` must be positive"),
        ((-1.0, 0.1), "`d_scaled` must be finite and non-negative"),
        ((float("inf"), 0.1), "`d_scaled` must be finite"),
        ((1.0, 1e-9), "requires 1e[+]09 blocks in a section .* max_blocks=10000"),
    ],
)
def test_the_rule_names_what_is_wrong(arguments, match):
    with pytest.raises(ValueError, match=match):
        keras_pdenets.stopping_rule(*arguments)


def _known(factors=(0.5, -0.25, 2.0)):
    """x -> x + a x, three times; then a projection; then relu(x - 3 x)."""
    inputs = x = keras.Input((4, 4, 2))

    def conv(x, factor):
        layer = keras.layers.Conv2D(x.shape[-1], 1, use_bias=False)
        y = layer(x)
        layer.kernel.assign(factor * np.eye(x.shape[-1], dtype="float32")[None, None])
        return y

    for factor in factors:
        x = keras.layers.Add()([x, conv(x, factor)])
    y = keras.layers.Conv2D(3, 1, strides=2)(x)
    x = keras.layers.Add(name="projected")([y, conv(keras.layers.Conv2D(3, 1, strides=2)(x), 1.0)])
    z = keras.layers.Add(name="post")([x, conv(x, -3.0)])
    return keras.Model(inputs, keras.layers.ReLU()(z))


def test_known_perturbations_are_measured():
    model = _known()
    x = np.random.default_rng(0).normal(size=(10, 4, 4, 2)).astype("float32")
    report = measure_perturbation(model, x)
    assert [b.kind for b in report.blocks] == ["identity"] * 3 + ["projection", "identity"]
    norms = np.sqrt((x.astype("float64") ** 2).sum((1, 2, 3))).mean()
    for block, scaled, before in zip(
        report.blocks, (0.5, 0.25, 2.0), (1, 1.5, 1.125), strict=False
    ):
        assert block.scaled == pytest.approx(scaled, abs=1e-6)
        assert block.norm == pytest.approx(before * norms, rel=1e-6)
        assert block.perturbation == pytest.approx(scaled * before * norms, rel=1e-6)
        assert block.scaled_error < 1e-6
    features = keras.Model(model.input, model.get_layer("projected").output)
    before = features.predict(x, verbose=0).astype("float64")
    change = np.sqrt(((np.maximum(-2 * before, 0) - before) ** 2).sum((1, 2, 3)))
    ratio = change / np.sqrt((before**2).sum((1, 2, 3)))
    post = report.blocks[-1]
    assert post.post_activation
    assert post.scaled == pytest.approx(ratio.mean(), rel=1e-6)
    assert post.scaled_error == pytest.approx(ratio.std() / np.sqrt(10), rel=1e-3)
    first, second = report.sections
    assert (first.num_blocks, second.num_blocks) == (3, 1)
    assert first.scaled_distance == pytest.approx(2.75, abs=1e-6)
    assert (first.mean, first.largest) == pytest.approx((2.75 / 3, 2.0), abs=1e-6)
    assert report.total.scaled_distance == pytest.approx(2.75 + ratio.mean(), rel=1e-6)


def test_streaming_equals_one_batch():
    model, rng = _known(), np.random.default_rng(1)
    x = rng.normal(size=(11, 4, 4, 2)).astype("float32")
    whole = measure_perturbation(model, x, batch_size=11)
    batches = [(x[:4], np.zeros(4)), (x[4:8], np.zeros(4)), (x[8:], np.zeros(3))]
    for other in (measure_perturbation(model, x, 3), measure_perturbation(model, batches)):
        assert other.images == 11
        for a, b in zip(whole.blocks, other.blocks, strict=True):
            assert (a.scaled, a.norm) == pytest.approx((b.scaled, b.norm), rel=1e-6)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_blocks_of_keras_applications(name):
    model = _application(name)
    before = [len(layer._inbound_nodes) for layer in model.layers]
    blocks = find_blocks(flatten(model))
    kinds = Counter(block.kind for block in blocks)
    counts, sections, activations = KINDS[name]
    assert tuple(kinds[k] for k in ("identity", "projection", "subsample")) == counts
    assert tuple(Counter(b.section for b in blocks).values()) == sections
    assert sum(block.post_activation for block in blocks) == activations
    if name != "ConvNeXtTiny":  # it has models inside: unfolding calls its layers once more
        assert [len(layer._inbound_nodes) for layer in model.layers] == before


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_the_backends_agree(name):
    model = fill(_application(name))
    images = np.random.default_rng(2).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
    found = [s.scaled_distance for s in measure_perturbation(model, images).sections]
    np.testing.assert_allclose(found, json.loads(GOLDEN.read_text())[name], atol=5e-4)


def test_nested_models_are_measured_alike(images):
    model = fill(build("preact_resnet20", config={"num_blocks": 1}))
    wanted = [b.scaled for b in measure_perturbation(model, images).blocks]
    inputs = keras.Input((16, 16, 3))
    inner = keras.Sequential([keras.Input((16, 16, 3)), model])
    for outer in (
        keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Rescaling(1.0), model]),
        keras.Model(inputs, keras.layers.Rescaling(1.0)(inner(inputs))),
    ):
        found = [b.scaled for b in measure_perturbation(outer, images).blocks]
        assert found == pytest.approx(wanted, rel=1e-5)


def test_sections_of_a_net_of_open_size():
    same = {"num_blocks": 2, "filters": (8, 8, 8)}
    for side in (16, None):
        blocks = find_blocks(build("preact_resnet20", side, config=same))
        assert [block.section for block in blocks] == [0, 0, 1, 1, 2, 2]


def test_zero_norms_are_counted_and_left_out():
    x = np.ones((4, 4, 4, 2), "float32")
    x[1] = 0
    block = measure_perturbation(_known(), x).blocks[0]
    assert block.zero_norms == 1
    assert block.scaled == pytest.approx(0.5, abs=1e-6)


def test_what_cannot_be_measured_is_refused():
    x = np.ones((4, 4, 4, 2), "float32")
    x[2, 0, 0, 0] = np.nan
    model = _known()
    name = model.layers[2].name
    with pytest.raises(ValueError, match=f"Block '{name}' gives non-finite features for image 2"):
        measure_perturbation(model, x, batch_size=2)
    with pytest.raises(ValueError, match="must hold at least one image"):
        measure_perturbation(model, x[:0])
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"has no residual block: none of the"):
        measure_perturbation(plain, np.ones((1, 4)))

    class Subclass(keras.Model):
        def call(self, x):
            return x + x

    with pytest.raises(ValueError, match="must be a functional or sequential Keras model"):
        measure_perturbation(Subclass(), x)


def test_suggested_depths():
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype("float32")
    model = _known()
    assert suggest_depth(model, x, 0.5)[0] == 6  # 2.75 / 0.5
    assert suggest_depth(model, x, 0.45, "max")[0] == 14  # 3 blocks of 2 / 0.45
    with pytest.raises(ValueError, match="none in section 1, 2, 3"):
        suggest_depth(
            build("resnet18", config={"num_blocks": 1}), np.full((1, 16, 16, 3), 255.0), 0.5
        )
    with pytest.raises(ValueError, match="`statistic` must be one of mean, max"):
        suggest_depth(model, x, 0.5, "median")


def test_the_report_as_text_and_table(tmp_path):
    report = measure_perturbation(_known(), np.ones((2, 4, 4, 2), "float32"))
    assert "section 0: 3 blocks" in str(report)
    report.write_csv(tmp_path / "p.csv")
    rows = (tmp_path / "p.csv").read_text().splitlines()
    assert rows[0].startswith("name,kind,section,post_activation,norm,perturbation,scaled")
    assert len(rows) == 6


def test_the_logger_follows_the_training(tmp_path):
    images = np.random.default_rng(0).uniform(0, 255, (32, 8, 8, 1)).astype("float32")
    labels = np.arange(32) % 2
    model = build("preact_resnet20", 8, 1, 2, config={"num_blocks": 1, "zero_start": True})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss, jit_compile=BACKEND == "jax")
    path = tmp_path / "run" / "d.csv"
    logger = PerturbationLogger(images, path)
    history = model.fit(images, labels, epochs=2, verbose=0, callbacks=[logger]).history
    report = measure_perturbation(model, images)
    for section in report.sections:
        found = history[f"d_scaled_s{section.section}"]
        assert found[-1] == pytest.approx(section.scaled_distance, rel=1e-5)
        assert 0 < found[0] != found[1]
    # gone on with from the second epoch: no row twice, none lost
    model.fit(images, labels, initial_epoch=1, epochs=3, verbose=0, callbacks=[logger])
    rows = [row.split(",")[:2] for row in path.read_text().splitlines()[1:]]
    assert rows == [[str(e), str(s)] for e in (1, 2, 3) for s in (0, 1, 2)]
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="has no residual block"):
        plain.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0, callbacks=[logger])
    with pytest.raises(ValueError, match="`every` must be a positive integer"):
        PerturbationLogger(images, every=0)
