"""Golden files: a few inputs and their logits, layer fingerprints and weight digests."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_pdenets.hub.errors import WeightsError
from keras_pdenets.hub.files import save_tensors
from keras_pdenets.hub.weight_file import Header, WeightFile
from keras_pdenets.utils.json_files import parse_json

GOLDEN_FILE = "golden.safetensors"
FINGERPRINT_SIZE = 9
_HEADER_KEY = "keras_pdenets_golden"
_AXES = {"inputs": 4, "logits": 2, "fingerprints": 2}
MOST_IMAGES = 64
_MOST_BYTES = 2**26  # 64 images of 416 x 416 pixels
_DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Golden:
    """The expected outputs of a net.

    Args:
        inputs: Images of integers 0-255, channels last.
        logits: The net's logits for them.
        layers: Names of its layers, in the order of the graph.
        fingerprints: A few numbers from each layer's output, of shape (layers, `FINGERPRINT_SIZE`).
        weights: Digest of each variable's values, by its path.
    """

    inputs: np.ndarray
    logits: np.ndarray
    layers: tuple[str, ...]
    fingerprints: np.ndarray
    weights: dict[str, str]


def write_golden(golden: Golden, path: Path) -> None:
    """Write a golden file atomically.

    Args:
        golden: The expected outputs.
        path: The safetensors file.
    """
    tensors = {
        # float16 is exact for integers up to 2048; weight files have no integer dtypes.
        "inputs": golden.inputs.astype("float16"),
        "logits": golden.logits.astype("float32"),
        "fingerprints": golden.fingerprints.astype("float32"),
    }
    record = {"layers": golden.layers, "weights": golden.weights}
    header = {_HEADER_KEY: json.dumps(record), "format": "np"}
    save_tensors(tensors, Path(path), header)


def read_golden(file: WeightFile | str | Path) -> Golden:
    """Read a golden file.

    Args:
        file: The safetensors file, or its path.

    Raises:
        WeightsError: If it is not a golden file, is corrupted, or of an earlier version.
    """
    if not isinstance(file, WeightFile):
        with WeightFile(Path(file)) as opened:
            return read_golden(opened)
    header, path = file.header, file.path
    layers, weights = _record(header, path)
    size = max((entry.end for entry in header.tensors.values()), default=0)
    if size > _MOST_BYTES:
        raise WeightsError(f"{path} has {size} bytes; a golden file has at most {_MOST_BYTES}.")
    shapes = {name: entry.shape for name, entry in header.tensors.items()}
    axes = {name: len(shape) for name, shape in shapes.items()}
    if axes != _AXES:
        raise _no_golden_file(path)
    if (
        shapes["inputs"][0] != shapes["logits"][0]
        or shapes["fingerprints"] != (len(layers), FINGERPRINT_SIZE)
        or len(set(layers)) != len(layers)
    ):
        raise WeightsError(f"{path} is an inconsistent golden file.")
    if shapes["inputs"][0] > MOST_IMAGES:
        raise WeightsError(
            f"{path} holds {shapes['inputs'][0]} images; a golden file has at most {MOST_IMAGES}."
        )
    with np.errstate(over="ignore"):  # overflow gives infinity, which is detected
        arrays = {name: file.tensor(name).astype("float32") for name in shapes}
    golden = Golden(arrays["inputs"], arrays["logits"], layers, arrays["fingerprints"], weights)
    _check_numbers(golden, path)
    return golden


def are_pixels(images: np.ndarray) -> bool:
    """Whether images are integers 0-255, which a golden file stores exactly."""
    return bool(((images >= 0) & (images <= 255) & (images == np.round(images))).all())


def _check_numbers(golden: Golden, path: Path) -> None:
    """Raise a WeightsError unless a net can give these numbers; NaN would pass any tolerance."""
    for holds, rule in (
        (are_pixels(golden.inputs), "images of integers 0-255"),
        (np.isfinite(golden.logits).all(), "finite logits"),
        (np.isfinite(golden.fingerprints).all(), "finite fingerprints"),
        ((golden.fingerprints[:, 0] >= 0).all(), "fingerprints of non-negative size"),
        (all(map(_DIGEST.fullmatch, golden.weights.values())), "digests of 16 hex digits"),
    ):
        if not holds:
            raise WeightsError(f"{path} is a golden file without {rule}.")


def _record(header: Header, path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of the layers and digests of the weights, from the header."""
    try:
        record = parse_json(header.metadata[_HEADER_KEY])
        names, weights = record["layers"], record.get("weights")
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _no_golden_file(path) from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _no_golden_file(path)
    if weights is None:
        raise WeightsError(
            f"{path} is a golden file of an earlier version, without digests of the weights. Ask "
            "its author for a new one, made by analysis.record_golden and hub.golden.write_golden."
        )
    if not isinstance(weights, dict) or not all(isinstance(d, str) for d in weights.values()):
        raise _no_golden_file(path)
    if not names or not weights:
        raise WeightsError(f"{path} is a golden file without names of layers or weights.")
    return tuple(names), weights


def _no_golden_file(path: Path) -> WeightsError:
    return WeightsError(f"{path} is not a golden file of this package.")


def is_golden(path: Path) -> bool:
    """Whether a safetensors file is a golden file, by its header."""
    with WeightFile(path) as file:
        return _HEADER_KEY in file.header.metadata
