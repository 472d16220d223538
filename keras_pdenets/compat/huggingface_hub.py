"""Private names of huggingface_hub."""

from huggingface_hub.file_download import _create_symlink


def link(blob, path, is_new):
    """Link a path to a blob of the cache; without symbolic links the blob is moved or copied.

    Args:
        blob: Path of the blob.
        path: Path of the link.
        is_new: Whether nothing else links to the blob yet, so that it may be moved.
    """
    _create_symlink(str(blob), str(path), new_blob=is_new)
