"""Where a cursor is: code, string or comment, and what is open there."""

import time
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from cl_lsp.context import Windows
from cl_lsp.documents import Documents, Snapshot
from cl_lsp.languages import row_of
from cl_lsp.surroundings import NEAR, Surroundings
from cl_lsp.syntax import WINDOW, Open, Opened, events, inside, state_at

LANGUAGES = [
    "python", "cpp", "java", "php", "typescript", "javascript", "csharp", "shellscript",
    "typescriptreact", "go", "rust", "lua", "ruby", "markdown", "cobol",
]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "before", "kind"),
    [
        ("python", "x = f(a, ", "code"),
        ("python", 'x = "a', "string"),
        ("python", 'x = "a\\"', "string"),
        ("python", 'x = "a" + ', "code"),
        ("python", 'x = "a\ny', "code"),  # a line end ends it, closed or not
        ("python", 'def f():\n    """Doc', "string"),
        ("python", 'def f():\n    """Doc."""\n    ', "code"),
        ("python", "x = 1  # it's", "comment"),
        ("python", "x = 1  # it's\ny", "code"),
        ("python", 'x = f"{a', "code"),
        ("python", 'x = f"{{a', "string"),
        ("python", 'x = f"{a["b"]} c', "string"),
        ("python", "x = '#'", "code"),
        ("cpp", "int x; // a", "comment"),
        ("cpp", "/* a\n b", "comment"),
        ("cpp", "/* a */ x", "code"),
        ("cpp", "int n = 1'000; f(", "code"),
        ("cpp", 'auto s = R"(a\n"b', "string"),
        ("cpp", "char c = '{'; ", "code"),
        ("cpp", '#include "a', "string"),
        ("java", 'String s = """\n  a', "string"),
        ("java", "char c = '\\'", "string"),
        ("php", "<?php\n# a", "comment"),
        ("php", "<?php\n#[A] f(", "code"),
        ("php", "$x = \"a\n{$b['c']} d", "string"),
        ("typescript", "const s = `a ${b", "code"),
        ("typescript", "const s = `a ${b}", "string"),
        ("typescript", "s.replace(/[\"'/]/g, ", "code"),
        ("javascript", "a = b / c; d = '", "string"),
        ("typescriptreact", "<p>don't</p>", "code"),
        ("csharp", 'var s = $"{x', "code"),
        ("csharp", 'var s = @"a\\', "string"),
        ("csharp", 'var s = @"a""b', "string"),
        ("shellscript", "echo ${x#a} ", "code"),
        ("shellscript", "echo # a", "comment"),
        ("shellscript", 'echo "$(ls ', "code"),
        ("shellscript", "echo 'a\nb", "string"),
        ("shellscript", "[ $# -gt 1 ] && ", "code"),
        ("rust", "fn f<'a>(x: &'a str", "code"),
        ("markdown", "I don't", "code"),
        ("cobol", "don't say \"", "string"),
    ],
)
def test_where_the_cursor_is(language: str, before: str, kind: str) -> None:
    assert inside(language, before) == kind


@pytest.mark.parametrize(
    ("language", "before", "closers"),
    [
        ("python", "f(a, [b, {", ")]}"),
        ("python", 'f("(", x', ")"),
        ("python", 'f(f"{a(', ')"})'),
        ("cpp", "void f() {\n  if (x) { g(1);", "}}"),
        ("shellscript", "case x in\n a) f\n", ""),
        ("javascript", "f(() => { // (", ")}\0"),
    ],
)
def test_what_is_open(language: str, before: str, closers: str) -> None:
    assert "".join(item.closer or "\0" for item in state_at(language, before).stack) == closers


@pytest.mark.parametrize(
    ("language", "opener", "closer"),
    [("python", '"""', '"""'), ("cpp", "\n/*", "*/"), ("javascript", "`", "`")],
)
def test_a_window_may_begin_in_a_text(language: str, opener: str, closer: str) -> None:
    long = "it is a long text\n" * 1000
    kind = "comment" if language == "cpp" else "string"
    assert inside(language, opener + long) == kind
    assert inside(language, opener + long + closer + "\nx") == "code"
    assert inside(language, f"{opener} a {closer}\n" + "x = 1\n" * 3000) == "code"
    assert not state_at(language, long).whole


