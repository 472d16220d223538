"""Checks of arguments: one for integers, numbers, shapes, paths and names each."""

import difflib
import fnmatch
import math
import numbers
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keras_pdenets.utils.text import shown

_LARGEST = 2**63 - 1  # what sizes of tensors and files are stored in
_FEW = 20  # up to that many names an error lists in full
_LONGEST_NAME = 256


def check_integer(name: str, value: Any, least: int | None = None, most: int = _LARGEST) -> int:
    """Return `value` as an int; NumPy's integers are accepted, True is not.

    Args:
        name: Name of the argument.
        value: What was received.
        least: Smallest allowed value; None: `-most`.
        most: Largest allowed value.

    Raises:
        ValueError: If `value` is not an integer, or out of range.
    """
    number = as_integer(value)
    if number is None or not (-most if least is None else least) <= number <= most:
        rule = {None: "an integer", 1: "a positive integer"}.get(least, f"an integer >= {least}")
        if number is not None and number > most:
            rule = f"{rule} of at most {most}"
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={shown(value)}")
    return number


def as_integer(value: Any) -> int | None:
    """`value` as an int, or None: 0-d integer arrays are accepted, bools are not."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_number(value: Any) -> float | None:
    """`value` as a finite float, or None: NumPy's numbers are accepted, True is not."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def check_number(name: str, value: Any, rule: str, holds: Any = lambda number: True) -> float:
    """Return `value` as a float.

    Args:
        name: Name of the argument.
        value: What was received.
        rule: What follows "must be", such as "a number in [0, 1)".
        holds: Function of the float: whether the rule holds.

    Raises:
        ValueError: If `value` is not a finite number, or the rule does not hold.
    """
    number = as_number(value)
    if number is None or not holds(number):
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={shown(value)}")
    return number


def is_flag(value: Any) -> bool:
    """Whether `value` is True or False, NumPy's included."""
    return type(value).__name__ in ("bool", "bool_")


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool.

    Raises:
        ValueError: If `value` is not a bool, Python's or NumPy's: 1 and "no" are not.
    """
    if not is_flag(value):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={shown(value)}")
    return bool(value)


def check_choice(name: str, value: Any, known: Iterable[Any]) -> Any:
    """Return `value` if it is in `known` (words, integers, None), or raise a ValueError."""
    known = tuple(known)
    # The type first: `in` compares arrays element by element.
    if not isinstance(value, str | numbers.Integral | None) or value not in known:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(str, known))}. Received: {name}={value!r}"
        )
    return value


def as_shape(value: Any) -> tuple[int | None, ...] | None:
    """`value` as a tuple of positive ints and None, or None if it is not a shape.

    Lists, integer arrays and TensorFlow's `TensorShape` are accepted.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return None
    try:
        sides = tuple(value)
    except (TypeError, ValueError):  # a TensorShape of unknown rank, a 0-d array
        return None
    numbers = tuple(None if side is None else as_integer(side) for side in sides)
    for side, number in zip(sides, numbers, strict=True):
        if side is not None and (number is None or not 0 < number <= _LARGEST):
            return None
    return numbers


def check_path(name: str, value: Any) -> Path:
    """Return `value` as a path; `~` is the home folder.

    Raises:
        ValueError: If it is neither a string nor an `os.PathLike`, is empty, or not a valid path.
    """
    try:
        text = os.fspath(value)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(
            f"`{name}` must be a path: a non-empty string or an os.PathLike. "
            f"Received: {name}={shown(value)}"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody
        raise ValueError(
            f"`{name}` must be a path whose home folder is known. Received: {name}={shown(value)}"
        ) from None


def lookup(kind: str, name: str, table: dict[str, Any]) -> Any:
    """`table[name]`, or a ValueError with the nearest names (all names of a short table)."""
    if isinstance(name, str) and name in table:
        return table[name]
    word = str(name)[:_LONGEST_NAME]
    near = difflib.get_close_matches(word, table, n=3, cutoff=0.3) or sorted(table)[:3]
    others = [other for other in table if other not in near]
    rest = f"; the others are {', '.join(others)}" if 0 < len(others) <= _FEW else ""
    raise ValueError(
        f"`{kind}` must be one of {len(table)} known names; the nearest are {', '.join(near)}"
        f"{rest}. Received: {shown(name)}"
    )


def matching(pattern: str | None, names: list[str]) -> list[str]:
    """The names that match a shell pattern, ignoring case."""
    if pattern is None:
        return names
    if not isinstance(pattern, str):
        raise ValueError(
            f"`pattern` must be a string such as 'pde*', or None. Received: pattern={pattern!r}"
        )
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower())]


def check_keras_model(model: Any) -> None:
    """Raise ValueError unless `model` is a Keras model."""
    import keras  # the command checks its arguments before it imports Keras

    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: {type(model).__name__}")
