"""Untrusted text, made safe to show."""

import reprlib
from typing import Any

# A sentence or two.
LONGEST_REFERENCE = 1000
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 8


def printable(text: str, most: int = 80) -> str:
    r"""An untrusted text made safe for a terminal and a log: escaped and truncated.

    Example:
    >>> from keras_pdenets.utils.text import printable
    >>> print(printable("Manteau d'été" + chr(27) + "[2J"))
    Manteau d'été\x1b[2J
    """
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:most])
    return shown if len(text) <= most else f"{shown}..."


def shown(value: Any) -> str:
    """A received value in one short line, however large it is."""
    try:
        return printable(_SHORT.repr(value), 400)
    except ValueError:  # an integer with more digits than Python converts
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else "..."
