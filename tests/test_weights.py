"""Weight files: strict to read, safe to write, found by their hash."""

import dataclasses
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import build, fill
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import keras_pdenets
from keras_pdenets.hub import files
from keras_pdenets.hub import source as sources
from keras_pdenets.hub.digests import sha256_of
from keras_pdenets.hub.files import load_opened, load_weights, read_checkpoint, write_weights
from keras_pdenets.hub.source import WeightsSource
from keras_pdenets.hub.weight_file import WeightFile
from keras_pdenets.presets import Checkpoint, Preset

CHECKPOINT = Checkpoint("pde_preact_resnet20", (16, 16, 1), 10, {"num_blocks": 1}, (70.0,), (90.0,))


def _model(name="pde_preact_resnet20", **options):
    options = {"preprocessing": CHECKPOINT.preprocessing, **options}
    return build(name, channels=1, config={"num_blocks": 1}, **options)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A weight file of a small net."""
    path = tmp_path_factory.mktemp("weights") / "small" / "model.safetensors"
    write_weights(fill(_model()), path, CHECKPOINT)
    return path


def _values(model):
    return {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.weights}


def test_what_was_written_is_read(file):
    model = _model()
    report = load_weights(model, file)
    for path, value in _values(fill(_model())).items():
        np.testing.assert_array_equal(_values(model)[path], value)
    assert len(report.loaded) == len(model.weights)
    assert not report.adapted + report.initialised + report.unused
    assert read_checkpoint(file) == CHECKPOINT


def test_single_numbers_keep_their_shape(tmp_path):
    model = fill(_model("hyperbolic_resnet20"))
    checkpoint = dataclasses.replace(CHECKPOINT, architecture="hyperbolic_resnet20")
    write_weights(model, tmp_path / "h.safetensors", checkpoint)
    again = _model("hyperbolic_resnet20")
    report = load_weights(again, tmp_path / "h.safetensors")
    assert "stage0_block0_norm/gain" in report.loaded
    for path, value in _values(model).items():
        np.testing.assert_array_equal(_values(again)[path], value)


def test_sixteen_bits_cost_what_the_docstring_says(file, tmp_path):
    model = fill(_model())
    write_weights(model, tmp_path / "half.safetensors", CHECKPOINT, float16=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.65 * file.stat().st_size
    again = _model()
    load_weights(again, tmp_path / "half.safetensors")
    for path, value in _values(model).items():
        found = _values(again)[path]
        # Subnormal numbers keep fewer digits: 6e-8 is the spacing of float16 at zero.
        assert (np.abs(found - value) <= 5e-4 * np.abs(value) + 6e-8).all(), path
        if value.ndim == 1 and "classifier" not in path:
            np.testing.assert_array_equal(found, value)


def _edited(file, path, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("classifier/bias"), "classifier/bias"),
        (lambda t: t.update(extra=np.zeros(3)), r"1 entries of the file .* extra"),
        (lambda t: t.update({"classifier/bias": np.zeros(11, "float32")}), "has shape .11,.*10"),
        (lambda t: t["classifier/bias"].__setitem__(0, np.nan), "NaN or infinite"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(file, tmp_path, change, message):
    bad = _edited(file, tmp_path / "bad.safetensors", change)
    model = _model()
    before = _values(model)
    with pytest.raises(keras_pdenets.WeightsError, match=message):
        load_weights(model, bad)
    for path, value in before.items():
        np.testing.assert_array_equal(_values(model)[path], value)


def test_unreadable_files(file, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(keras_pdenets.WeightsError, match=r"not a valid safetensors.*truncated"):
        keras_pdenets.PDEPreActResNet20(weights=cut)
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    with pytest.raises(keras_pdenets.WeightsError, match="not a valid safetensors file"):
        keras_pdenets.PDEPreActResNet20(weights=str(text))
    with pytest.raises(keras_pdenets.WeightsError, match=r"There is no weight file .*none\.saf"):
        keras_pdenets.PDEPreActResNet20(weights=tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": np.zeros(2)}, foreign)
    with pytest.raises(keras_pdenets.WeightsError, match="another program wrote it"):
        keras_pdenets.PDEPreActResNet20(weights=foreign)


def test_weights_of_another_family(file):
    message = "holds weights of PDEPreActResNet20, not of DecomposedPreActResNet20"
    with pytest.raises(keras_pdenets.WeightsError, match=message):
        keras_pdenets.DecomposedPreActResNet20(weights=file)
    model = _model("decomposed_preact_resnet20")
    with pytest.raises(keras_pdenets.WeightsError, match="belongs to another model"):
        load_weights(model, file)


def test_nan_weights_are_not_saved(tmp_path):
    model = _model()
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan, "float32"))
    with pytest.raises(keras_pdenets.WeightsError, match="NaN or infinite values; nothing"):
        write_weights(model, tmp_path / "a.safetensors", CHECKPOINT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_file_or_folder_builds_the_model_it_belongs_to(file, as_folder):
    model = keras_pdenets.PDEPreActResNet20(weights=file.parent if as_folder else str(file))
    assert model.input_shape == (None, 16, 16, 1)
    assert model.output_shape == (None, 10)
    # The normalisation of the checkpoint, not the default.
    assert float(np.ravel(model.get_layer("preprocessing").mean)[0]) == 70.0
    with pytest.raises(ValueError, match=r"`num_blocks` must be \(1, 1, 1\), as the checkpoint"):
        keras_pdenets.PDEPreActResNet20(weights=file, num_blocks=2)
    same = keras_pdenets.PDEPreActResNet20(weights=file, num_blocks=(1, 1, 1))
    np.testing.assert_array_equal(
        _values(same)["stem_conv/kernel"], _values(model)["stem_conv/kernel"]
    )


def test_another_number_of_classes_makes_a_new_head(file, caplog):
    old, new = (keras_pdenets.PDEPreActResNet20(weights=file, classes=n) for n in (10, 7))
    assert new.output_shape == (None, 7)
    assert new.load_report.initialised == ["classifier/kernel", "classifier/bias"]
    assert [r for r in caplog.records if "initialised: classifier/kernel" in r.getMessage()]
    a, b = _values(old), _values(new)
    np.testing.assert_array_equal(a["stem_conv/kernel"], b["stem_conv/kernel"])
    np.testing.assert_array_equal(a["classifier/kernel"], load_file(file)["classifier/kernel"])
    headless = keras_pdenets.PDEPreActResNet20(weights=file, include_top=False)
    assert headless.load_report.unused == ["classifier/bias", "classifier/kernel"]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_grey_images_in_more_channels_give_the_same_answer(file, channels, images):
    grey = images[..., :1]
    one = keras_pdenets.PDEPreActResNet20(weights=file)
    more = keras_pdenets.PDEPreActResNet20(weights=file, input_shape=(16, 16, channels))
    assert more.load_report.adapted == ["stem_conv/kernel"]
    found = more.predict(np.repeat(grey, channels, -1), verbose=0)
    np.testing.assert_allclose(found, one.predict(grey, verbose=0), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 6])
def test_colour_weights_in_other_channels_keep_the_sum(channels):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype("float32")
    shape = (3, 3, channels, 8)
    fitted = files._fit_stem(kernel, shape)
    assert fitted.shape == shape
    np.testing.assert_allclose(fitted.sum(2), kernel.sum(2), atol=1e-5)


def test_colour_weights_take_grey_images(tmp_path, images):
    checkpoint = dataclasses.replace(
        CHECKPOINT, input_shape=(16, 16, 3), mean=(100.0,) * 3, std=(50.0,) * 3
    )
    model = build("pde_preact_resnet20", config={"num_blocks": 1})
    write_weights(fill(model), tmp_path / "colour.safetensors", checkpoint)
    load = {"weights": tmp_path / "colour.safetensors"}
    colour = keras_pdenets.PDEPreActResNet20(**load)
    grey = keras_pdenets.PDEPreActResNet20(input_shape=(16, 16, 1), **load)
    found = grey.predict(images[..., :1], verbose=0)
    wanted = colour.predict(np.repeat(images[..., :1], 3, -1), verbose=0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.once
@pytest.mark.slow
def test_a_full_disk_leaves_the_old_file(file, tmp_path):
    """A real failure of the operating system: the process may write no more than 20 kB."""
    target = tmp_path / "model.safetensors"
    target.write_bytes(file.read_bytes())
    # In a process of its own, for the limit cannot be taken back.
    program = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_weights import CHECKPOINT, _model
from keras_pdenets.hub.files import write_weights
from pathlib import Path
model = _model()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    write_weights(model, Path({str(target)!r}), CHECKPOINT)
except OSError as error:
    print("REFUSED", error)
"""
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "REFUSED" in output.stdout, output
    assert str(target) in output.stdout
    assert target.read_bytes() == file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20_000


