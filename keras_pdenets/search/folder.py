"""The folder of a search: whose it is."""

import json

from keras_pdenets.utils.json_files import load_json
from keras_pdenets.utils.text import printable, shown


def describe(oracle, space):
    """What decides a search, as JSON text."""
    kind = type(oracle).__name__
    return json.dumps({"oracle": kind, "space": json.loads(space.to_json())}, indent=1) + "\n"


def check_folder(folder, oracle, space):
    """Refuse to go on with another search.

    Raises:
        ValueError: If the folder holds one.
    """
    path = folder / "space.json"
    if not path.exists():
        raise ValueError(f"{folder} holds a search of another program. Give another folder.")
    old, new = load_json(path), json.loads(describe(oracle, space))
    if old == new:
        return
    if not (isinstance(old, dict) and isinstance(old.get("space"), dict) and "oracle" in old):
        raise ValueError(f"{path} is not the description of a search. Give another folder.")
    if old["oracle"] != new["oracle"]:
        difference = f"oracle {printable(str(old['oracle']))}, not {new['oracle']}"
    else:
        fields = [k for k in new["space"] if old["space"].get(k) != new["space"][k]]
        difference = ", ".join(
            f"{k} {shown(old['space'].get(k))}, not {shown(new['space'][k])}" for k in fields
        )
    raise ValueError(
        f"{folder} holds another search ({difference}). Give it the old space to go on, or "
        "another folder to start anew."
    )
