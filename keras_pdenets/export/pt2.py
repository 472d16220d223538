"""Inspection of a `.pt2` file before torch opens it.

`torch.export.load` unpickles what cannot be read as tensors, runs compiled libraries, evaluates
sizes and guards as Python and accepts operators of any name below `torch`. Only what the export of
a net needs is accepted here; everything else is refused.
"""

import ast
import io
import json
import re
import zipfile

# Parts of the archive: JSON, tensors as bytes, and two kinds of pickles with tensors only.
_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|models/model\.json"
    r"|data/weights/(model_weights_config\.json|weight_\d+|model\.pt)"
    r"|data/constants/(model_constants_config\.json|tensor_\d+|model\.pt)"
    r"|data/sample_inputs/model\.pt"
)
_NAME = re.compile(r"[A-Za-z0-9_.+]*")
# Names of variables are dictionary keys, which torch quotes in generated code.
_VARIABLE = re.compile(r"[^\x00-\x1f\"'\\()\[\]{};]*")
_VARIABLES = ("parameter_name", "buffer_name", "tensor_constant_name", "fqn")
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!(?:save|from_file)\.)\w+\.\w+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|torch\.sym_(min|max|not|float|int|ite|sum)|math\.(trunc|ceil|floor)"
)
# Syntax of sizes and guards.
_ARITHMETIC = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.keyword, ast.BinOp, ast.UnaryOp,
    ast.BoolOp, ast.Compare, ast.Subscript, ast.Attribute, ast.operator, ast.unaryop, ast.boolop,
    ast.cmpop,
)  # fmt: skip
_FUNCTIONS = {
    "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod",
    "FloorDiv", "CleanDiv", "CeilDiv", "ModularIndexing", "Where", "FloatTrueDiv", "IntTrueDiv",
    "FloatPow", "PowByNatural", "TruncToInt", "TruncToFloat", "CeilToInt", "FloorToInt",
    "RoundToInt", "ToFloat", "Identity", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not",
    "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan",
    "floor", "ceiling", "Abs", "size", "stride",
}  # fmt: skip
_TREES = {None, "builtins.tuple", "builtins.list", "builtins.dict"}


def seen_through(torch, path):
    """A `.pt2` file in memory, if it holds a net and nothing that torch would run as code.

    Args:
        torch: The module.
        path: The file.

    Returns:
        An argument for `torch.export.load`, with the inspected bytes, even if the file changes in
        between.

    Raises:
        ValueError: If it holds anything else.
    """
    try:
        parts = _parts(path)
        for name, content in parts.items():
            inside = name.partition("/")[2]
            if not _MEMBERS.fullmatch(inside):
                raise _Refused(f"it holds {inside!r}")
            if inside.endswith(".json"):
                document = json.loads(content)
                _check_json(document, inside)
                parts[name] = json.dumps(document)
            elif inside.endswith(".pt"):
                _check_pickle(torch, content, inside)
    except _Refused as error:
        raise ValueError(
            f"{path} was not opened: {error}. Such a .pt2 file can run code of its author. If you "
            "trust them, open it with torch.export.load and write it again with "
            "keras_pdenets.export.export."
        ) from error
    except (zipfile.BadZipFile, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a .pt2 file: {error}") from error
    # Rewritten, since two readers of an archive may see different files in it.
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    copy.seek(0)
    return copy


class _Refused(Exception):
    """A file is not opened."""


def _parts(path):
    """Content of an archive by name, without duplicates or compression."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) < len(members):
            raise _Refused("two of its parts have the same name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise _Refused("its parts are compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise _Refused("its parts are larger than the file")
        return {member.filename: archive.read(member) for member in members}


def _check_pickle(torch, content, name):
    """Accept what torch reads as tensors only; it never unpickles the rest then."""
    try:
        if content:
            torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        raise _Refused(f"{name} is a pickle of more than tensors") from error


def _check_json(value, key):
    """Check every text of a JSON document by the name of its field; traces are removed."""
    if isinstance(value, dict):
        if value.get("use_pickle") or "as_operator" in value or "as_custom_obj" in value:
            raise _Refused(f"{key} holds a pickle or an operator as an argument")
        metadata = value.get("metadata")
        if isinstance(metadata, dict) and all(isinstance(item, str) for item in metadata.values()):
            value["metadata"] = {}  # traces of the stack and names of layers
        for name, item in value.items():
            if not _VARIABLE.fullmatch(name):
                raise _Refused(f"{key} has a field {name!r}")
            _check_json(item, name)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, key)
    elif isinstance(value, str) and not _fits(value, key):
        raise _Refused(f"{key} is {value[:80]!r}")


def _fits(text, key):
    """Whether a text is valid in its field."""
    if key in ("expr_str", "guards_code"):
        return _is_arithmetic(text)
    if key in ("in_spec", "out_spec"):
        return _is_tree(json.loads(text))
    if key == "target":
        return _OPERATOR.fullmatch(text) is not None
    if key == "as_string":
        return True  # an argument of an operator that accesses no file
    return (_VARIABLE if key in _VARIABLES else _NAME).fullmatch(text) is not None


def _is_arithmetic(text):
    """Whether a Python expression consists of numbers, sizes and known functions."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, MemoryError):
        return False
    return all(map(_is_harmless, nodes))


def _is_harmless(node):
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str) or _NAME.fullmatch(node.value) is not None
    if isinstance(node, ast.Attribute):
        return node.attr in ("size", "stride")
    if isinstance(node, ast.Call):
        called = getattr(node.func, "id", getattr(node.func, "attr", None))
        return called in _FUNCTIONS and None not in [keyword.arg for keyword in node.keywords]
    return isinstance(node, _ARITHMETIC)


def _is_tree(value):
    """Whether inputs or outputs are tuples, lists and dictionaries of plain names."""
    if isinstance(value, list):
        return all(map(_is_tree, value))
    if not isinstance(value, dict):
        return not isinstance(value, str)
    context = value.get("context")
    names = [] if context is None else json.loads(context)
    known = value.get("type") in _TREES and set(value) == {"type", "context", "children_spec"}
    return known and _are_names(names) and _is_tree(value["children_spec"])


def _are_names(value):
    if isinstance(value, list):
        return all(map(_are_names, value))
    return value is None or (isinstance(value, str) and _NAME.fullmatch(value) is not None)
