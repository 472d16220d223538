"""Processes that the package starts: what they import, and when they end."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_pdenets
from keras_pdenets.utils import processes
from keras_pdenets.utils.processes import run_program, start_python

PACKAGE = Path(keras_pdenets.__file__).parent
pytestmark = pytest.mark.once

# Everything by which a program can start another one.
_MODULES = {"multiprocessing", "pty", "concurrent.futures.process", "torch.multiprocessing"}
_STARTERS = {
    "sys": {"executable", "_base_executable"},
    "subprocess": {"run", "Popen", "call", "check_call", "check_output", "getoutput",
                   "getstatusoutput"},
    "os": {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile",
           *(name for name in dir(os) if name.startswith(("exec", "spawn")))},
    "futures": {"ProcessPoolExecutor"},
}  # fmt: skip


def starters(text):
    """What in a program could start another."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & _MODULES
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            found |= {module} & _MODULES
            wanted = _STARTERS.get(module.rpartition(".")[2], set())
            found |= {alias.name for alias in node.names} & (wanted | _MODULES)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {node.attr} & _STARTERS.get(node.value.id, set())
    return found


def test_one_function_starts_all_processes():
    assert starters("import os\nos.execv('a', [])\nfrom subprocess import Popen") == {
        "execv", "Popen",
    }  # fmt: skip
    found = {path: starters(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    assert len(found) > 100
    assert {path.relative_to(PACKAGE).as_posix() for path, names in found.items() if names} == {
        "utils/processes.py"
    }


def _said(arguments, **options):
    with start_python(arguments, stdout=subprocess.PIPE, text=True, **options) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.split()


# Where a process finds a module, and where a process of that process does.
_WHERE = """
import subprocess, sys
import colorsys
print(colorsys.__file__, flush=True)
if sys.argv[1:]:
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""


def test_nothing_of_the_working_directory_is_imported(tmp_path, monkeypatch):
    downloads, own = tmp_path / "downloads", tmp_path / "own"
    for folder in (downloads, own):
        folder.mkdir()
    (downloads / "colorsys.py").write_text("raise SystemExit(7)")
    (own / "of_the_user.py").write_text("print('found')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep)  # an empty place is the working directory
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    places = _said(["-c", _WHERE, _WHERE], cwd=downloads)
    assert len(places) == 2
    assert not any(Path(place).is_relative_to(tmp_path) for place in places)
    # What this process can import, the other can: the places of the user's PYTHONPATH too.
    monkeypatch.setattr(sys, "path", [str(own), *sys.path])
    assert _said(["-c", "import of_the_user"], cwd=downloads) == ["found"]
    program = "from importlib.util import find_spec; print(find_spec('keras_pdenets').origin)"
    assert _said(["-c", program], cwd=downloads) == [keras_pdenets.__file__]


# The module alone: the package would bring Keras.
_ENDS = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("processes", sys.argv[1])
spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
module.end_with_parent()
time.sleep(0.5)
print("alive", flush=True)
time.sleep(60)
"""


def test_a_process_behind_a_launcher_lives_and_ends_with_its_parent(tmp_path, monkeypatch):
    """As with the python.exe of a virtual environment on Windows, which starts another."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    python.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(python))
    with start_python(
        ["-c", _ENDS, processes.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"alive\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(30) == 1


def test_a_program_is_run_to_its_end_within_its_time(tmp_path):
    program = "import os, sys; print('out'); sys.exit('it says: ' + os.getcwd())"
    status, said = run_program([sys.executable, "-c", program], tmp_path, 60)
    assert (status, said) == (1, f"it says: {tmp_path}")
    with pytest.raises(TimeoutError, match=r"took longer than 0\.1 s"):
        run_program([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.1)
