"""KerasHub's classes: presets by their names, folders and a Hub; features; fine-tuning."""

import inspect
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import BACKEND, DATA_FORMATS, to_format
from huggingface_hub import hf_api
from loopback_client import lead_here
from loopback_hub import LoopbackHub

import keras_pdenets
from keras_pdenets.hub.errors import IntegrityError
from keras_pdenets.hub.golden import read_golden
from keras_pdenets.hub.source import MIRROR_VARIABLE, WeightsSource

keras_hub = pytest.importorskip("keras_hub", reason='needs pip install "keras-pdenets[kerashub]"')

from keras_pdenets.kerashub import (  # noqa: E402
    PDENetBackbone,
    PDENetImageClassifier,
    PDENetImageClassifierPreprocessor,
    PDENetImageConverter,
)

# The client's own upload, by an argument that its HTTP library has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "pde_resnet20_fashion_mnist"
REPO = "someone/net"
# KerasHub feeds arrays in their order, and warns of Keras' default.
QUIET = {"verbose": 0, "shuffle": False}
FAST = {"jit_compile": BACKEND == "jax"}  # XLA takes its time on TensorFlow


@pytest.fixture(scope="module")
def golden():
    return read_golden(WeightsSource.parse(NAME).golden().resolve())


@pytest.fixture(scope="module")
def classifier():
    return keras_hub.models.ImageClassifier.from_preset(NAME)


