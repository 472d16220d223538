"""Convolutional nets designed as differential equations, for Keras 3.

The public names stand in `__init__.pyi`, once, for type checkers and for this file (as in SPEC 1 of
Scientific Python); what is behind a name is imported when it is first used.
"""

import ast
import importlib
from pathlib import Path

# Only what Keras must know by name to open a `.keras` file is imported at once.
from keras_pdenets import layers as layers
from keras_pdenets.builders import remat as _remat  # noqa: F401
from keras_pdenets.training import divergence as _divergence  # noqa: F401
from keras_pdenets.training import nonfinite as _nonfinite  # noqa: F401


def _homes():
    """The module of every public name."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    imports = (node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom))
    return {alias.name: node.module for node in imports for alias in node.names}


_HOMES = _homes()
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] == __name__:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__():
    return sorted({*globals(), *__all__})