# --- what is no weight -------------------------------------------------------------------------


def test_other_pixels_are_refused(file, tmp_path):
    """Mean and deviation are no weights: loaded into another net they would be lost in silence."""
    usual = keras_pdenets.PDEPreActResNet20(
        weights=None, input_shape=(16, 16, 1), classes=10, num_blocks=1
    )
    before = _values(usual)
    with pytest.raises(
        keras_pdenets.WeightsError, match=r"have mean 70; 'pde_.*' has 127\.5\. Build .* weights="
    ):
        load_weights(usual, file)
    for path, value in before.items():
        np.testing.assert_array_equal(_values(usual)[path], value)
    deviation = _model(preprocessing=dataclasses.replace(CHECKPOINT.preprocessing, std=(91.0,)))
    with pytest.raises(keras_pdenets.WeightsError, match=r"have std 90; .* has 91"):
        load_weights(deviation, file)
    load_weights(_model(preprocessing=None), file)
    load_weights(build("pde_preact_resnet20", config={"num_blocks": 1},  # three channels
                       preprocessing=CHECKPOINT.preprocessing), file)  # fmt: skip
    for record in ({"mean": ["a"]}, {"mean": []}, {"std": None}, {"mean": [1e400]}):
        text = json.dumps({**dataclasses.asdict(CHECKPOINT), **record})
        save_file(load_file(file), tmp_path / "a.safetensors", metadata={"keras_pdenets": text})
        with pytest.raises(keras_pdenets.WeightsError, match="an invalid mean or std"):
            load_weights(_model(), tmp_path / "a.safetensors")
    # A file of weights alone says nothing.
    save_file(load_file(file), tmp_path / "plain.safetensors")
    load_weights(usual, tmp_path / "plain.safetensors")


