"""What this package needs of other libraries that has no public name, each under one of ours.

An update that renames one of them fails in `tests/test_compat.py`, by name; the upper bounds of the
dependencies in `pyproject.toml` are there for the same reason. Nothing else in the package reads a
private name of another library.
"""
