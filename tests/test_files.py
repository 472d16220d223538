"""Whole files, locked folders, texts: what every layer writes and reads with."""

import ast
import contextlib
import errno
import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keras_pdenets.utils import atomic, locking
from keras_pdenets.utils.atomic import remove_leftovers, replace_file, temporary_folder
from keras_pdenets.utils.locking import InUseError, locked

pytestmark = pytest.mark.once

# In a child: imports these two modules alone, not Keras.
_HEAD = """
import fcntl, sys, time, types
from pathlib import Path
package = types.ModuleType("keras_pdenets")
package.__path__ = [sys.argv[1]]
sys.modules["keras_pdenets"] = package
from keras_pdenets.utils.atomic import replace_file
from keras_pdenets.utils.locking import locked
folder = Path(sys.argv[2])
"""
_HOLD = """
def flock(*arguments):
    raise OSError(int(sys.argv[3]), "no locks here")
if int(sys.argv[3]):
    fcntl.flock = flock
with locked(folder):
    print("held", flush=True)
    time.sleep(60)
"""
_WRITE = """
def write(path):
    path.write_text("half")
    path.with_name("more").write_text("of the writer's own")
    print("writing", flush=True)
    time.sleep(60)
replace_file(folder / "log.csv", write)
"""


@contextlib.contextmanager
def _child(program, *arguments):
    """A process that has come to the line that it prints; it is killed in the end."""
    package = str(Path(atomic.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", _HEAD + program, package, *map(str, arguments)],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline()
        yield process
        process.kill()


# Whole files


def test_a_file_is_whole_or_the_old_one(tmp_path):
    path = tmp_path / "new" / "log.csv"
    replace_file(path, lambda temporary: temporary.write_text("1"))

    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, fail)
    assert path.read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: os.write(os.open("/dev/full", os.O_WRONLY), b"1"), "No space left on device"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_a_full_disk_says_so(write, said, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("old")
    with pytest.raises(OSError, match=rf"log\.csv was not written: {said}"):
        replace_file(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["x" * 300, "file/log.csv"])
def test_a_name_that_cannot_be_is_named(name, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"{name} was not written"):
        replace_file(tmp_path / name, Path.touch)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_has_the_permissions_that_the_umask_leaves(mask, tmp_path):
    def private(path):  # as safetensors does
        path.unlink()
        os.close(os.open(path, os.O_CREAT, 0o600))

    before = os.umask(mask)
    try:
        for write in (Path.touch, private):
            replace_file(tmp_path / "log.csv", write)
            assert (tmp_path / "log.csv").stat().st_mode & 0o777 == 0o666 & ~mask
    finally:
        os.umask(before)


def test_a_file_system_that_sets_no_permissions(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for owner, name in ((os, "chmod"), (os, "fchmod"), (Path, "chmod")):
        monkeypatch.setattr(owner, name, refuse)
    replace_file(tmp_path / "log.csv", lambda path: path.write_text("1"))
    with locked(tmp_path):
        assert (tmp_path / "log.csv").read_text() == "1"


# What kills leave


def test_what_a_kill_leaves_is_removed_by_the_next_run(tmp_path):
    theirs = [".log.csv.abc123", ".keras_pdenets-1-notours.part", "letter.part"]
    for name in theirs:
        (tmp_path / name).touch()
    with _child(_WRITE, tmp_path):
        living = {path.name for path in tmp_path.iterdir()} - set(theirs)
        assert len(living) == 1
        replace_file(tmp_path / "other.csv", Path.touch)  # it still writes
        assert {path.name for path in tmp_path.iterdir()} == {*theirs, *living, "other.csv"}
    with locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {*theirs, "other.csv", locking.LOCK}


def test_leftovers_are_those_of_the_dead(tmp_path):
    with _child("print(flush=True)\n", tmp_path) as dead:
        pass
    machine, old = atomic._machine(), time.time() - 2 * atomic._LONGEST_SECONDS
    with temporary_folder(tmp_path) as own:
        for name, goes in {
            f".keras_pdenets-{dead.pid}-{machine}-00000000.part": True,
            f".keras_pdenets-{dead.pid}-00000000-00000000.part": False,  # another machine's
            f".keras_pdenets-{dead.pid}-00000000-00000001.part": True,  # and two days old
            f".keras_pdenets-{os.getpid()}-{machine}-00000000.part": True,  # had our number before
            f".keras_pdenets-{os.getppid()}-{machine}-00000000.part": False,
            f".keras_pdenets-{10**30}-{machine}-00000000.part": False,
        }.items():
            (tmp_path / name).mkdir()
            if name.endswith("1.part"):
                os.utime(tmp_path / name, (old, old))
            remove_leftovers(tmp_path)
            assert (tmp_path / name).exists() != goes, name
        assert own.is_dir()
    kept = tmp_path / f".keras_pdenets-{dead.pid}-{machine}-00000002.part"
    (kept / atomic.ASIDE).mkdir(parents=True)  # somebody's files, put aside
    remove_leftovers(tmp_path)
    assert kept.is_dir()
    assert not own.exists()
    remove_leftovers(tmp_path / "none")


# Locks


@pytest.mark.parametrize("code", [0, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_has_one_owner_whatever_its_file_system(code, tmp_path, monkeypatch, caplog):
    def without(*_):
        raise OSError(code, "no locks here")

    if code:
        monkeypatch.setattr(fcntl, "flock", without)
    said = r"does not support locks: .* remove .*\.lock" if code else r"give another folder\.$"
    with (
        _child(_HOLD, tmp_path, code),
        pytest.raises(InUseError, match=f"Another process is using .*{said}"),
        locked(tmp_path),
    ):
        raise AssertionError
    caplog.set_level(logging.WARNING, "keras_pdenets")
    begin = time.monotonic()
    with locked(tmp_path), locked(tmp_path):
        assert time.monotonic() - begin < 10, "the dead hold nothing"
    assert ("does not support locks" in caplog.text) == bool(code)
    with locked(tmp_path):
        pass


def test_threads_of_a_process_are_others(tmp_path):
    caught = []

    def enter():
        try:
            with locked(tmp_path):
                caught.append(None)
        except InUseError as error:
            caught.append(str(error))

    for _ in range(2):
        with locked(tmp_path):
            other = threading.Thread(target=enter)
            other.start()
            other.join()
    enter()
    assert [error is None for error in caught] == [False, False, True]
    assert "Another thread" in caught[0]


def test_a_folder_that_is_closed_is_named(tmp_path):
    (tmp_path / "file").touch()
    held = set(locking._HELD)  # other tests of this process hold theirs to its end
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file"):
        raise AssertionError
    assert set(locking._HELD) == held


# Encodings

TREE = Path(__file__).parents[1]


_BINARY = ("os.open", "tarfile.open", "Image.open")  # of whatever mode


def _without_encoding(path):
    """Lines that read or write text in the encoding of the machine."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        if "encoding" in named:
            continue
        if name in ("read_text", "write_text") or {"text", "universal_newlines"} & set(named):
            yield node.lineno
        if name in ("open", "fdopen", "NamedTemporaryFile"):
            modes = [*node.args, *named.values()]
            texts = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
            binary = ast.unparse(node.func) in _BINARY
            if not binary and not any("b" in text for text in texts if isinstance(text, str)):
                yield node.lineno


@pytest.mark.parametrize("folder", ["keras_pdenets", "tuning", "examples"])
def test_texts_are_utf8_whatever_the_locale(folder):
    places = [
        f"{path.relative_to(TREE)}:{line}"
        for path in sorted((TREE / folder).rglob("*.py"))
        for line in _without_encoding(path)
    ]
    assert not places


_LOCALE = r"""
import locale, sys
from pathlib import Path
assert locale.getpreferredencoding(False).lower() != "utf-8"
import numpy as np
from keras_pdenets.cli import main
from keras_pdenets.presets import Preset, read_presets, write_preset
from keras_pdenets.training import Recipe, state
from keras_pdenets.utils.tables import write_rows
from keras_pdenets.experiments import read_results
from keras_pdenets.experiments.results import RunResult
from keras_pdenets.experiments.table import put_into, write_table
from dataclasses import asdict
import json
folder = Path(sys.argv[1])
names = ["Manteau d'\u00e9t\u00e9", "\u30b3\u30fc\u30c8"]
checkpoint = {"architecture": "preact_resnet20", "input_shape": [28, 28, 1], "classes": 2,
              "class_names": names}
recipe = Recipe("net", checkpoint, "sample", [{"epochs": 2}])
run = folder / "net-seed0"
(folder / "recipe.json").write_bytes(json.dumps(asdict(recipe), ensure_ascii=False).encode())
assert Recipe.from_file(folder / "recipe.json") == recipe
write_rows(run / "log.csv", [{"loss": 1.0, "note": names[0]}])
row = {"accuracy": 0.5, "test_accuracy": 0.5, "loss": 1.0, "seconds": 1.0}
state.write_state(run / "state.safetensors", {"a": np.zeros(2)}, [row], recipe)
assert state.read_state(run / "state.safetensors", recipe)[1] == [row]
RunResult("net", 0, json.loads(recipe.to_json()), 90.0, 1.0, 10, 10, 10, 1.0, names[0],
          [row]).write(run / "result.json")
results, _ = read_results(folder)
write_table(results, folder)
(folder / "README.md").write_bytes("\u00e9\n<!-- zoo x -->\n<!-- /zoo -->\n".encode())
put_into(folder / "README.md", "x", names[0])
(folder / "presets.json").write_text("[]", encoding="utf-8")
row = Preset("net", recipe.checkpoint, "sample", "test", "f", "0", 1, "o/r", None, {}, {}, {})
write_preset(row, folder / "presets.json")
assert read_presets(folder / "presets.json")["net"].checkpoint.class_names == tuple(names)
assert main(["dev", "zoo", "table", str(folder)]) == 0
assert main(["train", "--recipe", str(folder / "none\u00e9.json")]) == 1
"""


@pytest.mark.slow
def test_files_and_terminal_in_a_locale_without_utf8(tmp_path):
    pytest.importorskip("matplotlib")
    environment = {
        **os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", _LOCALE, str(tmp_path)],
        env=environment, capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mean \\xb1 standard deviation" in done.stdout
    for name in ("table.md", "README.md", "net-seed0/log.csv", "presets.json"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "Manteau d'été" in text or "Manteau d'\\u00e9t\\u00e9" in text, name