def test_the_same_weights_make_the_same_bytes(file, tmp_path):
    """The library orders metadata by a hash that is new for every file."""
    texts = {f"key{i}": f'text {i} "\n\x7fä\u2028' for i in range(12)}
    tensors = {"b": np.ones(3, "int64"), "a": np.array(2.0, "float32"), "ü": np.ones((2, 2))}
    seen = set()
    for index in range(8):
        order = dict(sorted(texts.items(), reverse=index % 2 == 1))
        files.save_tensors(tensors, tmp_path / "a.safetensors", order)
        seen.add((tmp_path / "a.safetensors").read_bytes())
    assert len(seen) == 1
    with safe_open(str(tmp_path / "a.safetensors"), "numpy") as again:
        assert again.metadata() == texts
    for name, value in load_file(tmp_path / "a.safetensors").items():
        np.testing.assert_array_equal(value, tensors[name])
    again = {write_and_read(fill(_model()), tmp_path / f"{i}.safetensors") for i in range(4)}
    assert again == {file.read_bytes()}


def write_and_read(model, path):
    write_weights(model, path, CHECKPOINT)
    return path.read_bytes()


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="is TensorFlow")
def test_loading_does_not_bring_tensorflow(file):
    """Seconds and half a GiB, where Keras takes it to write down a layer's config."""
    program = f"import sys, keras_pdenets as k; k.PDEPreActResNet20(weights={str(file)!r}); "
    program += "print('tensorflow' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "False", output


# --- resolution ------------------------------------------------------------------------------


@pytest.fixture
def preset(file, tmp_path, monkeypatch):
    """A row that pins the small file; no source has it yet."""
    monkeypatch.setattr(sources, "CHECKOUT_WEIGHTS", tmp_path / "checkout")
    monkeypatch.delenv(sources.MIRROR_VARIABLE, raising=False)
    return Preset(
        name="small", checkpoint=CHECKPOINT, dataset="none", split="test",
        file="model.safetensors", sha256=sha256_of(file), size=file.stat().st_size,
        repo="organisation/small", revision="a" * 40, metrics={}, training={}, licences={},
    )  # fmt: skip


def _found(preset):
    file = WeightsSource.of(preset).resolve()
    return file.path, file.place


def _put(folder, data):
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(data)
    return folder / "model.safetensors"


def _flipped(file):
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    return bytes(data)


def test_the_checkout_is_used_where_its_bytes_are_the_pinned_ones(preset, file, tmp_path):
    path = _put(tmp_path / "checkout" / "small", file.read_bytes())
    assert _found(preset) == (path, "checkout")


