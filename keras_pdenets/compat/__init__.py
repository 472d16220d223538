"""Private names of other libraries that this package needs, each wrapped under a name of ours.

If an update renames one, `tests/test_compat.py` fails by name; the upper bounds of dependencies in
`pyproject.toml` exist for the same reason. No other module of the package uses a private name of
another library.
"""
