"""What the pages of docs/ tell users to write, for tests that do so word for word."""

import re

from tests.e2e.neovim import ROOT


def block(page: str, language: str, after: str = "") -> str:
    """The first code block in a language of a page, or the first one after these words."""
    text = (ROOT / f"docs/{page}.md").read_text()
    text = text[text.index(after) :]
    found = re.search(rf"^( *)```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    assert found, f"no {language} in docs/{page}.md"
    return re.sub(rf"^{found[1]}", "", found[2], flags=re.MULTILINE)
