"""What of a model's text is shown, in each language: balanced, indented, and nothing twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_lsp.completion import suggestion_of
from cl_lsp.documents import Snapshot
from cl_lsp.exchange import Chunk
from cl_lsp.postprocess import shown
from cl_lsp.surroundings import Surroundings
from cl_lsp.syntax import state_at

BRACED = ["cpp", "java", "php", "typescript", "javascript", "csharp"]
LANGUAGES = ["python", *BRACED, "shellscript"]


def at(language: str, text: str) -> Surroundings:
    before, _, after = text.partition("‸")
    return Surroundings.of(Snapshot("u", 1, language, before + after, len(before)))


def show(language: str, text: str, written: str, reason: str = "block") -> str:
    return shown(written, at(language, text), reason).text


def accept(language: str, text: str, written: str, reason: str = "line") -> str:
    """The document when the suggestion is accepted."""
    before, _, after = text.partition("‸")
    snapshot = Snapshot("u", 1, language, before + after, len(before))
    found = suggestion_of(Chunk(written, stop_reason=reason), Surroundings.of(snapshot), snapshot)
    return before + found.text + after[found.replaced :]


@pytest.mark.parametrize("language", ["python", *BRACED])  # a shell's case has patterns
@pytest.mark.parametrize(
    ("text", "written", "left"),
    [
        ("f(a, ‸\n", "b)", "b)"),
        ("f(a, ‸\n", "b))", "b)"),  # closes nothing
        ("g(‸, b)\n", "a), h(c", "a"),  # what stands closed stays so
        ("x = [a, ‸\n    b]\n", "c]", "c"),
        ('x = "‸", b\n', 'a", "b', "a"),
        ('x = f("‸\n', 'a (")', 'a (")'),  # not a bracket: it is in a string
        ("f(a‸) + 1\n", "[0", "[0]"),  # on a line that goes on nothing stays open
        ("x = ‸\n", "f(a,", "f(a,"),
    ],
)
def test_brackets_on_the_line(language: str, text: str, written: str, left: str) -> None:
    assert show(language, text, written, "line") == left


@pytest.mark.parametrize("language", BRACED)
@pytest.mark.parametrize(
    ("text", "written", "left"),
    [
        # Cut short: without the unfinished line, its own blocks are closed.
        (
            "void f() {\n    ‸\n}\n",
            "if (x) {\n        g(1);\n        h(",
            "if (x) {\n        g(1);\n    }",
        ),
        ("void f() {\n    ‸\n}\n", "a();\n    b(x,\n      y", "a();"),
        ("if (x) {‸\n", "\n    a();\n    b", "\n    a();"),
        ("void f() {\n    if (x) {‸\n}\n", "\n        a();\n    }\n}", "\n        a();\n    }"),
    ],
)
def test_blocks_that_were_cut_short(language: str, text: str, written: str, left: str) -> None:
    assert show(language, text, written, "max_tokens") == left


BLOCKS = {  # an opener, and its body with four blanks and with a tab
    "python": ("def f(x):", "\n    if x:\n        return 1"),
    "shellscript": ("f() {", "\n    if a; then\n        b\n    fi\n}"),
} | dict.fromkeys(BRACED, ("void f() {", "\n    if (x) {\n        g(1);\n    }\n}"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tabs_and_line_ends_are_the_files(language: str, end: str) -> None:
    opener, body = BLOCKS[language]
    tabs = body.replace("    ", "\t")
    for style, written in ((tabs, body), (body, tabs), (tabs, tabs), (body, body)):
        text = f"{opener}{style}\n\n{opener}‸\n".replace("f", "h", 1).replace("\n", end)
        expected = text.replace("‸", style.replace("\n", end))
        assert accept(language, text, written, "block") == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_line_begins_where_its_block_does(language: str) -> None:
    opener, body = BLOCKS[language]
    second = body.split("\n")[1].strip()
    before = f"{opener}\n    "
    for written in (second, "    " + second):
        assert accept(language, f"{before}‸\n", written) == f"{before}{second}\n"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("blanks", [" ", "    ", "\t", "        "])
def test_what_nothing_stands_above_is_not_indented(language: str, blanks: str) -> None:
    for before, after in (("", ""), ("\n\n", ""), ("", "\nfirst;\nsecond;\n")):
        for line in ("x = 1", "x = 1\ny = 2", "\nx = 1"):
            written = line.replace("\n", f"\n{blanks}") if line[0] == "\n" else blanks + line
            assert show(language, f"{before}‸{after}", written) == line
    opener, body = BLOCKS[language]
    style = blanks if len(blanks.expandtabs(4)) == 4 else "    "
    inner = style + body.split("\n")[1].strip()  # the first that is indented in its file
    assert show(language, f"{opener}\n‸\n", inner) == inner


def test_indentation_in_text_is_nobodys_business() -> None:
    assert show("python", 'def f():\n\t"""Doc‸\n', "\n    more") == "\n    more"