def test_the_package_comes_after_the_checkout(preset, file, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PACKAGE_WEIGHTS", tmp_path / "package")
    path = _put(tmp_path / "package" / "small", file.read_bytes())
    assert _found(preset) == (path, "package")
    _put(tmp_path / "checkout" / "small", file.read_bytes())
    assert WeightsSource.of(preset).resolve().place == "checkout"
    path.write_bytes(_flipped(file))
    (tmp_path / "checkout" / "small" / "model.safetensors").unlink()
    with pytest.raises(keras_pdenets.IntegrityError, match=r"package.small.model\.safetensors"):
        WeightsSource.of(preset).resolve()


def test_the_mirror_comes_first(preset, file, tmp_path, monkeypatch):
    _put(tmp_path / "checkout" / "small", file.read_bytes())
    monkeypatch.setenv(sources.MIRROR_VARIABLE, str(tmp_path / "mirror"))
    assert WeightsSource.of(preset).resolve().place == "checkout"
    path = _put(tmp_path / "mirror" / "small", file.read_bytes())
    assert _found(preset) == (path, "mirror")
    path.write_bytes(_flipped(file))
    with pytest.raises(keras_pdenets.IntegrityError, match="KERAS_PDENETS_WEIGHTS_DIR"):
        WeightsSource.of(preset).resolve()


@pytest.mark.parametrize("revision", ["a" * 40, None])
def test_one_flipped_byte_is_refused(preset, file, tmp_path, revision):
    preset = dataclasses.replace(preset, revision=revision)
    path = _put(tmp_path / "checkout" / "small", _flipped(file))
    with pytest.raises(keras_pdenets.IntegrityError) as caught:
        WeightsSource.of(preset).resolve()
    message = str(caught.value)
    for part in ("'small'", preset.sha256, sha256_of(path), str(path), "By hand: put"):
        assert part in message
    assert ("https://" in message) == (revision is not None)


def test_nothing_at_hand_and_no_network(preset):
    with pytest.raises(keras_pdenets.WeightsError, match=r"no copy on this.*HF_HUB_OFFLINE"):
        WeightsSource.of(preset).resolve()
    with pytest.raises(keras_pdenets.WeightsError, match="not on the Hub yet"):
        WeightsSource.of(dataclasses.replace(preset, revision=None)).resolve()


@pytest.mark.parametrize("how", ["rewritten", "renamed"])
def test_a_file_replaced_between_hashing_and_loading_is_not_loaded(how, preset, file, tmp_path):
    path = _put(tmp_path / "checkout" / "small", file.read_bytes())
    other = tmp_path / "other.safetensors"
    write_weights(_model(), other, CHECKPOINT)

    def replace():
        if how == "rewritten":
            path.write_bytes(other.read_bytes())
        else:
            shutil.copy(other, tmp_path / "copy").rename(path)

    # A preset: hashed, replaced, loaded.
    model, wanted = _model(), _model()
    load_weights(wanted, file)
    found = WeightsSource.of(preset).resolve()
    replace()
    load_opened(model, found)
    for name, value in _values(wanted).items():
        np.testing.assert_array_equal(_values(model)[name], value)
    # A file of the Hub's cache: its hash is known, its bytes are read when they are loaded.
    path.write_bytes(file.read_bytes())
    with WeightFile(path, digest=preset.sha256) as found:
        assert read_checkpoint(found) == CHECKPOINT
        replace()
        if how == "rewritten":
            with pytest.raises(keras_pdenets.IntegrityError, match="It was not loaded"):
                load_opened(model, found)
        else:
            load_opened(model, found)  # what was opened, not what has its name now
    # Any file: the header that was checked is that of the tensors.
    path.write_bytes(file.read_bytes())
    with WeightFile(path) as found:
        assert read_checkpoint(found) == CHECKPOINT
        path.write_bytes(b"\0" * file.stat().st_size)
        with pytest.raises(keras_pdenets.WeightsError, match="changed while it was read"):
            load_opened(model, found)
    for name, value in _values(wanted).items():
        np.testing.assert_array_equal(_values(model)[name], value)


def test_one_revision_is_enough():
    with pytest.raises(ValueError, match="at most one revision"):
        keras_pdenets.PDEPreActResNet20(weights="hf://someone/net@v1", revision="v2")
