"""The folders of a search and of its trials."""

import json

import keras_tuner

from keras_pdenets.utils.atomic import write_file
from keras_pdenets.utils.json_files import load_json
from keras_pdenets.utils.text import printable, shown

_VAIN_STARTS = 3
_LONGEST_MESSAGE = 20_000  # characters


def describe(oracle, space):
    """The settings that determine a search, as JSON text."""
    kind = type(oracle).__name__
    return json.dumps({"oracle": kind, "space": json.loads(space.to_json())}, indent=1) + "\n"


def check_folder(folder, oracle, space):
    """Check that a folder holds this search.

    Raises:
        ValueError: If it holds another one.
    """
    path = folder / "space.json"
    if not path.exists():
        raise ValueError(f"{folder} holds a search of another program. Choose another folder.")
    old, new = load_json(path), json.loads(describe(oracle, space))
    if old == new:
        return
    if not (isinstance(old, dict) and isinstance(old.get("space"), dict) and "oracle" in old):
        raise ValueError(f"{path} is not the description of a search. Choose another folder.")
    if old["oracle"] != new["oracle"]:
        difference = f"oracle {printable(str(old['oracle']))}, not {new['oracle']}"
    else:
        fields = [k for k in new["space"] if old["space"].get(k) != new["space"][k]]
        difference = ", ".join(
            f"{k} {shown(old['space'].get(k))}, not {shown(new['space'][k])}" for k in fields
        )
    raise ValueError(
        f"{folder} holds another search ({difference}). Use the old space to resume it, or "
        "another folder for a new search."
    )


def read_result(path):
    """The metrics of a finished trial."""
    result = load_json(path, nan=True)
    if not isinstance(result, dict) or not all(isinstance(v, int | float) for v in result.values()):
        raise ValueError(f"{path} is not the result of a trial: delete it to train it again.")
    return result


def writable(message):
    """An error's text as valid Unicode, shortened to its beginning and end."""
    text = message.encode("utf-8", "backslashreplace").decode("utf-8").strip()
    half = _LONGEST_MESSAGE // 2
    return text if len(text) <= 2 * half else f"{text[:half]}\n...\n{text[-half:]}"


def count_start(path, done):
    """Record a start; give up a trial whose process was killed too often within one epoch."""
    starts = path.read_text(encoding="utf-8", errors="replace").split() if path.exists() else []
    starts.append(str(done))
    write_file(path, " ".join(starts))
    if starts.count(str(done)) > _VAIN_STARTS:
        raise keras_tuner.errors.FailedTrialError(
            f"The trial was started {_VAIN_STARTS} times after epoch {done} and never finished "
            "the next: its process was killed each time (out of memory?)."
        )
