"""Names that are safe to use as a path component."""

import re

from keras_pdenets.utils.text import shown

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
# Device names of Windows, with any suffix.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def is_name(text: object) -> bool:
    """Whether a text is one visible path component on every system, and not `..`.

    Example:
    >>> from keras_pdenets.utils.names import is_name
    >>> [is_name(text) for text in ("model.safetensors", "..", "a/b", ".git", "", "nul.txt", "a.")]
    [True, False, False, False, False, False, False]
    """
    return (
        isinstance(text, str)
        and _PART.fullmatch(text) is not None
        and ".." not in text
        and not text.endswith(".")
        and _DEVICES.fullmatch(text) is None
    )


def check_name(field: str, text: object) -> None:
    """Raise a ValueError that names the field unless the text `is_name`."""
    if not is_name(text):
        raise ValueError(
            f"`{field}` must be a plain name: at most 96 letters, digits, `_`, `-` and dots, not "
            f"starting with a dot or dash, and not a device. Received: {field}={shown(text)}"
        )
