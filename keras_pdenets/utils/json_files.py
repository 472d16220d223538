"""Reading JSON from untrusted sources."""

import json
import stat
from pathlib import Path
from typing import Any

from keras_pdenets.utils.text import printable

# The longest file of this package, the result of 1,000 epochs, has a tenth of it.
MOST_BYTES = 2**22


def parse_json(data: bytes | str, nan: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        data: The text, in UTF-8.
        nan: Whether NaN and infinities are accepted, which Python's own encoder writes.

    Raises:
        ValueError: If it is not JSON, has a duplicate key or a NaN, or is nested too deep.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        constant = float if nan else _no_constant
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails for a lone surrogate
    except RecursionError:
        raise ValueError("nested too deep") from None
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ValueError(f"not UTF-8: {error.reason}") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a duplicate key")
    return record


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def load_json(path: Path, nan: bool = False) -> Any:
    """The value in a JSON file.

    Args:
        path: The file.
        nan: As in `parse_json`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or is not JSON; the message has its name.
    """
    path = Path(path)
    try:
        # A device or a pipe may never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path} is not a file.")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path} is longer than the {MOST_BYTES} bytes allowed.")
    try:
        return parse_json(data, nan)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {printable(str(error), 200)}") from None
