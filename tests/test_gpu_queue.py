"""The script that runs a queue of trainings on a GPU that is lent: tried on the CPU."""

import importlib.util
import json
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.once

NET = {"architecture": "preact_resnet20", "options": {"num_blocks": 1, "filters": [4, 8, 8]}}
SHAPE = {"input_shape": [28, 28, 1], "classes": 10}
TRAINING = {"dataset": "sample", "stages": [{"epochs": 1, "image_size": 7}], "batch_size": 100,
            "warmup_epochs": 0.0, "dtype": "mixed_bfloat16"}  # fmt: skip


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "tuning" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_entry_of_the_queue_has_a_recipe(gpu):
    entries = gpu.read_queue(ROOT / "tuning" / "gpu_queue.json")
    assert len({entry.name for entry in entries}) == len(entries) > 30
    protocols = {}
    for entry in entries:
        if entry.protocol not in protocols:
            protocols[entry.protocol] = entry.resolve()[1]
        assert entry.run in protocols[entry.protocol].recipes


def test_a_queue_is_done_within_its_time_and_once(gpu, tmp_path, monkeypatch, capsys):
    protocol = {"entries": [{"name": "net", **NET}], "seeds": [0],
                "recipe": {"checkpoint": SHAPE, **TRAINING}}  # fmt: skip
    recipe = {"preset": "alone", "checkpoint": {**NET, **SHAPE}, **TRAINING}
    for name, value in (("p", protocol), ("alone", recipe)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    rows = [{"protocol": str(tmp_path / "p.json"), "run": "net-seed0", "minutes": 1000},
            {"recipe": str(tmp_path / "alone.json"), "minutes": 2000}]  # fmt: skip
    queue = tmp_path / "queue.json"
    queue.write_text(json.dumps([{"group": "tiny", "entries": rows}]))
    assert [entry.name for entry in gpu.read_queue(queue)] == ["alone", "p-net-seed0"]
    monkeypatch.setattr(gpu, "SHARD_BYTES", 2_000)
    out = tmp_path / "out"
    common = ["--queue", str(queue), "--out", str(out)]
    # Time for the shorter alone; then for the other, and what is done is not done again.
    assert gpu.main(["--minutes", "1900", *common]) == 0
    assert "Done here: p-net-seed0. Left: alone." in capsys.readouterr().out
    before = time.time_ns()
    assert gpu.main(["--minutes", "5000", *common]) == 0
    assert "Done here: alone. Left: none." in capsys.readouterr().out
    folder = out / "done" / "p-net-seed0"
    assert all(path.stat().st_mtime_ns < before for path in folder.iterdir())
    assert json.loads((folder / "result.json").read_text())["images"] == 1000
    shards = sorted(folder.glob("weights.0*"))
    assert len(shards) > 1
    assert max(path.stat().st_size for path in shards) <= 2_000
    assert gpu.main(["--join", str(folder), "--out", str(tmp_path / "net.safetensors")]) == 0
    whole = load_file(out / "runs" / "p-net-seed0" / "model.safetensors")
    for name, value in load_file(tmp_path / "net.safetensors").items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-3, atol=1e-6)
    shards[0].write_bytes(shards[0].read_bytes()[::-1])
    with pytest.raises(ValueError, match="are damaged"):
        gpu.main(["--join", str(folder), "--out", str(tmp_path / "net.safetensors")])


def test_entries_that_are_none(gpu):
    for row in ({"minutes": 1}, {"minutes": 1, "protocol": "a"}, {"minutes": 0, "recipe": "a"}):
        with pytest.raises(ValueError, match="must"):
            gpu.Entry(**row)
