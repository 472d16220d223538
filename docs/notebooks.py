"""Run the examples as notebooks, and write them with their outputs and as pages.

python docs/notebooks.py docs/_build/examples
"""

import base64
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

EXAMPLES = Path(__file__).parents[1] / "examples"
MINUTES = 30  # for a cell; more than it takes, for machines that do other work too


def run(path, folder):
    """Execute an example in a folder of its own, and return its notebook.

    Pictures that a cell writes become part of its output.
    """
    notebook = jupytext.read(path)
    for cell in notebook.cells:
        cell.metadata.clear()
    seen = set()

    def add_pictures(cell, cell_index, execute_reply):
        for picture in sorted(set(folder.glob("*/*.png")) - seen):
            seen.add(picture)
            data = {"image/png": base64.b64encode(picture.read_bytes()).decode()}
            shown = {"image/png": {"width": 720}}
            cell.outputs.append(nbformat.v4.new_output("display_data", data, metadata=shown))

    client = NotebookClient(
        notebook, timeout=60 * MINUTES, kernel_name="python3",
        resources={"metadata": {"path": str(folder)}}, on_cell_executed=add_pictures,
        coalesce_streams=True,
    )  # fmt: skip
    client.execute()
    return without_stderr(notebook)


def without_stderr(notebook):
    """The notebook without TensorFlow's greetings, and what others say of this machine."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


def title(notebook):
    """The title of a notebook: the first line of its first cell."""
    return notebook.cells[0].source.splitlines()[0].removeprefix("# ")


def write(notebook, out, name):
    """Write a notebook, and its page."""
    nbformat.write(notebook, out / f"{name}.ipynb")
    page, _ = HTMLExporter(embed_images=True).from_notebook_node(
        notebook, {"metadata": {"name": title(notebook)}}
    )
    (out / f"{name}.html").write_text(page, encoding="utf-8")


def main(out):
    """Run all examples, one after the other."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    links = []
    for path in sorted(EXAMPLES.glob("*.py")):
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = run(path, Path(folder))
        write(notebook, out, path.stem)
        print(f"{path.stem}: {time.monotonic() - begin:.0f} s", flush=True)  # noqa: T201
        links.append(f"- [{title(notebook)}]({path.stem}.html) ([notebook]({path.stem}.ipynb))")
    index = "\n".join(["# Examples", "", *links, "", "[API reference](../index.html)"])
    write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(index)]), out, "index")


if __name__ == "__main__":
    main(*sys.argv[1:])
