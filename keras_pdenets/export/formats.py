"""The table of formats: what each needs, and which of Keras' backends can write it."""

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
        name: The name, where Keras writes it Keras' own.
        suffix: End of the file's name; empty: a folder.
        runtime: Module that runs it.
        writers: Backends of Keras that can write it, the best first, with the modules that each
            needs beside itself.
        beside: Suffixes of files that belong to the first.
        write: Function of a model, a path, the name and the shape of an image.
    """

    name: str
    suffix: str
    runtime: str
    writers: dict[str, tuple[str, ...]]
    beside: tuple[str, ...] = ()
    write: Callable[..., None] = keras_export

    def pieces(self, path):
        """All files that make up the artefact at `path`."""
        return [path, *(path.with_suffix(suffix) for suffix in self.beside)]

    def backends(self, current):
        """Backends that can write it here, the current one first.

        Args:
            current: Name of Keras' current backend.

        Raises:
            ImportError: If none is installed with what it needs.
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


# Why the others cannot, measured with Keras 3.15.1: torch's SavedModel has dynamic shapes of the
# wrong structure; JAX writes ONNX with jax2onnx alone and OpenVINO cannot read XlaCallModule;
# LiteRT from torch has a fixed batch.
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
    """The row that an artefact's name tells; a folder is a SavedModel.

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
        f"The format cannot be told from the name: give `format`, or one of {known}, or the folder "
        f"of a SavedModel. Received: {str(path)!r}"
    )


def extra_of(module):
    """The extra of this package that brings a module."""
    return module if module in ("tensorflow", "jax", "torch") else "export"


def _extras(modules):
    return ",".join(dict.fromkeys(extra_of(module) for module in modules))
