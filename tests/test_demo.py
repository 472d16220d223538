"""What is written for the page that runs the nets; `test_demo_page.py` runs it."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import build, fill

from keras_pdenets import cli
from keras_pdenets.analysis import measure_perturbation, trajectories
from keras_pdenets.demo import card, nets, operators, packing, runtime, watched, writing
from keras_pdenets.presets import get_preset

PAGE = Path(writing.PAGE)
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def net():
    return fill(build("preact_resnet20", 8, 1, config={"num_blocks": 1}))


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 1)).astype("float32")


def test_a_watched_net_gives_the_net_its_features_and_its_changes(net, pictures):
    seen = watched.watch(net)
    answer, changes, *features = seen.model.predict(seen.inputs(pictures), verbose=0)
    np.testing.assert_allclose(answer, net.predict(pictures, verbose=0), rtol=1e-5, atol=1e-5)
    assert [f.shape[1:] for f in features] == [(8, 8, 16), (4, 4, 32), (2, 2, 64)]
    report = measure_perturbation(net, pictures)
    np.testing.assert_allclose(changes.mean(axis=0), [b.scaled for b in report.blocks], rtol=1e-4)


def test_a_gate_of_0_takes_the_block_out(net, pictures):
    seen = watched.watch(net)
    images, gates = seen.inputs(pictures)
    gates[:, 0] = 0
    _, changes, first, *_ = seen.model.predict([images, gates], verbose=0)
    stem = keras.Model(net.inputs, seen.places[0].block.shortcut).predict(pictures, verbose=0)
    np.testing.assert_allclose(first, stem, rtol=1e-5, atol=1e-5)
    assert (changes[:, 0] < 1e-6).all()
    assert (changes[:, 1:] > 0).all()


def test_a_plain_net_is_watched_behind_its_activations(pictures):
    plain = fill(build("plain_net20", 8, 1, config={"num_layers": 1}))
    seen = watched.watch(plain)
    _, changes, *features = seen.model.predict(seen.inputs(pictures), verbose=0)
    assert not seen.gated
    assert len(features) == len(seen.places)
    assert changes.shape == (3, len(seen.changed))
    k = seen.changed[0]
    a, b = (features[i].reshape(3, -1).astype("float64") for i in (k - 1, k))
    wanted = np.linalg.norm(b - a, axis=1) / np.linalg.norm(a, axis=1)
    np.testing.assert_allclose(changes[:, 0], wanted, rtol=1e-4)


def test_features_are_projected_as_the_ways_are(net, pictures):
    seen = watched.watch(net)
    features = seen.model.predict(seen.inputs(pictures), verbose=0)[2:]
    for stage, feature in zip(trajectories(net, pictures).stages, features, strict=True):
        found = (feature.reshape(3, -1) - stage.centre) @ stage.directions.T
        np.testing.assert_allclose(found, stage.coordinates[0], rtol=1e-3, atol=1e-4)


def test_a_split_graph_gives_the_same_with_the_weights_beside_it(tmp_path):
    onnx = pytest.importorskip("onnx")
    kernel = np.random.default_rng(0).normal(size=(4, 3)).astype("float16").astype("float32")
    bias = np.random.default_rng(1).normal(size=3).astype("float32")
    tensors = [onnx.numpy_helper.from_array(v, n) for v, n in ((kernel, "k"), (bias, "b"))]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["x", "k", "b"], ["y"])], "net",
        [info("x", 1, ["n", 4])], [info("y", 1, ["n", 3])], tensors,
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, tmp_path / "net.onnx")
    store = packing.WeightStore({packing.fingerprint(kernel.T)})
    graphs = [packing.split(tmp_path / "net.onnx", store) for _ in range(2)]
    assert store.size == 15, "tensors of both graphs are stored once"
    assert store.table() == [[12, 1, 1], [3, 0, 0]]
    assert not store.missing()
    assert len(store.stored()) == 2 * 12 + 4 * 3
    (tmp_path / "split.onnx").write_bytes(graphs[1])
    store.write_spread(tmp_path)
    from keras_pdenets.export import open_exported

    x = np.ones((2, 4), "float32")
    found = open_exported(tmp_path / "split.onnx")(x)
    np.testing.assert_allclose(found, x @ kernel + bias, rtol=1e-6)


def test_16_bits_are_taken_only_where_they_are_exact():
    assert packing.in_16_bits(np.array([0.5, -3.25, 0.0], "float32"))
    assert not packing.in_16_bits(np.array([0.1], "float32"))
    assert not packing.in_16_bits(np.array([1e6], "float32"))


def test_operators_are_the_kernels_and_their_derivatives(net):
    table = operators.operator_table(net)
    entry = table[1]
    kernel = keras.ops.convert_to_numpy(net.get_layer(entry["layer"]).kernel)
    first = entry["kernels"][0]
    norms = np.linalg.norm(kernel.reshape(9, *kernel.shape[2:]), axis=0)
    assert norms[first["from"], first["to"]] == norms.max()
    shown = np.reshape(first["values"], (3, 3))
    np.testing.assert_allclose(
        shown, kernel[:, :, first["from"], first["to"]], rtol=1e-2, atol=1e-3
    )
    # The factor of 1 is the sum of the kernel's part that second-order operators hold.
    assert len(first["factors"]) == 6
    assert 0 <= first["held"] <= 1


def test_samples_are_one_that_all_know_and_one_on_which_they_differ():
    labels = np.array([0, 0, 0, 1, 1, 1])
    answers = np.array([[0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 1, 1], [0, 2, 1, 1, 1, 0]])
    assert writing.choose_samples(answers, labels) == [0, 1, 3, 4]


def test_the_nets_of_the_page_are_shipped():
    for row in nets.SHOWN_NETS:
        assert get_preset(row.preset).checkpoint.input_shape == (28, 28, 1)


def test_the_card_is_a_static_space():
    lines = card.space_card("1.2.3").splitlines()
    assert lines[0] == "---"
    assert "sdk: static" in lines
    assert "1.2.3" in card.space_card("1.2.3")


def _package(folder, name=runtime.PACKAGE, files=(runtime.SCRIPT, runtime.BINARY)):
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": "9.9.9"}))
    for file in files:
        (folder / "dist" / file).write_bytes(b"bytes of it")
    return folder


def test_the_runtime_comes_with_its_licences(tmp_path):
    version = runtime.copy_runtime(_package(tmp_path / "package"), tmp_path / "runtime")
    assert version == "9.9.9"
    names = {file.name for file in (tmp_path / "runtime").iterdir()}
    binary = f"{runtime.BINARY}.gz"
    assert names == {runtime.SCRIPT, binary, "LICENSE", "ThirdPartyNotices.txt"}
    assert "MIT License" in (tmp_path / "runtime" / "LICENSE").read_text(encoding="utf-8")


def test_a_wrong_runtime_is_named_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for folder, message in [
        (tmp_path / "empty", "of no package"),
        (_package(tmp_path / "other", name="left-pad"), "of left-pad"),
        (_package(tmp_path / "part", files=(runtime.SCRIPT,)), f"without dist/{runtime.BINARY}"),
    ]:
        with pytest.raises(FileNotFoundError, match=message):
            writing.write_demo(tmp_path / "page", folder)
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="no npm on the PATH"):
        writing.write_demo(tmp_path / "page")
    with pytest.raises(ValueError, match="`images` must be"):
        writing.write_demo(tmp_path / "page", images=20)
    assert not (tmp_path / "page").exists()


def test_what_npm_says_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime.shutil, "which", lambda name: "/usr/bin/npm")
    failed = 1, "npm error code ENOTFOUND"
    monkeypatch.setattr(runtime, "run_program", lambda *_: failed)
    with pytest.raises(RuntimeError, match=r"npm error code ENOTFOUND.*give `runtime`"):
        writing.write_demo(tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused(tmp_path, capsys):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mine.txt").write_text("mine")
    assert cli.main(["demo", "--out", str(tmp_path / "page")]) == 1
    assert "`folder` must be empty or not there yet" in capsys.readouterr().err
    assert (tmp_path / "page" / "mine.txt").read_text() == "mine"
    with pytest.raises(FileExistsError, match="not there yet"):
        writing.write_demo(tmp_path / "page" / "mine.txt")


def test_nothing_is_left_of_a_page_that_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("other numbers")

    monkeypatch.setattr(writing, "write_net", fail)
    with pytest.raises(RuntimeError, match="other numbers"):
        writing.write_demo(tmp_path / "page", _package(tmp_path / "package"), verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_the_page_names_no_other_host():
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        text = text.replace("http://localhost:8000", "")
        assert "://" not in text, file.name
        assert len(text.splitlines()) <= 250, file.name