@pytest.mark.parametrize(
    ("language", "text", "written", "whole"),
    [
        ("python", 'print("‸")\n', 'hello")', 'print("hello")\n'),
        ("python", 'print("‸")\n', "hello", 'print("hello")\n'),
        ("python", 'print("‸")\n', 'a", end="")', 'print("a", end="")\n'),
        ("python", "x = f(g(‸))\n", "a)", "x = f(g(a))\n"),
        ("python", "x = f(g(‸))\n", "h(a)", "x = f(g(h(a)))\n"),
        ("python", "x = f(‸)\n", "[a for a in b", "x = f([a for a in b])\n"),
        ("python", 'x = f"{‸}"\n', "name", 'x = f"{name}"\n'),
        ("javascript", 'foo("‸");\n', 'a");', 'foo("a");\n'),
        ("javascript", "foo({‸})\n", " a: 1 }", "foo({ a: 1 })\n"),
        ("javascript", "foo({‸});\n", "a: [1, 2]});", "foo({a: [1, 2]});\n"),
        ("typescript", "const s = `a ${‸}`;\n", "name", "const s = `a ${name}`;\n"),
        ("typescriptreact", "<div>‸</div>\n", "a</div>", "<div>a</div>\n"),
        ("typescriptreact", "<div>‸</div>\n", "{name}", "<div>{name}</div>\n"),
        ("cpp", "std::vector<‸> v;\n", "int", "std::vector<int> v;\n"),
        ("cpp", 'char *s = "‸";\n', "a;b", 'char *s = "a;b";\n'),
        ("php", "foo($a['‸']);\n", "b']);", "foo($a['b']);\n"),
        ("shellscript", 'echo "${‸}"\n', 'name}"', 'echo "${name}"\n'),
    ],
)
def test_closers_right_of_the_cursor_are_there_once(
    language: str, text: str, written: str, whole: str
) -> None:
    assert accept(language, text, written) == whole


@pytest.mark.parametrize(
    ("language", "text", "written", "reason"),
    [
        ("python", "x = 1\n‸\n", "  \n", "blank"),
        ("python", "x = f(‸)\n", ")", "suffix"),
        ("python", "x = 1‸\n", ")", "brackets"),
        ("python", "x = ‸a + b\n", "a + b", "suffix"),
        ("python", "f(a)\n‸\n  g(b, c)\n", "g(b, c)", "suffix"),
        ("cpp", "‸\nfirst(a, b);\nsecond(c, d);\n", "first(a, b);\nsecond(c, e);", "suffix"),
        ("python", "total += price\n‸\n", "total += price", "above"),
        ("python", "x = foo(‸bar)\n", "baz", "mid-word"),
        ("javascript", "f(‸bar)\n", "a) {", "mid-word"),
    ],
)
def test_every_silence_has_a_name(language: str, text: str, written: str, reason: str) -> None:
    found = shown(written, at(language, text), "line")
    assert (found.text, found.reason) == ("", reason)


