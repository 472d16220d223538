"""Private names of huggingface_hub."""

from huggingface_hub.file_download import _create_symlink


def link(blob, path, is_new):
    """Put a file of the cache's blobs to another place: as a link, or else moved or copied.

    Args:
        blob: Path of the file.
        path: Where it is put.
        is_new: Whether nothing else may be linked to it yet: without links it is moved then.
    """
    _create_symlink(str(blob), str(path), new_blob=is_new)
