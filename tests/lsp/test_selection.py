"""What of a model's answer is code, and what of a document it is asked about; pure functions."""

import pytest
from lsprotocol import types

from cl_lsp import structure
from cl_lsp.documents import Snapshot, offset_at
from cl_lsp.errors import ClLspError
from cl_lsp.fenced import NoCode, code_of, fence
from cl_lsp.selection import MAX_SELECTION, Selection, select

OLD = "def add(a, b):\n    return a + b\n"
NEW = "def add(a: int, b: int) -> int:\n    return a + b\n"


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{NEW}```",
        f"Sure! Here is the code:\n\n```\n{NEW}```\nI added types.",
        f"```python\n{NEW}",  # the model has ended without the fence
        f"The old code:\n```python\n{OLD}```\nThe new one:\n```python\n{NEW}```",
        f"~~~py\n{NEW}~~~\n\nRun it:\n\n```sh\npython add.py\n```",
        f"```python\n{NEW}```\nFor example:\n```python\nprint(add(1, 2))\n```",
        NEW,
    ],
)
def test_the_code_of_an_answer_is_found(answer: str) -> None:
    assert code_of(answer, OLD, "python").strip() == NEW.strip()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "  \n",
        "This function adds two numbers and returns the result of that.",
        f"Here is the function with all of its types:\n\n{NEW}",
        "def add(a, b):\nThis line is prose, which is no code at all.\n    return a + b\n",
        f"```python\n{NEW}```\nor\n```python\n{NEW.replace('int', 'float')}```",
    ],
)
def test_prose_and_doubt_are_no_code(answer: str) -> None:
    with pytest.raises(NoCode):
        code_of(answer, OLD, "python")


def test_a_fence_is_longer_than_those_in_the_code() -> None:
    code = 'x = """\n```\n"""\n'
    assert code_of(fence(code, "python"), "", "python") == code


def selected(text: str, start: tuple[int, int], end: tuple[int, int] | None = None) -> Selection:
    first, last = (offset_at(text, types.Position(*at), "utf-32") for at in (start, end or start))
    return select(Snapshot("file:///a.py", 1, "python", text, first), last)


CLASS = '''\
import os


class A(Base):
    """Doc."""

    @cached
    def f(self, x):
        if x:
            return 1
        return 2

    def g(
        self,
        y,
    ) -> int:
        return y


x = 1
y = 2
'''
F = "    @cached\n    def f(self, x):\n        if x:\n            return 1\n        return 2\n"
G = "    def g(\n        self,\n        y,\n    ) -> int:\n        return y\n"


@pytest.mark.parametrize(
    ("at", "code", "heads"),
    [
        ((9, 12), F, "class A(Base):\n"),
        ((7, 0), F, "class A(Base):\n"),
        ((13, 9), G, "class A(Base):\n"),
        ((16, 9), G, "class A(Base):\n"),
        ((19, 0), "x = 1\ny = 2\n", ""),
    ],
)
def test_without_a_selection_it_is_the_definition_or_the_paragraph(
    at: tuple[int, int], code: str, heads: str
) -> None:
    found = selected(CLASS, at)
    assert (found.code, found.heads) == (code, heads)


def test_a_selection_is_of_whole_lines_and_knows_what_encloses_it() -> None:
    found = selected(CLASS, (9, 14), (10, 0))
    assert found.code == "            return 1\n"
    assert found.heads == "class A(Base):\n    def f(self, x):\n        if x:\n"
    with pytest.raises(ClLspError, match="no code at the cursor"):
        selected(CLASS, (1, 0))


def test_braces_are_blocks_too() -> None:
    text = "class A\n{\npublic:\n    int f(int x)\n    {\n        return x;\n    }\n};\n"
    assert selected(text, (5, 8)).code == "    int f(int x)\n    {\n        return x;\n    }\n"
    assert selected(text, (6, 4)).code == "    int f(int x)\n    {\n        return x;\n    }\n"
    assert selected(text, (0, 0)).code == text


def test_a_long_selection_is_cut_between_functions() -> None:
    method = "    def m{}(self):\n" + "        x = 1\n" * 20 + "        return x\n\n"
    text = "class A:\n" + "".join(method.format(n) for n in range(60))
    found = selected(text, (0, 0), (2000, 0))
    assert MAX_SELECTION / 2 < len(found.code) <= MAX_SELECTION
    assert found.code.endswith("        return x\n\n")
    assert text[found.end :].startswith("    def m")
    assert found.note.endswith(f"those to {found.stop}")
    lines = structure.lines_of("x = 1\n" * 3000)
    assert structure.cut(lines, 0, 3000, 600) == 100
    with pytest.raises(ClLspError, match="20,000 characters"):
        selected("x" * 20_000, (0, 0), (0, 20_000))