def test_a_glob_is_no_comment() -> None:
    assert inside("javascript", 'const g = "**/*.ts";\n' + "x = 1;\n" * 3000) == "code"


@given(st.sampled_from(LANGUAGES), st.text("ab()[]{}\"'`/*#\\$\n -", max_size=60))
def test_any_text_can_be_read(language: str, before: str) -> None:
    assert inside(language, before) in ("code", "string", "comment")


def test_it_is_cheap() -> None:
    """Ten times what it takes on a shared core."""
    before, opened = 'total = compute(items[1], "a", {b}) + 1  # sum\n' * 20_000, Opened()
    state_at("python", before, opened)
    began = time.perf_counter()
    state_at("python", before + "x", opened)
    assert time.perf_counter() - began < 0.02
    assert len(before) > 100 * WINDOW


PIECES = ["`", "${", "}", "/*", "*/", "\n", "// it's `\n", "x = 1;\n", "'`'\n", "f(", ")"]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=40), min_size=1, max_size=5))
def test_what_is_open_is_the_same_however_one_came_there(texts: list[list[str]]) -> None:
    row, opened = row_of("javascript"), Opened()
    with patch.multiple("cl_lsp.syntax", READ=9, STEP=2):
        for pieces in (*texts, *texts):
            text = "".join(pieces)
            for place in (text.rfind("\n") + 1, text.find("\n") + 1):
                stack: list[Open] = []
                for _ in events(row, text[:place], 0, stack):
                    pass
                first = next((n for n, item in enumerate(stack) if item.text), len(stack))
                assert opened.at(row, text, place) == tuple(stack[first:])


def test_an_odd_mark_in_a_comment_far_above_opens_nothing() -> None:
    far = "// one ` alone\n" + "x = 1;\n" * 3000
    assert inside("javascript", far) == "code"
    assert [item.closer for item in state_at("javascript", far + "f(g[").stack] == [")", "]"]
    assert inside("python", '# """ is a quote\n' + "x = 1\n" * 3000) == "code"


@pytest.mark.alone
@pytest.mark.parametrize("end", ["\n", "\r\n", ";"])
def test_the_state_in_a_very_long_document_takes_no_time(end: str) -> None:
    """Bar: 1 ms for a key in 2 MB, on one line or on many."""
    documents, took, line = Documents(), [], f"    value = some_function(argument, 1){end}"
    text = line * 24_000 + "x = f(\n" + line * 24_000
    documents.open(types.TextDocumentItem("u", "python", 1, text))
    at = types.Position(0 if end == ";" else 24_000, text.index("(\n") + 1 if end == ";" else 6)
    for _ in range(20):
        change = types.TextDocumentContentChangePartial(types.Range(at, at), "1")
        identity = types.VersionedTextDocumentIdentifier(2, "u")
        documents.change(types.DidChangeTextDocumentParams(identity, [change]))
        at = types.Position(at.line, at.character + 1)
        snapshot = documents.snapshot("u", at)
        began = time.perf_counter()
        assert Surroundings.of(snapshot).state.stack
        took.append((time.perf_counter() - began) * 1e3)
    assert min(took[1:]) <= 1


def test_a_window_stays_while_one_types_with_any_line_end() -> None:
    text = "value= 1\r\n" * 30_000
    for size in (9 * NEAR // 4, 2 * NEAR, 2 * NEAR - 4):  # in the midst, and where the step is
        starts = set[str]()
        for n in range(20):
            before = text[:size] + "x" * n
            at = Surroundings.of(Snapshot("u", 1, "python", before + text, len(before)))
            window = Windows().before(at.before)
            assert "\r" not in window and "\r" not in Windows().after(at.after)
            starts.add(window[:20])
        assert len(starts) <= 2
