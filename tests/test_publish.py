"""Publishing with the real client to the loopback Hub, and loading what was published."""

import argparse
import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from loopback_client import environment, lead_here
from loopback_hub import LoopbackHub

import keras_pdenets
from keras_pdenets.benchmark import Timing
from keras_pdenets.cli import publish as command
from keras_pdenets.hub import source
from keras_pdenets.hub.digests import sha256_of
from keras_pdenets.hub.errors import IntegrityError, UnreachableError, WeightsError
from keras_pdenets.hub.golden import read_golden
from keras_pdenets.plots import plot_predictions
from keras_pdenets.presets import PRESETS_FILE, read_presets
from keras_pdenets.publishing import publish as publishing
from keras_pdenets.publishing.card import card
from keras_pdenets.publishing.speed import Speed, read_speed
from keras_pdenets.training import Recipe

pytestmark = [
    pytest.mark.once,
    # The client's own upload, by an argument that its HTTP library has renamed.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]

NAME, REPO, TAG, TOKEN = "decomposed_resnet20_fashion_mnist", "someone/net", "v0.1.0", "hf_writer"
FILES = {
    "README.md", "config.json", "golden.safetensors", "keras_pdenets.json", "log.csv",
    "metadata.json", "model.keras", "model.safetensors", "model.weights.h5", "predictions.png",
    "recipe.json",
}  # fmt: skip
prepare, measure, measured = publishing._prepare, publishing.evaluate, {}


def _measured_once(checkpoint, path, *arguments):
    """What `evaluate` gives: seconds, once for each content of a file."""
    key = (sha256_of(path), *arguments)
    if key not in measured:
        measured[key] = measure(checkpoint, path, *arguments)
    return measured[key]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The files of the preset, made once: folding takes seconds."""
    folder = tmp_path_factory.mktemp("prepared")
    preset = dataclasses.replace(keras_pdenets.get_preset(NAME), repo=REPO)
    source = publishing.CHECKOUT_WEIGHTS / NAME
    return prepare(preset, source / preset.file, folder, source, plot_predictions, None)


@pytest.fixture
def hub(tmp_path, monkeypatch, prepared):
    with LoopbackHub() as hub:
        lead_here(monkeypatch, hub, tmp_path)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        wait = time.sleep
        monkeypatch.setattr(time, "sleep", lambda seconds: wait(min(seconds, 0.01)))
        hub.table = tmp_path / "presets.json"
        shutil.copyfile(PRESETS_FILE, hub.table)
        monkeypatch.setattr(publishing, "_prepare", _copy_of(prepared))
        monkeypatch.setattr(publishing, "evaluate", _measured_once)
        hub.folder = tmp_path
        yield hub


def _copy_of(prepared):
    def copy(preset, weights, folder, *_):
        return {name: Path(shutil.copy(path, folder)) for name, path in prepared.items()}

    return copy


def _publish(hub, really=True, change=None, **options):
    preset = dataclasses.replace(keras_pdenets.get_preset(NAME), **(change or {}))
    return publishing.publish(preset, REPO, really, presets_file=hub.table, **options)


def _state(hub):
    """Number of commits beside the first, tags, and the commit in the table."""
    repo = hub.repos.get(REPO)
    row = read_presets(hub.table)[NAME]
    return len(repo.commits) - 1 if repo else 0, dict(repo.tags) if repo else {}, row.revision


@pytest.mark.slow
def test_a_dry_run_sends_nothing(hub, prepared, monkeypatch):
    monkeypatch.setattr(publishing, "_prepare", prepare)
    done = _publish(hub, really=False, draw=plot_predictions)
    assert hub.log == []
    assert _state(hub) == (0, {}, None)
    assert set(done.files) == FILES
    text = str(done)
    for part in ("Dry run: nothing was sent", done.files["model.keras"]["sha256"], "library_name",
                 "93.90 % on 1000 images, card 93.90 %"):  # fmt: skip
        assert part in text
    # The same preset makes the same bytes, else a rerun would publish it twice.
    assert done.files == publishing.describe_files(prepared)


@pytest.mark.slow
def test_publish_then_load_in_fresh_processes(hub, prepared, record_property):
    done = _publish(hub)
    # The client has had the card checked, which the real Hub does.
    assert hub.count("POST", "/api/validate-yaml") == 1
    commits, tags, revision = _state(hub)
    assert (commits, tags, revision) == (1, {TAG: done.commit}, done.commit)
    assert read_presets(hub.table)[NAME].repo == REPO
    assert set(hub.repos[REPO].commits[done.commit][2]) == {*FILES, ".gitattributes"}
    downloads = [asked for asked in hub.log if asked[0] == "GET" and "/_cdn/" in asked[1]]
    assert downloads
    assert not any(token for *_, token in downloads)
    assert json.dumps({"name": NAME, "repo": REPO, "revision": done.commit}) in str(done)
    again = _publish(hub)
    assert (again.commit, again.reused) == (done.commit, True)
    assert _state(hub) == (1, {TAG: done.commit}, done.commit)
    data = ModelCard.load(prepared["README.md"]).data
    assert data.eval_results[0].metric_value == 0.9315
    assert data.pipeline_tag == "image-classification"
    golden = read_golden(prepared["golden.safetensors"])
    exponents = np.exp(golden.logits.astype("float64"))
    wanted = exponents / exponents.sum(1, keepdims=True)
    for backend in ("torch", "jax", "tensorflow"):
        if importlib.util.find_spec(backend):
            differences = _fresh(hub, backend, done.commit, prepared["model.keras"], wanted)
            record_property(backend, str(differences))  # pytest --junitxml=F -o junit_family=xunit1
            assert max(differences) < 1e-5


_PROGRAM = """
import json, sys
import numpy as np
sys.modules["keras_pdenets"] = None  # as if it were not installed
import keras
from safetensors.numpy import load_file
folder, address, native, golden = sys.argv[1:]
inputs = load_file(golden)["inputs"].astype("float32")
net = keras.saving.load_model(native)
parts = keras.saving.load_model(folder)
plain = [np.asarray(keras.ops.convert_to_numpy(m(inputs))).tolist() for m in (net, parts)]
assert not [name for name in sys.modules if name.startswith("keras_pdenets.")]
del sys.modules["keras_pdenets"]
import keras_pdenets
build = keras_pdenets.DecomposedPreActResNet20
own = np.asarray(keras.ops.convert_to_numpy(build(weights=address)(inputs))).tolist()
build(weights=address)
print(json.dumps([own, *plain]))
"""


def _fresh(hub, backend, commit, native, wanted):
    """Largest differences of the probabilities, in a process that starts with nothing."""
    folder = hub.folder / backend
    folder.mkdir()
    parts = folder / "parts"
    parts.mkdir()
    for name in publishing.PARTS:
        shutil.copy(native.parent / name, parts)
    before = len(hub.log)
    address = f"hf://{REPO}@{commit}"
    arguments = [str(parts), address, str(native), str(native.parent / "golden.safetensors")]
    output = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, cwd=folder,
        env=environment(hub, folder, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3"),
    )  # fmt: skip
    assert output.returncode == 0, output.stderr[-2000:]
    asked = [method for method, path, _ in hub.log[before:]]
    # Probe and body: the second load asks nothing.
    assert asked == ["HEAD", "GET"]
    found = json.loads(output.stdout.splitlines()[-1])
    return [float(np.abs(np.array(values) - wanted).max()) for values in found]


@pytest.mark.slow
def test_a_corrupted_read_back_leaves_no_tag_and_no_row(hub):
    hub.fail("flip", "/_cdn/", 100)
    with pytest.raises(IntegrityError, match="was not tagged; the same command checks again"):
        _publish(hub)
    assert _state(hub) == (1, {}, None)
    hub.faults.clear()
    done = _publish(hub)
    assert done.reused
    assert _state(hub) == (1, {TAG: done.commit}, done.commit)


def test_a_tag_whose_answer_is_lost(hub):
    """The Hub has set it, and nobody knows: the message must not say that it is not there."""
    hub.fail("cut", "/tag/", 0)
    with pytest.raises(UnreachableError, match=f"may have its tag {TAG} or not; the same") as e:
        _publish(hub)
    assert "Nothing was tagged" not in str(e.value)
    commits, tags, revision = _state(hub)
    assert (commits, len(tags), revision) == (1, 1, None)
    hub.faults.clear()
    done = _publish(hub)
    assert done.reused
    assert _state(hub) == (1, {TAG: done.commit}, done.commit)


def test_a_private_repository_cannot_be_read_back(hub):
    """By its owner, whose token is right: the message must not speak of it."""
    _publish(hub)
    hub.repos[REPO].private = True
    with pytest.raises(WeightsError, match="sent without a token; make it") as e:
        _publish(hub)
    assert "private, gated or gone" in str(e.value)
    assert "token in use" not in str(e.value)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["upload", "commit", "read", "tag", "row"])
def test_what_ends_it_leaves_nothing_half_done(hub, step, monkeypatch):
    """Every step fails once; the same call goes on and makes nothing twice."""
    places = {"upload": "/_upload/", "commit": "/commit/main", "read": "/resolve/", "tag": "/tag/"}
    if step == "row":
        with monkeypatch.context() as patch:
            patch.setattr(publishing, "write_preset", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                _publish(hub)
    else:
        hub.fail("status", places[step], 503)
        with pytest.raises(UnreachableError, match=r"unavailable \(status 503\); try again") as e:
            _publish(hub)
        assert TOKEN not in str(e.value)
        hub.faults.clear()
    commits, tags, revision = _state(hub)
    assert commits == (0 if step in ("upload", "commit") else 1)
    assert len(tags) == (step == "row")
    assert revision is None
    done = _publish(hub)
    assert done.reused == (step not in ("upload", "commit"))
    assert _state(hub) == (1, {TAG: done.commit}, done.commit)


def _interrupt(*_):
    raise KeyboardInterrupt


def test_a_wrong_accuracy_is_refused(hub):
    metrics = {**keras_pdenets.get_preset(NAME).metrics, "sample_accuracy": 94.5}
    message = r"93\.90 % on 1000 images, card 94\.50 %. It is not published"
    with pytest.raises(WeightsError, match=message):
        _publish(hub, change={"metrics": metrics})
    with pytest.raises(ValueError, match=r"the card of .* has no sample_accuracy"):
        _publish(hub, change={"metrics": {}}, sample=True)
    assert hub.log == []


def test_refusals_of_the_hub(hub, monkeypatch):
    done = _publish(hub)
    hub.repos[REPO].tags["v0.2.0"] = hub.add(REPO, {"log.csv": b"other"}, large=False)
    with pytest.raises(WeightsError, match=r"already has a tag v0\.2\.0 of other files \(log\.csv"):
        _publish(hub, tag="v0.2.0")
    # The tag's own commit counts, not what came after it.
    assert _publish(hub).commit == done.commit
    hub.fail("status", "/commit/main", 412)
    with pytest.raises(UnreachableError, match="there was another commit in the meantime"):
        _publish(hub, tag="v0.3.0")
    hub.faults.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    with pytest.raises(WeightsError, match="denies access") as caught:
        _publish(hub)
    assert "hf_stale" not in str(caught.value)
    with pytest.raises(ValueError, match="`repo` must be organisation/repository"):
        publishing.publish(keras_pdenets.get_preset(NAME), "net")
    with pytest.raises(ValueError, match="plain names"):
        _publish(hub, tag="../v1")


def test_files_that_are_not_the_rows_are_refused(tmp_path):
    preset = keras_pdenets.get_preset(NAME)
    source = publishing.CHECKOUT_WEIGHTS / NAME
    weights = source / preset.file
    with pytest.raises(ValueError, match="is missing: publish from a checkout"):
        prepare(preset, weights, tmp_path, tmp_path / "nowhere", None, None)
    other = dataclasses.replace(preset, golden={**preset.golden, "sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="does not have the hash in the row"):
        prepare(other, weights, tmp_path, source, None, None)


@pytest.mark.parametrize("place", ["folder", "hub"])
def test_where_the_weights_come_from(hub, place, monkeypatch):
    """The folder that was given, or the repository of the row: not the new one, still empty."""
    given, change = hub.folder / "weights", {}
    weights = publishing.CHECKOUT_WEIGHTS / NAME / "model.safetensors"
    if place == "folder":
        shutil.copytree(weights.parent, given / NAME)
    else:
        commit = hub.add("someone/old", {weights.name: weights.read_bytes()})
        change = {"repo": "someone/old", "revision": commit}
    monkeypatch.setattr(source, "CHECKOUT_WEIGHTS", hub.folder / "nowhere")
    done = _publish(hub, change=change, weights_folder=given)
    assert _state(hub) == (1, {TAG: done.commit}, done.commit)
    assert bool(hub.count("HEAD", "/someone/old/resolve/")) == (place == "hub")


# --- cards -------------------------------------------------------------------------------------

SPEED = Speed({"torch": 2310.4, "jax": 98.6}, 64, 15, "A processor, 2 cores.", "2026-01-31")


@pytest.mark.slow
@pytest.mark.parametrize("name", keras_pdenets.list_presets())
def test_the_shipped_cards_are_those_that_are_made(name):
    folder = publishing.CHECKOUT_WEIGHTS / name
    recipe, speed = Recipe.from_file(folder / "recipe.json"), read_speed(folder)
    text = card(keras_pdenets.get_preset(name), recipe, speed=speed)
    assert text == (folder / "README.md").read_text(encoding="utf-8")
    assert ("images a second" in text) == (speed is not None)


def test_speed_on_a_card(tmp_path):
    preset = keras_pdenets.get_preset("plain_net20_fashion_mnist")
    recipe = Recipe.from_file(publishing.CHECKOUT_WEIGHTS / preset.name / "recipe.json")
    assert read_speed(tmp_path) is None
    SPEED.write(tmp_path / "speed.json")
    assert read_speed(tmp_path) == SPEED
    text = card(preset, recipe, speed=SPEED)
    assert "\n| images a second, folded, batch 64 | torch 2,310, jax 99 |\n\n" in text
    assert "median of 15 steps, backends in turn, 2026-01-31, A processor, 2 cores. `keras-" in text
    lines = text.splitlines()
    assert [line for line in card(preset, recipe).splitlines() if line not in lines] == []


def test_the_commands(hub, capsys):
    parser = argparse.ArgumentParser()
    command.add_commands(parser.add_subparsers())

    def run(*arguments):
        options = parser.parse_args(arguments)
        return options.run(options)

    assert run("publish", NAME, "--to", "someone") == 0
    assert f"{NAME} to someone/{NAME}, {TAG}: 93.90 %" in capsys.readouterr().out
    assert hub.log == []
    with pytest.raises(ValueError, match="`--to` must be an organisation with all"):
        run("publish", "all", "--to", REPO)
    assert run("verify", NAME) == 0
    assert "as published" in capsys.readouterr().out
    assert run("verify", NAME, "--tolerance", "1e-12") == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_the_command_that_times(hub, monkeypatch, capsys):
    name = "plain_net20_fashion_mnist"
    shutil.copytree(publishing.CHECKOUT_WEIGHTS / name, hub.folder / name)
    monkeypatch.setattr(source, "CHECKOUT_WEIGHTS", hub.folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    asked = []

    def run_benchmark(words, setting):
        asked.extend([words, setting])
        return [Timing(word, 1, None, (0.1, 0.5, 0.2), (1.0,), None) for word in words]

    monkeypatch.setattr("keras_pdenets.benchmark.run_benchmark", run_benchmark)
    parser = argparse.ArgumentParser()
    command.add_commands(parser.add_subparsers())
    options = parser.parse_args(["speed", name, "--batch", "10", "--rounds", "3"])
    assert options.run(options) == 0
    words, setting = asked
    assert f"{name}+fold@torch" in words
    assert (setting.size, setting.channels, setting.classes) == (28, 1, 10)
    assert (setting.batch, setting.rounds, setting.mode) == (10, 3, "inference")
    speed = read_speed(hub.folder / name)
    assert speed.images_per_second == dict.fromkeys(speed.images_per_second, 50.0)
    assert len(speed.images_per_second) == len(words)
    assert speed.where.startswith("OMP_NUM_THREADS=1, ")
    assert "| images a second, folded, batch 10 |" in (hub.folder / name / "README.md").read_text()
    assert f"{name}: {{" in capsys.readouterr().out
