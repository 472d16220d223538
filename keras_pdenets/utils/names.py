"""The one kind of name that may become a path."""

import re

from keras_pdenets.utils.text import shown

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
# Devices of Windows, whatever suffix they have.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def is_name(text: object) -> bool:
    """Whether a text is one part of a path on every system, neither hidden nor the folder above.

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
    """Raise ValueError that names the field unless a text `is_name`."""
    if not is_name(text):
        raise ValueError(
            f"`{field}` must be a plain name: at most 96 letters, digits, `_`, `-` and dots, which "
            f"begins with no dot or dash and is no device. Received: {field}={shown(text)}"
        )
