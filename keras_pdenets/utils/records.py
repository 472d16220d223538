"""Dataclasses stored as JSON files, checked field by field.

Files are untrusted: reading one gives the record, or a `ValueError` with the file's name, the
field, the rule and what was received.
"""

import dataclasses
import functools
import json
import numbers
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NewType, Self

from keras_pdenets.utils.atomic import write_file
from keras_pdenets.utils.checks import as_integer, as_number, check_integer, is_flag
from keras_pdenets.utils.json_files import load_json
from keras_pdenets.utils.text import printable, shown

_LONGEST_TEXT = 10_000
_LONGEST_MESSAGE = 1_000
_DEEPEST = 8
_LARGEST = 2**53
# A measured number: NaN if a training run diverged.
Measured = NewType("Measured", float)


@dataclasses.dataclass(frozen=True)
class Record:
    """A dataclass stored in a JSON file; its fields are checked on construction.

    Attributes:
        title: What it is, with its article, for error messages.
    """

    title: ClassVar[str] = "a record"

    def __post_init__(self) -> None:
        """Check the type of every field."""
        settle(self)

    def check(self, *rules: tuple[str, Any, str]) -> None:
        """Raise a ValueError for the first failing rule (field, whether it holds, "must ...")."""
        for name, holds, rule in rules:
            if not holds:
                raise ValueError(
                    f"`{name}` must {rule}. Received: {name}={shown(getattr(self, name))}"
                )

    def to_json(self) -> str:
        """All fields as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    def write(self, path: Path) -> None:
        """Write the JSON file, atomically."""
        write_file(path, self.to_json() + "\n")

    @classmethod
    def from_file(cls, path: Path, nan: bool = False) -> Self:
        """The record in a JSON file.

        Args:
            path: The file.
            nan: As in `json_files.parse_json`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is not JSON, or a field is missing, unknown, of the wrong type
                or out of range.
        """
        values = load_json(path, nan)
        try:
            return make(cls, values, cls.title)
        except ValueError as error:
            said = printable(str(error), _LONGEST_MESSAGE)
            raise ValueError(f"{path} is not {cls.title}: {said}") from error


def make(kind: type, values: Any, name: str) -> Any:
    """An instance of a dataclass from a mapping of its fields, or a ValueError."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} must be a record of fields. Received: {shown(values)}")
    fields = dataclasses.fields(kind)
    unknown = sorted(str(key) for key in values.keys() - {field.name for field in fields})
    if unknown:
        raise ValueError(f"{name} has no field {printable(', '.join(unknown), 200)}.")
    needed = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise ValueError(f"{name} needs the fields {', '.join(missing)}.")
    return kind(**values)


def settle(record: Any) -> None:
    """Check the fields of a frozen dataclass against its annotations, from its `__post_init__`.

    Lists become tuples where these are annotated, NumPy's numbers Python's, and mappings the
    annotated dataclasses.

    Raises:
        ValueError: If a field has the wrong type, or a number or text is too large.
    """
    for name, kind in _kinds(record.__class__).items():
        object.__setattr__(record, name, _fitted(getattr(record, name), kind, name))


@functools.cache
def _kinds(kind: Any) -> dict[str, Any]:
    """Annotations of the fields of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def check_count(name: str, value: Any, most: int = 10**6, least: int = 1) -> None:
    """Raise a ValueError that names the field unless a value is an integer in a range."""
    check_integer(name, value, least, most)


def _fitted(value: Any, kind: Any, name: str) -> Any:
    """A value converted to an annotation, or a ValueError."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        for one in inner:
            if _rule(one)[1](value):
                return _fitted(value, one, name)
        raise ValueError(_message(name, value, " or ".join(_rule(one)[0] for one in inner)))
    rule, holds = _rule(kind)
    if not holds(value):
        raise ValueError(_message(name, value, rule))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else make(kind, value, f"`{name}`")
    if origin is tuple:
        kinds = inner[:1] * len(value) if inner[1:] == (Ellipsis,) else inner
        if len(kinds) != len(value):
            raise ValueError(_message(name, value, f"a list of {len(kinds)}"))
        if kinds[:1] == (str,) and all(map(_RULES[str][1], value)):
            return tuple(value)  # fast path: class names are many
        return tuple(_fitted(v, k, name) for v, k in zip(value, kinds, strict=True))
    if origin is list:
        return [_fitted(item, inner[0], name) for item in value]
    if kind in (dict, Mapping) or origin in (dict, Mapping):
        plain = not inner or inner[1] is Any
        return {k: _plain(v, name) if plain else _fitted(v, inner[1], f"{name}.{k}")
                for k, v in value.items()}  # fmt: skip
    if kind is int:
        return int(value)
    if kind in (float, Measured):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return bool(value) if kind is bool else value


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    """A value of an open mapping: numbers, texts, lists and mappings, none of them too large."""
    # Fast path: there may be a million values.
    if value is None or value is True or value is False:
        return value
    if type(value) is str and len(value) <= _LONGEST_TEXT:
        return value
    if type(value) is int and abs(value) <= _LARGEST:
        return value
    if depth > _DEEPEST:
        raise ValueError(f"`{name}` must not be nested deeper than {_DEEPEST}.")
    if isinstance(value, list | tuple):
        items = [_plain(item, name, depth + 1) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, name, depth + 1) for key, item in value.items()}
    return _fitted(value, None | bool | int | float | str, name)


def _message(name: str, value: Any, rule: str) -> str:
    return f"`{name}` must be {rule}. Received: {name}={shown(value)}"


def _rule(kind: Any) -> tuple[str, Any]:
    """What an annotation requires, in words and as a predicate."""
    origin = typing.get_origin(kind) or kind
    if dataclasses.is_dataclass(origin):
        return "a record", lambda value: isinstance(value, Mapping | origin)
    return _RULES[origin]


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_exact(value: Any) -> bool:
    """Whether a number, if it is an integer, is one that a float holds exactly."""
    return not isinstance(value, numbers.Integral) or abs(int(value)) <= _LARGEST


_RULES = {
    type(None): ("null", lambda value: value is None),
    Any: ("anything", lambda value: True),
    bool: ("true or false", is_flag),
    int: (
        "an integer of at most 2**53",
        lambda value: as_integer(value) is not None and _is_exact(value),
    ),
    float: ("a finite number", lambda value: as_number(value) is not None),
    Measured: ("a number", lambda value: _is_number(value) and _is_exact(value)),
    str: ("a string", lambda value: isinstance(value, str) and len(value) <= _LONGEST_TEXT),
    tuple: ("a list", lambda value: isinstance(value, list | tuple)),
    list: ("a list", lambda value: isinstance(value, list)),
    dict: ("a record", lambda value: isinstance(value, Mapping)),
    Mapping: ("a record", lambda value: isinstance(value, Mapping)),
}  # fmt: skip
