"""The guides: every snippet runs as it stands on its page, and prints what the page says."""

import inspect
import re
from collections import defaultdict
from pathlib import Path

import keras
import pytest

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
# Why it is not run may stand above a snippet.
SNIPPET = re.compile(r"(?:<!-- not run: (?P<reason>.+?) -->\n)?```python\n(?P<code>.*?)```", re.S)
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(GUIDES.glob("*.md"))}
NOT_RUN = {"depth": 1, "use": 1}


@pytest.mark.once
def test_few_snippets_are_not_run():
    left = {
        name: sum(snippet["reason"] is not None for snippet in SNIPPET.finditer(page))
        for name, page in PAGES.items()
    }
    assert {name: count for name, count in left.items() if count} == NOT_RUN
    for name, page in PAGES.items():
        assert page.count("```python") == len(SNIPPET.findall(page)), name
        assert page.count("<!-- not run") == left[name], name


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if "```python" in page])
def test_snippets_run_and_print_what_the_page_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    printed = defaultdict(list)

    def record(*values):
        printed[inspect.currentframe().f_back.f_lineno].append(" ".join(map(str, values)))

    page = {"print": record}  # snippets of a page stand on one another
    for snippet in SNIPPET.finditer(PAGES[name]):
        if snippet["reason"] is not None:
            continue
        # As many empty lines before it as the page has: an error names the page's line.
        before = PAGES[name].count("\n", 0, snippet.start("code"))
        exec(compile("\n" * before + snippet["code"], str(GUIDES / f"{name}.md"), "exec"), page)
        for number, line in enumerate(snippet["code"].splitlines(), before + 1):
            said = re.match(r"print\(.*\)  # ([\d(\['].*|True|False)$", line)
            if said:
                assert printed[number] == [said[1]]
