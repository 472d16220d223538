"""Solved layers on disk, so that the conversion of a large net goes on where it was stopped."""

import contextlib
import hashlib
import zipfile
from pathlib import Path

import numpy as np
from keras import ops

from keras_pdenets.utils.atomic import replace_file
from keras_pdenets.utils.checks import check_path
from keras_pdenets.utils.locking import locked


class Store:
    """The solutions of layers in a folder.

    Args:
        folder: The folder; None: nothing is kept.
        key: Text that says of which conversion they are.
    """

    def __init__(self, folder, key):
        self.folder = None if folder is None else check_path("folder", folder)
        self._key = key

    def opened(self):
        """A context in which no other process works in the folder."""
        return contextlib.nullcontext() if self.folder is None else locked(self.folder)

    def load(self, index):
        """The arrays of a layer, or None where it is not solved yet.

        Raises:
            ValueError: If the folder holds another conversion.
        """
        path = self._path(index)
        if path is None or not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is damaged; remove it and start again: {error}") from error
        if str(arrays.pop("key", "")) != self._key:
            raise ValueError(
                f"`folder` must be new, or of the same model, data and arguments. Received: "
                f"{self.folder}, which holds another conversion"
            )
        return arrays

    def save(self, index, arrays):
        """Keep the arrays of a layer."""
        path = self._path(index)
        if path is not None:
            replace_file(path, lambda temporary: np.savez(temporary, key=self._key, **arrays))

    def _path(self, index):
        return None if self.folder is None else Path(self.folder) / f"layer{index:04d}.npz"


def key_of(model, images, forms, *options):
    """A text that is another one for other weights, images, operators or options."""
    digest = hashlib.sha256(repr((options, images.shape, images.dtype.str)).encode())
    for weight in model.weights:
        digest.update(weight.path.encode())
        digest.update(np.ascontiguousarray(ops.convert_to_numpy(weight)).tobytes())
    digest.update(np.ascontiguousarray(images).tobytes())
    for form in forms:
        digest.update(repr((form.name, form.target.name, getattr(form, "middle", 0))).encode())
    return digest.hexdigest()
