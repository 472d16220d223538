"""The table of formats: their requirements and the backends of Keras that can write them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keras_pdenets.export.writers import keras_export, torch_export
from keras_pdenets.utils.checks import lookup
from keras_pdenets.utils.extras import installed


@dataclass(frozen=True)
class Format:
    """One row of the table.

    Args:
        name: The name, as in Keras if it has one.
        suffix: Suffix of the file; empty for a folder.
        runtime: Module that runs it.
        writers: Backends of Keras that can write it, the best first, with the further modules that
            each needs.
        beside: Suffixes of additional files.
        write: Function of a model, a path, the name and the shape of an image.
    """

    name: str
    suffix: str
    runtime: str
    writers: dict[str, tuple[str, ...]]
    beside: tuple[str, ...] = ()
    write: Callable[..., None] = keras_export

    def pieces(self, path):
        """All files of the artefact at `path`."""
        return [path, *(path.with_suffix(suffix) for suffix in self.beside)]

    def backends(self, current):
        """The installed backends that can write it, the current one first.

        Args:
            current: Name of Keras' current backend.

        Raises:
            ImportError: If none is installed with the modules it needs.
        """
        order = sorted(self.writers, key=lambda name: name != current)
        found = [name for name in order if not self._missing(name)]
        if not found:
            ways = " or ".join(
                f"{name} ({', '.join(self._missing(name))} missing: pip install "
                f'"keras-pdenets[{_extras(self._missing(name))}]")'
                for name in order
            )
            raise ImportError(f"Format {self.name} is written with {ways}.")
        return found

    def _missing(self, backend):
        return [name for name in (backend, *self.writers[backend]) if not installed(name)]


# Why others cannot, with Keras 3.15.1: torch's SavedModel has dynamic shapes of the wrong
# structure; JAX needs jax2onnx to write ONNX, and OpenVINO cannot read XlaCallModule; LiteRT from
# torch has a fixed batch size.
FORMATS = {
    row.name: row
    for row in (
        Format(
            "tf_saved_model", "", "tensorflow", {"tensorflow": (), "jax": ("tensorflow",)},
        ),
        Format("onnx", ".onnx", "onnxruntime",
               {"torch": ("onnx",), "tensorflow": ("onnx", "tf2onnx")}),
        Format("litert", ".tflite", "ai_edge_litert", {"tensorflow": ()}),
        Format("openvino", ".xml", "openvino", {"torch": (), "tensorflow": ()}, (".bin",)),
        Format("torch", ".pt2", "torch", {"torch": ()}, write=torch_export),
    )
}  # fmt: skip


def format_named(name):
    """The row of a name, or ValueError with the nearest names."""
    return lookup("format", name, FORMATS)


def format_of(path):
    """The row for the name of an artefact; a folder is a SavedModel.

    Raises:
        ValueError: If no format has this suffix.
    """
    path = Path(path)
    for row in FORMATS.values():
        if path.suffix == row.suffix and (row.suffix or path.is_dir()):
            return row
    if path.is_dir():
        return FORMATS["tf_saved_model"]
    known = ", ".join(f"{row.suffix} ({row.name})" for row in FORMATS.values() if row.suffix)
    raise ValueError(
        f"The format does not follow from the name: give `format`, or one of {known}, or the "
        f"folder of a SavedModel. Received: {str(path)!r}"
    )


def extra_of(module):
    """The extra of this package that installs a module."""
    return module if module in ("tensorflow", "jax", "torch") else "export"


def _extras(modules):
    return ",".join(dict.fromkeys(extra_of(module) for module in modules))
