"""JSON texts and files, which may come from a stranger."""

import json
import stat
from pathlib import Path
from typing import Any

from keras_pdenets.utils.text import printable

# The longest file here, the result of a run of 1,000 epochs, has a tenth of it.
MOST_BYTES = 2**22


def parse_json(data: bytes | str, nan: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        data: The text, UTF-8.
        nan: Whether NaN and infinite numbers are taken, which Python's own writer writes.

    Raises:
        ValueError: If it is no JSON, has a key twice or NaN for a number, or is nested too deep.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        constant = float if nan else _no_constant
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone half of a character?
    except RecursionError:
        raise ValueError("nested too deep") from None
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ValueError(f"not UTF-8: {error.reason}") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key that stands twice")
    return record


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} for a number")


def load_json(path: Path, nan: bool = False) -> Any:
    """The value in a JSON file.

    Args:
        path: The file.
        nan: As in `parse_json`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or is no JSON; the message has its name.
    """
    path = Path(path)
    try:
        # Not a device or a pipe, which may never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path} is not a file.")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path} is longer than the {MOST_BYTES} bytes that are read.")
    try:
        return parse_json(data, nan)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {printable(str(error), 200)}") from None
