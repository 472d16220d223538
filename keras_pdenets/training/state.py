"""The whole state of a run in one file: kill it at any moment, go on from there."""

import json
import platform
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.utils.json_files import parse_json
from keras_pdenets.utils.text import printable

_COLUMNS = {"loss", "seconds"}
# The files' own modules are imported where a file is written or read: `import keras_pdenets` brings
# this one.


def _variables(model):
    """All variables that training changes, random seeds included, metrics left out."""
    metrics = {id(v) for v in model.metrics_variables}
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {
        # The place in the list, not the path: automatic names depend on what was built before.
        f"{group}/{index:05d}": variable
        for group, variables in groups.items()
        for index, variable in enumerate(v for v in variables if id(v) not in metrics)
    }


def capture(model):
    """Values of every variable of a compiled and built model and of its optimizer."""
    return {key: _to_numpy(variable) for key, variable in _variables(model).items()}


def _to_numpy(variable):
    # A copy: on some backends the array would follow the variable.
    return np.array(ops.convert_to_numpy(variable), order="C")


def restore(model, values):
    """Put captured values back.

    Raises:
        WeightsError: If they are those of another model or optimizer.
    """
    variables = _variables(model)
    wanted = {key: tuple(v.shape) for key, v in variables.items()}
    found = {key: value.shape for key, value in values.items()}
    if wanted != found:
        different = sorted(set(wanted.items()) ^ set(found.items()))[:3]
        raise WeightsError(f"The training state belongs to another model or optimizer: {different}")
    for key, variable in variables.items():
        variable.assign(values[key])


def write_state(path, values, history, recipe):
    """Write captured values, the log so far, the recipe and the software, atomically."""
    from keras_pdenets.hub.files import save_tensors

    software = f"{keras.backend.backend()}, keras {keras.__version__}, "
    software += f"Python {platform.python_version()}"
    header = {"history": json.dumps(history), "recipe": recipe.to_json(), "software": software}
    save_tensors(values, path, header)


def read_state(path, recipe):
    """Captured values, log and software of a run.

    Raises:
        WeightsError: If the file is damaged, or the run was started with another recipe.
    """
    values, header, history = _read(Path(path))
    try:
        # Through the class: a run of an earlier version lacks the fields that came later.
        before = type(recipe)(**parse_json(header["recipe"])).to_json()
    except (TypeError, ValueError):
        before = None
    if before != recipe.to_json():
        raise WeightsError(
            f"{path} was started with another recipe. Give another folder with --out, or remove "
            "this one to start again."
        )
    return values, history, header["software"]


def _read(path):
    """Tensors, texts and log of a file, which a failing disk or a stranger may have written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            header = file.metadata() or {}
            values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        history = parse_json(header["history"], nan=True)
        rows = isinstance(history, list) and all(_is_row(row) for row in history)
        if not rows or "recipe" not in header or "software" not in header:
            raise ValueError("no log of epochs")
    # TypeError and AttributeError: NumPy lacks the file's type of numbers.
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is not a whole training state ({printable(str(error), 200)}). Put a copy "
            "back, or remove it to start the run again from its beginning."
        ) from error
    return values, header, history


def _is_row(row):
    numbers = isinstance(row, dict) and all(isinstance(v, int | float) for v in row.values())
    return numbers and row.keys() >= _COLUMNS