@pytest.mark.parametrize(
    ("text", "written", "left"),
    [
        ("return ‸x\n", "not ", "not "),
        ("f(‸b)\n", "a, ", "a, "),
        ("x = ‸foo(y)\n", "await ", "await "),
    ],
)
def test_before_a_word_only_what_leaves_it_whole(text: str, written: str, left: str) -> None:
    assert show("python", text, written, "line") == left


@pytest.mark.parametrize(
    ("language", "text", "written", "left"),
    [
        ("shellscript", "if a; then‸\nfi\n", "\n    b\nfi\n", "\n    b"),
        ("lua", "if a then‸\nend\n", "\n    b()\nend", "\n    b()"),
        ("shellscript", "for f in *; do‸\ndone\n", "\n  a\ndone", "\n  a"),
        ("cpp", "namespace a {\n‸\n}\n", "void f() {\n  g();\n}", "void f() {\n  g();\n}"),
        ("python", "def f(x):\n    ‸\n\n    return x\n", "y = x\n    return x", "y = x"),
        ("python", "a = [\n    ‸\n    3,\n]\n", "1,\n    2,\n    3,\n]", "1,\n    2,"),
        ("python", "‸\nassert f(1) == 2\n", "assert f(1) == 3", "assert f(1) == 3"),
        ("python", "y = 1\nx = ‸\n", "1", "1"),
    ],
)
def test_what_stands_below_stands_there_once(
    language: str, text: str, written: str, left: str
) -> None:
    assert show(language, text, written) == left


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("    print(a)\n" * 5, "    print(a)"),
        ("foo(1, " * 12, "foo(1,"),
        ("x1 = a\ny = 2", "x1 = a\ny = 2"),
        ("a()\nb_b_b_b()\n" * 4, "a()\nb_b_b_b()"),
    ],
)
def test_repetition_is_cut_to_the_first(written: str, left: str) -> None:
    found = shown(written, Surroundings("markdown", "", ""))
    assert found.text.split() == left.split()


LINES = st.sampled_from(
    ["    value = read(a)", "    return value", "", "    }", "    if x:", "y = 1"]
)
TEXTS = st.lists(LINES, min_size=1, max_size=5).map("\n".join)


@given(TEXTS, TEXTS, st.sampled_from(LANGUAGES))
def test_no_end_of_a_suggestion_stands_there_twice(own: str, after: str, language: str) -> None:
    left = show(language, f"def f(a):\n‸\n{after}", f"{own}\n{after}")
    told = [line for line in after.split("\n") if line.strip()]
    lines = [line for line in left.split("\n") if line.strip()]
    assert len(told) < 2 or lines[-len(told) :] != told or own.strip().endswith(told[-1].strip())


SCRAPS = st.lists(
    st.sampled_from([*"()[]{}\"'`", "a", "b, ", "\n", "\n    ", "# ", "// ", "if x:", "é😀", ";"]),
    max_size=14,
).map("".join)


@given(SCRAPS, SCRAPS, SCRAPS, st.sampled_from(LANGUAGES), st.sampled_from(["line", "max_tokens"]))
def test_any_text_is_read_and_loses_nothing(
    before: str, after: str, written: str, language: str, reason: str
) -> None:
    text = f"{before}‸{after}"
    document = accept(language, text, written, reason)
    assert document.startswith(before)
    closers = at(language, text).closers
    assert document.endswith(after[len(closers) :])


@given(SCRAPS, SCRAPS, st.sampled_from(LANGUAGES))
def test_nothing_is_closed_that_is_not_open(before: str, written: str, language: str) -> None:
    there = at(language, before + "‸\n")
    left = shown(written, there).text
    depth = len(state_at(language, before).stack)
    assert left.count(")") + left.count("]") <= left.count("(") + left.count("[") + depth + (
        # in strings and comments they close nothing
        sum(left.count(quote) for quote in "\"'`#/") + (there.kind != "code")
    ) * 14 + 14 * (language == "shellscript")
