"""A folded net as a reproducible `.keras` file that loads without this package."""

import json
import tempfile
import zipfile
from pathlib import Path

from keras_pdenets.transforms import fold

NATIVE_FILE = "model.keras"
# The parts of the file also lie beside it: keras.saving.load_model("hf://...") reads these.
PARTS = ("config.json", "metadata.json", "model.weights.h5")
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # of time, for zip files
_CLOSE = 1e-5


def write_native(model, folder, images):
    """Fold a net and write it as `model.keras`, with its parts.

    The same net always gives the same bytes, so that nothing is published twice.

    Args:
        model: The net.
        folder: The folder.
        images: A few inputs to compare the two nets on.

    Returns:
        The `FoldReport`.

    Raises:
        ValueError: If a layer of this package remains, or the predictions differ.
    """
    # Not "measure": the file must not depend on the load of this machine.
    folded, report = fold(model, decomposed="keep", data=images, portable=True)
    if report.left:
        raise ValueError(f"`model` cannot be folded completely: {report.left}")
    if not report.difference <= _CLOSE:
        raise ValueError(
            f"`model` must give the same predictions when folded, within {_CLOSE}. Received: a net "
            f"that differs by {report.difference:.2g}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / NATIVE_FILE
        folded.save(path)
        with zipfile.ZipFile(path) as file:
            parts = {name: file.read(name) for name in PARTS}
    config = json.loads(parts["config.json"])
    operations = [
        layer["name"] for layer in config["config"]["layers"]
        if str(layer["module"]).startswith("keras.src.ops")
    ]  # fmt: skip
    names = {name: f"operation_{i}" for i, name in enumerate(operations)}
    parts["config.json"] = _dump(_numbered(config, {}, names))
    metadata = json.loads(parts["metadata.json"])
    parts["metadata.json"] = _dump({**metadata, "date_saved": "1980-01-01@00:00:00"})
    with zipfile.ZipFile(folder / NATIVE_FILE, "w") as file:
        for name, data in parts.items():
            file.writestr(zipfile.ZipInfo(name, _BEGINNING), data)
            (folder / name).write_bytes(data)
    return report


def _dump(record):
    return json.dumps(record).encode()


def _numbered(value, objects, names, key=""):
    """A config without process-dependent values.

    Args:
        value: A part of the config.
        objects: New number of each object so far, by its address in memory.
        names: New names of the operations, which Keras numbers per process.
        key: Key of the part.
    """
    if isinstance(value, dict):
        return {k: _numbered(item, objects, names, k) for k, item in value.items()}
    if key == "shared_object_id":
        return objects.setdefault(value, len(objects))
    if key == "keras_history":  # a call of a layer: name, number of the call, of the output
        return [names.get(value[0], value[0]), *value[1:]]
    if isinstance(value, list):
        return [_numbered(item, objects, names, key) for item in value]
    return names.get(value, value) if key == "name" else value
