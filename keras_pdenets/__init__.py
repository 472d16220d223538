"""Convolutional nets designed as differential equations, for Keras 3.

The public names stand in `__init__.pyi`, once, for type checkers and for this file (as in SPEC 1 of
Scientific Python); what is behind a name is imported when it is first used.
"""

import ast
import importlib
import importlib.metadata
import sys
from pathlib import Path

from keras_pdenets.utils.backends import missing_backend as _missing_backend

# Only what Keras must know by name to open a `.keras` file is imported at once.
_REGISTERED = ("layers", "builders.remat", "training.callbacks")


def _register():
    """Import Keras and what it must know by name.

    Raises:
        ImportError: If Keras' backend is missing; the message says what to do.
    """
    try:
        for name in _REGISTERED:
            importlib.import_module(f"{__name__}.{name}")
    except (ImportError, ValueError) as error:
        missing = _missing_backend()
        if missing is None:
            raise
        raise ImportError(missing) from error


def _is_the_command():
    """Whether this process is `keras-pdenets` or `python -m keras_pdenets.cli`."""
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # Python is looking for the module that it will run
        return f"{__name__}.cli" in sys.orig_argv
    return Path(program).stem == "keras-pdenets" and program in sys.orig_argv


def _homes():
    """The module of every public name."""
    folder = Path(__file__).parent
    homes = {name: home for home, name in _exported(folder / "__init__.pyi") if name != "*"}
    builders = _exported(folder / "applications" / "__init__.py")  # of which the stub has all
    return homes | {name: f"{__name__}.applications" for _, name in builders if name[0] != "_"}


def _exported(path):
    """Module, None for the file itself, and name of all that a file imports or assigns."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from ((None, target.id) for target in node.targets)


_HOMES = _homes()
__all__ = list(_HOMES)


def __getattr__(name):
    if name == "__version__":
        return importlib.metadata.version("keras-pdenets")
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


# The command parses its arguments first, then registers: Keras takes seconds, `--help` should not.
if not _is_the_command():
    _register()
