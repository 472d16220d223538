"""JAX on several machines: here processes on one, which meet on its loopback address."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

# JAX joins processes once, and before it computes: none of them is that of the tests.
pytestmark = [pytest.mark.slow, pytest.mark.once]

_RUN = """
import dataclasses, json, sys
from pathlib import Path
from test_devices import RECIPE, fit
from keras_pdenets.training import Phase, train
folder, epochs, limit, devices = Path(sys.argv[1]), *json.loads(sys.argv[2])
result = {"fit": fit(devices, 0.2)} if epochs == 2 else {}
recipe = dataclasses.replace(RECIPE, stages=(Phase(epochs, 7),))
log = train(recipe, folder / "run", limit_minutes=limit, verbose=0, devices=devices)
(folder / "result.json").write_text(json.dumps(result | {"log": log}))
"""


def start(folder, epochs=2, limit=None, processes=2):
    """So many processes of one run, each with a folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": paths}
    devices = None
    if processes > 1:
        devices = "all"
        environment["KERAS_DISTRIBUTION_JOB_ADDRESSES"] = address
        environment["KERAS_DISTRIBUTION_NUM_PROCESSES"] = str(processes)
    started = []
    for number in range(processes):
        own = folder / str(number)
        own.mkdir(exist_ok=True)
        own = [sys.executable, "-c", _RUN, str(own), json.dumps([epochs, limit, devices])]
        environment["KERAS_DISTRIBUTION_PROCESS_ID"] = str(number)
        started.append(subprocess.Popen(own, env=dict(environment), stderr=subprocess.PIPE))
    return started


def results(folder, started):
    """What each of them found, when all have ended well."""
    for process in started:
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 0, said.decode()[-2000:]
    paths = (folder / str(number) / "result.json" for number in range(len(started)))
    return [json.loads(path.read_text()) for path in paths]


def without_seconds(log):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in log]


def test_two_processes_make_the_steps_of_one(tmp_path):
    for name in ("two", "one"):
        (tmp_path / name).mkdir()
    both = results(tmp_path / "two", start(tmp_path / "two"))
    (alone,) = results(tmp_path / "one", start(tmp_path / "one", processes=1))
    assert both[0] == both[1]
    # Batch norm sees the batches of both, so that a net with it gives the same too.
    for row, other in zip(without_seconds(alone["log"]), both[0]["log"], strict=True):
        assert {key: other[key] for key in row} == pytest.approx(row, abs=1e-5)
    (logs, weights), (logs_of_two, weights_of_two) = alone["fit"], both[0]["fit"]
    assert logs_of_two == pytest.approx(logs, abs=1e-5)
    for weight, other in zip(weights, weights_of_two, strict=True):
        np.testing.assert_allclose(other, weight, atol=1e-5)
    # The first process writes, and none of the others.
    assert (tmp_path / "two/0/run/model.safetensors").exists()
    assert not (tmp_path / "two/1/run").exists()


def test_one_that_is_killed_ends_the_run_which_goes_on_later(tmp_path):
    first, second = start(tmp_path, epochs=5000)
    log = tmp_path / "0/run/log.csv"
    while not log.exists():
        assert first.poll() is None, first.stderr.read().decode()[-2000:]
        time.sleep(0.1)
    second.kill()
    said = first.communicate(timeout=60)[1].decode()
    assert first.returncode not in (None, 0)
    assert "RuntimeError: Another process of the run has ended, so process 0 of 2" in said
    second.communicate()
    done = len(log.read_text().splitlines()) - 1
    again = results(tmp_path, start(tmp_path, epochs=5000, limit=1e-9))
    assert len(again[0]["log"]) == done >= 1
    assert again[0] == again[1]
