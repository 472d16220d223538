"""Write the API reference: the public names of every room, with equations, types and sources.

python docs/reference.py docs/_build
"""

import ast
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import keras_pdenets

# What the builders are made of; users call these.
INNER = {"builders"}


def public_names():
    """What each public module offers: a room, what its `__init__` imports under its own name."""
    names = {}
    for path in sorted(Path(keras_pdenets.__file__).parent.glob("*/__init__.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        imports = [alias for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names]
        own = [alias.name for alias in imports if alias.name == alias.asname]
        if own and path.parent.name not in INNER:
            names[path.parent.name] = own
    top = [name for name in keras_pdenets.__all__ if not _is_room(name)]
    return {"keras_pdenets": [*top, *names], **{f"keras_pdenets.{k}": v for k, v in names.items()}}


def _is_room(name):
    return isinstance(getattr(keras_pdenets, name), ModuleType)


def main(out):
    """One page for each public module."""
    import pdoc

    public = public_names()
    modules = [importlib.import_module(name) for name in public]
    for module, names in zip(modules, public.values(), strict=True):
        vars(module).update({name: getattr(module, name) for name in names})  # of lazy ones too
        module.__all__ = names
        if module is not keras_pdenets:
            module.__path__ = []  # else a file of the name of a function would have a page too
    pdoc.render.configure(docformat="google", math=True)
    pdoc.pdoc("keras_pdenets", output_directory=Path(out))
    for page in Path(out).rglob("*.html"):
        page.write_text(without_dead_links(page.read_text(encoding="utf-8")), encoding="utf-8")


def without_dead_links(page):
    """The page without its links to what it does not have: what a class inherits from Keras."""
    anchors = set(re.findall(r'id="([^"]+)"', page))
    link = re.compile(r'<a href="#([^"]+)">(.*?)</a>', re.S)
    return link.sub(lambda found: found[0] if found[1] in anchors else found[2], page)


if __name__ == "__main__":
    main(*sys.argv[1:])
