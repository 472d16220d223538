"""Links: those of the pages of the repository, and those of the built site, anchors included."""

import json
import re
import runpy
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md", *(ROOT / ".github").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md"),
    ROOT / "tuning" / "results" / "README.md", ROOT / "weights" / "README.md",
]  # fmt: skip


def _anchors(page):
    """The anchors that headings of a Markdown file get."""
    lines = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S).splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.once
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        url = urlsplit(link)
        if url.scheme:
            continue
        target = page.parent / unquote(url.path) if url.path else page
        assert target.exists(), link
        assert not url.fragment or url.fragment in _anchors(target), link


class _Links(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]


def broken_links(site):
    """The links of a built site to files or anchors that it does not have."""
    pages = {path.resolve(): _Links(path) for path in site.rglob("*.html")}
    assert pages
    broken = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            found = target.exists() and (
                not url.fragment or target not in pages
                or unquote(url.fragment) in pages[target].anchors
            )  # fmt: skip
            if not found:
                broken.append(f"{path.name}: {link}")
    return broken


@pytest.mark.once
def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<a id="here" href="b.html#there">b</a> <img src="none.png">')
    (tmp_path / "b.html").write_text('<a href="a.html#here">a</a> <a href="https://x.org/y">x</a>')
    assert broken_links(tmp_path) == ["a.html: b.html#there", "a.html: none.png"]


@pytest.mark.once
def test_links_of_the_reference_to_what_it_does_not_have_become_text():
    without_dead_links = runpy.run_path(str(ROOT / "docs" / "reference.py"))["without_dead_links"]
    page = '<i id="Net"></i> <a href="#Net">Net</a> <a href="#Net.fit">fit</a> <a href="x#y">y</a>'
    assert without_dead_links(page) == page.replace('<a href="#Net.fit">fit</a>', "fit")


@pytest.mark.slow
@pytest.mark.site
@pytest.mark.once
def test_the_site_has_every_example_with_its_outputs_and_no_broken_link(tmp_path):
    subprocess.run(["bash", ROOT / "docs" / "build.sh", tmp_path], check=True)
    assert broken_links(tmp_path) == []
    for module in runpy.run_path(str(ROOT / "docs" / "reference.py"))["public_names"]():
        assert tmp_path.joinpath(*module.split(".")).with_suffix(".html").is_file()
    names = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
    for name in names:
        cells = json.loads((tmp_path / "examples" / f"{name}.ipynb").read_bytes())["cells"]
        assert "**You learn**" in "".join(cells[0]["source"])
        assert "**It takes**" in "".join(cells[0]["source"])
        outputs = [output for cell in cells for output in cell.get("outputs", ())]
        assert any(output["output_type"] == "stream" for output in outputs), name
        assert not [output for output in outputs if output["output_type"] == "error"], name
        assert not [output for output in outputs if output.get("name") == "stderr"], name
    index = (tmp_path / "examples" / "index.html").read_text(encoding="utf-8")
    assert all(f"{name}.html" in index for name in names)


@pytest.mark.once
def test_examples_are_short_and_begin_with_what_they_teach():
    for path in (ROOT / "examples").glob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 120, path.name
        assert lines[0] == "# %% [markdown]"
        assert lines[2].startswith("# ")
