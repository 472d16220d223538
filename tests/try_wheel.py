"""Install the wheel of a folder in an empty environment, and load every small preset offline.

python tests/try_wheel.py dist
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PROGRAM = """
import keras_pdenets
from keras_pdenets.hub.source import CHECKOUT_WEIGHTS, WeightsSource
print(keras_pdenets.__file__)
assert not CHECKOUT_WEIGHTS.exists(), CHECKOUT_WEIGHTS
for name in keras_pdenets.list_presets():
    if keras_pdenets.get_preset(name).size < 1e6:
        report = keras_pdenets.verify(name)
        assert report.agrees, report
        print(name, WeightsSource.parse(name).resolve().place)
"""


def main(folder):
    """Raise if anything fails."""
    (wheel,) = Path(folder).resolve().glob("keras_pdenets-*.whl")
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        python = Path(place, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[jax]"], check=True)
        environment = {**os.environ, "KERAS_BACKEND": "jax", "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONPATH", None)
        subprocess.run([python, "-c", PROGRAM], check=True, cwd=place, env=environment)


if __name__ == "__main__":
    main(*sys.argv[1:])
