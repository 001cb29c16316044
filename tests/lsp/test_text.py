"""Windows, trimming and options: pure functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_lsp.answers import continues
from cl_lsp.brackets import merge_closers, only_closers
from cl_lsp.completion import suggestion_of
from cl_lsp.context import Windows
from cl_lsp.documents import Snapshot
from cl_lsp.exchange import Chunk
from cl_lsp.lines import stop_at
from cl_lsp.overlap import trim_overlap
from cl_lsp.surroundings import Surroundings

WINDOWS = Windows()
LINES = "".join(f"line number {i}\n" for i in range(1000))


def test_windows_are_whole_if_they_fit() -> None:
    assert WINDOWS.before("a\nb") == "a\nb"
    assert WINDOWS.after("a\nb") == "a\nb"


@given(st.integers(0, len(LINES)))
def test_windows_are_bounded_and_touch_the_cursor(at: int) -> None:
    before, after = WINDOWS.before(LINES[:at]), WINDOWS.after(LINES[at:])
    assert len(before) <= WINDOWS.prefix and len(after) <= WINDOWS.suffix
    assert (LINES[:at]).endswith(before) and (LINES[at:]).startswith(after)
    if len(before) < at:
        assert before.startswith("line number")


def test_the_windows_start_stays_put_while_typing() -> None:
    starts = {WINDOWS.before(LINES[:at])[:30] for at in range(9000, 10_000)}
    assert len(starts) <= 2


def test_one_huge_line_is_cut_anywhere() -> None:
    assert 0 < len(WINDOWS.before("x" * 50_000)) <= WINDOWS.prefix
    assert len(WINDOWS.after("x" * 50_000)) == WINDOWS.suffix


@pytest.mark.parametrize(
    ("text", "closers", "merged"),
    [
        ("x)", ")", "x)"),
        ("x", ")", "x)"),
        ("f(x)", ")]", "f(x))]"),
        ("f(x)", ")", "f(x))"),
        ("a, b])", "])", "a, b])"),
        ("a]", "])", "a])"),
        ('name"', '")', 'name")'),
        ('name", "b"', '")', 'name", "b")'),
        ("", ")", ")"),
        ("it's", ")", "it's)"),
        (")}", ");", ")};"),
    ],
)
def test_auto_closed_brackets_come_back_once(text: str, closers: str, merged: str) -> None:
    assert merge_closers(text, closers) == merged


@given(st.text("ab()[]{}\"' ,"), st.text(")]}\"'", max_size=4))
def test_no_closer_is_lost(text: str, closers: str) -> None:
    merged = merge_closers(text, closers)
    assert merged.startswith(text)
    assert closers.endswith(merged[len(text) :])


def test_what_counts_as_closers() -> None:
    assert only_closers('")]') and only_closers(");") and only_closers("")
    assert not only_closers("x)") and not only_closers(" + 1")


@pytest.mark.parametrize(
    ("text", "after", "left"),
    [
        ("a + b", "a + b\nc", ""),
        ("x = a + b", "a + b", "x = "),
        ("x)", ")\n", "x"),
        ("x", "y\n", "x"),
        ("    a\n    b\n", "\n    b\n", "    a"),
        ("a\nreturn x", "\n\nreturn x\n", "a"),
        ("a\nb", "\nreturn x\n", "a\nb"),
        ("\n  }", "\n}\n", "\n  }"),
        ("a\n}", "\n}\n", "a"),
        ("b\nc", "\nb\nc\n", ""),
        ("g(x)", ") + 1", "g(x)"),
        ("items[0]", "] = 5", "items[0]"),
        ('"a", "b"', '") + x', '"a", "b"'),
        ("first", "t + u", "first"),
        ("x, y)", ") + 1", "x, y"),
    ],
)
def test_what_stands_below_or_behind_is_cut(text: str, after: str, left: str) -> None:
    assert trim_overlap(text, after) == left


def snapshot(before: str, after: str = "\n") -> Snapshot:
    return Snapshot("u", 1, "python", before + after, len(before))


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("x = 1", "\n", "line"),
        ("def f():", "\n", "block"),
        ("f(", ")\n", "line"),
        ("if (x) {", "\n", "block"),
        ("def f():", " return 1\n", "line"),
        # On an empty line: what opens above, if there is nothing in it yet.
        ("def f():\n    ", "\n", "block"),
        ("def f():\n    ", "", "block"),
        ("def f():\n\n    ", "\n\nx = 1\n", "block"),
        ("if x {\n\t", "\n}\n", "block"),
        ("def f():\r\n    ", "\r\ng()", "block"),
        ("def f():\n    ", "\n\n    return 1\n", "line"),
        ("def f():\n", "\nx = 1\n", "line"),
        ("def f():\n    x = 1\n    ", "\n", "line"),
        ("", "", "line"),
    ],
)
def test_one_line_unless_a_block_opens(before: str, after: str, rule: str) -> None:
    assert stop_at(Surroundings.of(snapshot(before, after))) == (rule, "suffix")


@pytest.mark.parametrize(
    ("older", "newer", "goes_on"),
    [
        (("x = a", "\n"), ("x = ab", "\n"), True),
        (("x = a", "\n"), ("x = a", "\n"), True),
        (("def f():", "\ny"), ("def f():\n    ", "\ny"), True),
        # The editor closes a bracket, and it is typed over.
        (("f", "\n"), ("f(", ")\n"), True),
        (("f(", ")\n"), ("f(g(", "))\n"), True),
        (("f(x", ")\n"), ("f(x)", "\n"), True),
        (("x = ab", "\n"), ("x = a", "\n"), False),
        (("x = ab", "\n"), ("x = ac", "\n"), False),
        (("x = a", "\n"), ("x = ab", "\ny"), False),
        (("x = a", " + b\n"), ("x = a + ", "b\n"), False),
        (("x\n", "y\n"), ("x\ny\n", ""), False),
    ],
)
def test_what_goes_on_with_a_request(
    older: tuple[str, str], newer: tuple[str, str], goes_on: bool
) -> None:
    assert continues(snapshot(*newer), snapshot(*older)) == goes_on


def test_a_string_that_is_open_at_the_cursor_is_closed_once() -> None:
    at = Snapshot("file:///a.py", 1, "python", 'if x == float("):\n    pass\n', 15)
    found = suggestion_of(Chunk('-inf"):', "stop", "line"), Surroundings.of(at), at)
    assert (found.text, found.replaced) == ('-inf"):', 2)