@pytest.fixture
def channels_first():
    """Keras' own order of the axes, for one test."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


def _logits(net, images):
    return keras.ops.convert_to_numpy(net(images))


@pytest.mark.slow
def test_importing_the_package_leaves_keras_hub_alone():
    program = "import sys, keras_pdenets; print(sorted({m.split('.')[0] for m in sys.modules}))"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "KERAS_BACKEND": "numpy"},  # no framework of Keras' own
    )  # fmt: skip
    assert "'keras_pdenets'" in output.stdout
    for name in ("keras_hub", "kagglehub", "tensorflow", "torch"):
        assert f"'{name}'" not in output.stdout


def test_without_keras_hub_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    monkeypatch.delitem(sys.modules, "keras_pdenets.kerashub")
    with pytest.raises(ImportError, match=r'pip install "keras-pdenets\[kerashub\]"'):
        import keras_pdenets.kerashub  # noqa: F401


def test_base_classes_know_every_checkpoint():
    names = set(keras_pdenets.list_presets())
    assert PDENetBackbone.presets.keys() == PDENetImageClassifier.presets.keys() == names
    for base in (keras_hub.models.ImageClassifier, keras_hub.models.FeaturePyramidBackbone):
        assert names < base.presets.keys()
    assert "92.95 %" in PDENetBackbone.presets[NAME]["metadata"]["description"]
    assert "tokenizer" not in PDENetBackbone.presets[NAME]


def test_a_preset_gives_the_published_logits(classifier, golden, record_property):
    assert type(classifier) is PDENetImageClassifier
    own = keras_pdenets.PDEPreActResNet20(weights=NAME, classifier_activation=None)
    expected = _logits(own, golden.inputs)
    found = _logits(classifier, golden.inputs)
    predicted = classifier.predict(golden.inputs.astype("uint8"), verbose=0)
    differences = [float(np.abs(part - expected).max()) for part in (found, predicted)]
    record_property("differences", str(differences))  # for pytest --junitxml
    assert max(differences) < 1e-5
    np.testing.assert_allclose(found, golden.logits, atol=1e-4)
    bare = keras_hub.models.ImageClassifier.from_preset(NAME, load_weights=False)
    assert np.abs(_logits(bare, golden.inputs) - expected).max() > 0.1


def test_the_pieces_come_by_their_own_base_classes(classifier, golden):
    backbone = keras_hub.models.Backbone.from_preset(NAME)
    assert type(backbone) is PDENetBackbone
    pieces = {
        keras_hub.models.ImageClassifierPreprocessor: PDENetImageClassifierPreprocessor,
        keras_hub.layers.ImageConverter: PDENetImageConverter,
    }
    for base, kind in pieces.items():
        piece = base.from_preset(NAME)
        assert type(piece) is kind
        assert piece.image_size == (28, 28)
    own = keras_pdenets.features(keras_pdenets.PDEPreActResNet20(weights=NAME))(golden.inputs)
    found = keras.Model(backbone.input, backbone.pyramid_outputs)(golden.inputs)
    for level in range(3):
        expected = keras.ops.convert_to_numpy(own[f"stage{level}"])
        assert expected.shape == (len(golden.inputs), *(28 // 2**level,) * 2, 16 * 2**level)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(found[f"P{level}"]), expected, atol=1e-5
        )


@pytest.mark.once
@pytest.mark.parametrize(
    ("architecture", "options", "levels", "widths"),
    [
        ("pde_resnet18", {"num_blocks": 1, "stem": "imagenet"}, "2345", (64, 128, 256, 512)),
        ("resnet18", {"num_blocks": 1, "stem": "cifar"}, "0123", (64, 128, 256, 512)),
        ("hyperbolic_resnet20", {"num_blocks": 1}, "012", (16, 32, 64)),
        ("plain_net20", {"num_layers": 1}, "012", (16, 32, 64)),
        ("refined_plain_net20", {"num_layers": 1}, "012", (16, 32, 64)),
        ("vgg16", {"num_layers": 1}, "12345", (64, 128, 256, 512, 512)),
    ],
)
def test_levels_are_powers_of_two(architecture, options, levels, widths):
    backbone = PDENetBackbone(architecture, options, image_shape=(96, 64, 3))
    shapes = {key: tuple(value.shape[1:]) for key, value in backbone.pyramid_outputs.items()}
    assert shapes == {
        f"P{n}": (96 >> int(n), 64 >> int(n), width)
        for n, width in zip(levels, widths, strict=True)
    }
    assert tuple(backbone.output.shape[1:]) == shapes[f"P{levels[-1]}"]


def test_a_config_holds_every_argument():
    data_format = DATA_FORMATS[-1]
    shape = (3, 16, 16) if data_format == "channels_first" else (16, 16, 3)
    options = {"num_blocks": [1, 2, 1], "operator_options": {"boundary": "periodic"}}
    backbone = PDENetBackbone(
        "pde_preact_resnet20", options, shape, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), data_format,
        "mixed_bfloat16", name="mine", trainable=False,
    )  # fmt: skip
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(backbone)))
    arguments = set(inspect.signature(PDENetBackbone.__init__).parameters) - {"self", "kwargs"}
    assert arguments <= config["config"].keys()
    other = keras.saving.deserialize_keras_object(config)
    assert type(other) is PDENetBackbone
    assert other.get_config() == backbone.get_config()
    assert other.get_config()["options"] == options
    assert [w.path for w in other.weights] == [w.path for w in backbone.weights]
    converter = PDENetImageConverter(image_size=(8, 8), data_format=data_format)
    assert type(converter).from_config(converter.get_config()).data_format == data_format


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="nearest are pde_resnet18"):
        PDENetBackbone("pde_resnet17")
    with pytest.raises(ValueError, match="`options` must not contain remat"):
        PDENetBackbone("preact_resnet20", {"remat": True})


@pytest.mark.skipif(
    "channels_first" not in DATA_FORMATS, reason="TensorFlow has none of it on a CPU"
)
def test_the_order_of_the_axes_is_that_of_keras(channels_first, golden):
    net = keras_hub.models.ImageClassifier.from_preset(NAME)
    assert net.backbone.data_format == "channels_first"
    assert net.preprocessor.image_converter.data_format == "channels_first"
    found = net.predict(to_format(golden.inputs, "channels_first"), verbose=0)
    np.testing.assert_allclose(found, golden.logits, atol=1e-4)


def test_other_bytes_are_refused(tmp_path, monkeypatch):
    name = "decomposed_resnet20_fashion_mnist"
    (tmp_path / name).mkdir()
    (tmp_path / name / "model.safetensors").write_bytes(b"other")
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    with pytest.raises(IntegrityError, match="Other bytes are never used"):
        keras_hub.models.ImageClassifier.from_preset(name)


def test_half_precision_leaves_the_head_whole():
    net = PDENetImageClassifier.from_preset(NAME, dtype="mixed_bfloat16")
    assert net.backbone.compute_dtype == "bfloat16"
    assert net.backbone.get_layer("preprocessing").compute_dtype == "float32"
    assert net.output_dense.compute_dtype == "float32"


def test_fine_tuning_gets_a_new_head(classifier, golden):
    net = PDENetImageClassifier.from_preset(NAME, num_classes=3)
    assert net.output_shape == (None, 3)
    net.backbone.trainable = False
    net.compile(**FAST)
    net.preprocessor.image_size = (16, 16)
    images = np.repeat(golden.inputs, 2, axis=1)  # of any size
    head = keras.ops.convert_to_numpy(net.output_dense.kernel)
    history = net.fit(images, np.arange(len(images)) % 3, batch_size=len(images), **QUIET)
    assert np.isfinite(history.history["loss"][0])
    assert np.abs(keras.ops.convert_to_numpy(net.output_dense.kernel) - head).max() > 0
    for found, expected in zip(net.backbone.weights, classifier.backbone.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(found), keras.ops.convert_to_numpy(expected)
        )


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with LoopbackHub() as hub:
        lead_here(monkeypatch, hub, tmp_path)
        monkeypatch.setattr(hf_api.api, "endpoint", hub.endpoint)  # it was made at import
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        yield hub


@pytest.mark.once
def test_trained_saved_uploaded_and_loaded_again(hub, tmp_path, golden, record_property):
    backbone = PDENetBackbone("plain_net20", {"num_layers": 1}, (None, None, 1))
    preprocessor = PDENetImageClassifierPreprocessor(PDENetImageConverter(image_size=(14, 14)))
    net = PDENetImageClassifier(backbone, 5, preprocessor, dropout=0.25, pooling="max")
    net.compile(**FAST)
    images, before = golden.inputs, keras.ops.convert_to_numpy(backbone.weights[0])
    net.fit(images, np.arange(len(images)) % 5, batch_size=len(images), **QUIET)
    assert np.abs(keras.ops.convert_to_numpy(backbone.weights[0]) - before).max() > 0
    expected = _logits(net, net.preprocessor(images))
    net.compile()  # a new optimizer: the state of the old one would go into the preset
    folder = tmp_path / "preset"
    net.save_to_preset(folder)
    keras_hub.upload_preset(f"hf://{REPO}", str(folder))
    repo = hub.repos[REPO]
    held = repo.commits[repo.find("main")][2]
    sent = {path.name for path in folder.iterdir()}
    assert {"config.json", "task.json", "model.weights.h5", "task.weights.h5"} < sent
    assert sent == held.keys() - {"README.md", ".gitattributes"}
    assert all(held[name].data == (folder / name).read_bytes() for name in sent)
    differences = []
    for source in (str(folder), f"hf://{REPO}"):
        found = keras_hub.models.ImageClassifier.from_preset(source)
        assert type(found) is PDENetImageClassifier
        assert found.get_config() == net.get_config()
        logits = _logits(found, found.preprocessor(images))
        differences.append(float(np.abs(logits - expected).max()))
    assert hub.count("GET", "/_cdn/") == 2  # both files of weights, once
    record_property("differences", str(differences))
    assert max(differences) < 1e-6
