"""The wheel: built from this checkout, it brings the small checkpoints and needs no checkout."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from try_wheel import PROGRAM

from keras_pdenets.presets import get_preset, list_presets

ROOT = Path(__file__).parents[1]
SMALL = [name for name in list_presets() if get_preset(name).size < 1e6]


@pytest.mark.once
def test_every_small_checkpoint_is_in_the_wheel():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    included = build["build"]["targets"]["wheel"]["force-include"]
    assert included == {f"weights/{name}": f"keras_pdenets/weights/{name}" for name in SMALL}
    for name in SMALL:
        assert {"model.safetensors", "golden.safetensors", "README.md"} <= {
            path.name for path in (ROOT / "weights" / name).iterdir()
        }


def _run(*command, cwd=None, **environment):
    environment = {**os.environ, **environment}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.once
@pytest.mark.slow
def test_the_wheel_loads_every_small_preset_without_the_checkout(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 6e6
    names = zipfile.ZipFile(wheel).namelist()
    assert "keras_pdenets/__init__.pyi" in names
    assert not [name for name in names if name.startswith(("tests/", "tuning/"))]
    site = tmp_path / "site"
    _run(*pip, "install", "--no-deps", "--no-index", "--target", site, wheel)
    # The folder of the wheel comes before an editable install of the checkout.
    environment = {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    lines = _run(sys.executable, "-c", PROGRAM, cwd=tmp_path, **environment).splitlines()
    assert Path(lines[0]).is_relative_to(site)
    assert lines[1:] == [f"{name} package" for name in SMALL]
