"""Optional packages, with an error that says how to install them."""

import importlib
import importlib.util


def require(module, extra):
    """Import `module`, or raise ImportError with the pip command that installs it.

    Args:
        module: Name of the module.
        extra: Extra of this package that it belongs to.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{module} is needed here and is not installed ({error}): "
            f'pip install "keras-pdenets[{extra}]"'
        ) from error


def installed(module):
    """Whether a module is installed, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # blocked by an import hook, or replaced by a stub
        return False
