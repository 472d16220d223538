"""Loading from the loopback Hub in processes of their own: many, killed, without room or rights."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import build, fill
from loopback_client import environment
from loopback_hub import LoopbackHub

from keras_pdenets.hub.files import write_weights
from keras_pdenets.presets import Checkpoint

# Whoever fetches a file has no backend yet: once is enough.
pytestmark = pytest.mark.once

CHECKPOINT = Checkpoint("pde_preact_resnet20", (16, 16, 1), 10, {"num_blocks": 1}, (70.0,), (90.0,))
REPO, FILE, BODY = "someone/net", "model.safetensors", "/_cdn/"
PROCESSES = 12
LOAD = """
import json, os, resource, signal, sys, time
from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.digests import sha256_of
from keras_pdenets.hub.source import WeightsSource

def load():
    try:
        path = WeightsSource.parse(sys.argv[1]).resolve().path
        return {"sha256": sha256_of(path), "path": str(path)}
    except WeightsError as error:
        return {"error": str(error), "kind": type(error).__name__}
"""
ONE = f"{LOAD}\nprint(json.dumps(load()))"
MANY = f"""{LOAD}
# Forked when all is imported, so that they ask at the same moment.
begin = time.time() + 0.3
for _ in range({PROCESSES}):
    if os.fork() == 0:
        time.sleep(max(0, begin - time.time()))
        sys.stdout.write(json.dumps(load()) + "\\n")
        sys.stdout.flush()
        os._exit(0)
for _ in range({PROCESSES}):
    os.wait()
"""
# Python ignores the signal: writing fails with EFBIG, as it does with ENOSPC on a full disk.
FULL = f"""{LOAD}
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
print(json.dumps(load()))
"""
# No permission stops root: the process becomes somebody else, once it has imported what it needs.
READ_ONLY = f"""{LOAD}
WeightsSource.parse(sys.argv[1], cache_dir=os.environ["HF_HOME"] + "/warm").resolve().path
if os.geteuid() == 0:
    os.setuid(65534)
print(json.dumps(load()))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / FILE
    write_weights(fill(build("pde_preact_resnet20", channels=1)), path, CHECKPOINT)
    return path.read_bytes()


@pytest.fixture
def hub(data):
    with LoopbackHub() as hub:
        hub.commit_hash = hub.add(REPO, {FILE: data})
        hub.sha256 = hub.repos[REPO].commits[hub.commit_hash][2][FILE].sha256
        hub.address = f"hf://{REPO}@{hub.commit_hash}"
        yield hub


def _run(program, hub, folder, **more):
    """Answers of a program, and what it wrote to the terminal."""
    done = subprocess.run(
        [sys.executable, "-c", program, hub.address], capture_output=True, text=True, check=False,
        env=environment(hub, folder, **more), timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def _files(folder, pattern):
    return [path for path in Path(folder).glob(f"cache/**/{pattern}") if path.is_file()]


@pytest.mark.slow
def test_many_at_once_and_then_none_asks_the_network(hub, tmp_path):
    hub.fail("delay", BODY, 0.3)  # long enough for all to come
    answers, errors = _run(MANY, hub, tmp_path)
    assert [answer["sha256"] for answer in answers] == [hub.sha256] * PROCESSES
    assert hub.count("GET", BODY) == 1
    hub.log.clear()
    answers, errors = _run(ONE, hub, tmp_path)
    assert answers[0]["sha256"] == hub.sha256
    assert hub.log == [], "cached and pinned: zero calls"
    assert errors == ""


@pytest.mark.slow
def test_many_at_once_over_a_spoilt_cache(hub, tmp_path, data):
    _run(ONE, hub, tmp_path)
    _files(tmp_path, f"blobs/{hub.sha256}")[0].write_bytes(data[:-1] + b"\0")
    answers, _ = _run(MANY, hub, tmp_path, HF_HUB_DISABLE_PROGRESS_BARS="1")
    assert [answer["sha256"] for answer in answers] == [hub.sha256] * PROCESSES


@pytest.mark.slow
def test_the_clients_progress_bar_is_shown(hub, tmp_path):
    # What makes the client take a pipe for a terminal.
    _, errors = _run(ONE, hub, tmp_path, TQDM_POSITION="-1")
    assert f"{hub.sha256[-8:]}: 100%" in errors or f"{FILE}: 100%" in errors


@pytest.mark.slow
def test_killed_in_the_middle_and_loaded_again(hub, tmp_path):
    hub.fail("stall", BODY, 200_000, times=1)
    process = subprocess.Popen(
        [sys.executable, "-c", ONE, hub.address], env=environment(hub, tmp_path),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not hub.count("GET", BODY):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not _files(tmp_path, FILE), "half a file must not look like a whole one"
    answers, _ = _run(ONE, hub, tmp_path)
    assert answers[0]["sha256"] == hub.sha256
    assert hub.count("GET", BODY) == 2


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(hub, tmp_path):
    answers, _ = _run(FULL, hub, tmp_path)
    assert answers[0]["kind"] == "WeightsError"
    assert "the disk of the cache is full (OSError: File too large)" in answers[0]["error"]
    assert not _files(tmp_path, FILE)
    answers, _ = _run(ONE, hub, tmp_path)
    assert answers[0]["sha256"] == hub.sha256


@pytest.fixture
def open_folder():
    """A folder that every user may enter; pytest's own is closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)


@pytest.mark.slow
def test_a_cache_that_may_only_be_read(hub, open_folder):
    cache = open_folder / "cache"
    cache.mkdir()
    cache.chmod(0o555)
    answers, _ = _run(READ_ONLY, hub, open_folder)
    assert "the cache is read-only (OSError: Permission denied" in answers[0]["error"]
    assert "use another cache_dir" in answers[0]["error"]
    cache.chmod(0o755)
    _run(ONE, hub, open_folder)
    for path in (cache, *cache.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    hub.log.clear()
    answers, _ = _run(READ_ONLY, hub, open_folder)
    assert answers[0].get("sha256") == hub.sha256, "reading goes on"
    assert hub.log == []
