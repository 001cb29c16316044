"""From an answer to the smallest edit; pure functions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types

from cl_lsp.documents import offset_at
from cl_lsp.edits import fitted, minimal, text_edits

PARTS = ["a", "b\t", "\tif x:", "    y", "é", "𝒳", "\n", "\n", "\r\n", "\r\n", "\r", " ", "\x0c"]
texts = st.lists(st.sampled_from(PARTS), max_size=20).map("".join)
ENCODINGS = ["utf-8", "utf-16", "utf-32"]


def applied(text: str, edits: list[types.TextEdit], encoding: str) -> str:
    """As a client does: every position is one of the text before."""
    for edit in sorted(edits, key=lambda e: (e.range.start.line, e.range.start.character))[::-1]:
        start = offset_at(text, edit.range.start, encoding)
        end = offset_at(text, edit.range.end, encoding)
        text = text[:start] + edit.new_text + text[end:]
    return text


@settings(max_examples=300, deadline=None)
@given(texts, texts, texts, texts, st.sampled_from(ENCODINGS))
def test_the_edit_gives_the_wanted_text_exactly(
    head: str, old: str, tail: str, wanted: str, encoding: str
) -> None:
    # A document's offsets never lie in the middle of a line end.
    for left, right in ((head, old or tail), (old, tail)):
        if left.endswith("\r") and right.startswith("\n"):
            return
    text = head + old + tail
    changes = minimal(text, len(head), len(head + old), wanted)
    edits = text_edits(text, changes, encoding)
    assert applied(text, edits, encoding) == head + wanted + tail


@settings(max_examples=300, deadline=None)
@given(texts, texts)
def test_fitted_code_has_the_document_s_line_ends_and_the_selection_s_last(
    code: str, old: str
) -> None:
    made = fitted(code, old, old)
    if "\r" not in old and code.strip():
        assert "\r" not in made
    if not code.strip() or not old.strip():
        assert made == old
    else:
        assert made.endswith(("\n", "\r")) == old.endswith(("\n", "\r"))


def test_only_the_lines_that_differ_are_changed() -> None:
    text = "def f(x):\n    y = x\n    return y\n\n\ndef g():\n    pass\n"
    wanted = "def f(x: int) -> int:\n    y = x\n    return y\n"
    [change] = minimal(text, 0, text.index("\n\ndef g"), wanted)
    assert change == (0, len("def f(x):\n"), "def f(x: int) -> int:\n")
    assert minimal(text, 0, 10, text[:10]) == []


METHOD = "    def f(self):\n        return 1\n"


@pytest.mark.parametrize(
    ("code", "old", "document", "wanted"),
    [
        # The answer has lost all of the indentation, or that of its first line, or none.
        ("def f(self):\n    return 2", METHOD, METHOD, METHOD.replace("1", "2")),
        (
            "def f(self):\n        a = 1\n        return 1",
            METHOD,
            METHOD,
            "    def f(self):\n        a = 1\n        return 1\n",
        ),
        (METHOD.replace("1", "2"), METHOD, METHOD, METHOD.replace("1", "2")),
        # It has more.
        ("        x = 2\n        y = 3", "    x = 1\n", "", "    x = 2\n    y = 3\n"),
        # Tabs and spaces.
        ("f() {\n    if (x)\n        g();\n}", "f() {\n\tg();\n}\n", "",
         "f() {\n\tif (x)\n\t\tg();\n}\n"),
        ("f:\n\tg\n", "f:\n  h\n", "f:\n  h\n", "f:\n  g\n"),
        # Line ends, blank edges, no last line end.
        ("a\nb\n", "\r\na\r\n\r\n", "\r\na\r\n\r\n", "\r\na\r\nb\r\n\r\n"),
        ("a\nb\n\n", "a", "a", "a\nb"),
    ],
)  # fmt: skip
def test_the_format_is_kept(code: str, old: str, document: str, wanted: str) -> None:
    assert fitted(code, old, document or old) == wanted
