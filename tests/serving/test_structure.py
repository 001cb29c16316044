"""Stopping by structure: cases in eleven languages, and what holds for any text.

The cases stand in `structure/`, one file per language: `‸` is the cursor, `▪` where the completion
ends; a model went on until `⟧` or the end, and what follows `⟧` is the text after the cursor. In
brackets behind the title is the rule that ends it, if it is not `block`.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cl_engine.blocks import LANGUAGES, grammar
from cl_engine.structure import RULES, StopRules, StopStructure
from hypothesis import given
from hypothesis import strategies as st
from pytest import ParameterSet

CASES = Path(__file__).with_name("structure")


def read_cases() -> Iterator[ParameterSet]:
    for path in sorted(CASES.glob("*.txt")):
        for case in path.read_text().removeprefix("=== ").split("\n=== "):
            title, _, text = case.partition("\n")
            title, _, rule = title.removesuffix("]").partition(" [")
            language = title.partition(":")[0] if path.stem == "plain" else path.stem
            text = text.removesuffix("\n")
            yield pytest.param(language, text, rule or "block", id=f"{path.stem}: {title}")


def complete(rules: StopRules, pieces: list[str]) -> tuple[str, str | None]:
    stop = StopStructure(rules)
    shown = "".join(stop.feed(piece) for piece in pieces)
    return shown + stop.finish(), stop.hit


def cut(text: str, n: int) -> list[str]:
    return [text[i : i + n] for i in range(0, len(text), n)]


@pytest.mark.parametrize(("language", "text", "rule"), list(read_cases()))
def test_cases(language: str, text: str, rule: str) -> None:
    prefix, _, rest = text.partition("‸")
    written, _, suffix = rest.partition("⟧")
    expected, _, more = written.partition("▪")
    rules = StopRules(frozenset({"block", "suffix"}), prefix, suffix, language)
    hit = None if rule == "None" else rule
    for n in (len(written), 4, 1):
        assert complete(rules, cut(expected + more, n)) == (expected, hit)


SCRAPS = (
    *(
        "\n",
        "\n\n",
        "    ",
        "\t",
        " ",
        "x",
        "é",
        "𝒳",
        "if ",
        "else",
        "elif",
        "fi",
        "do",
        "done",
        "end",
    ),
    *("{", "}", "(", ")", "[", "]", ";", ":", ",", "/", "*", "/*", "*/", "//", "#", "\\", "=", "<"),
    *('"', "'", '"""', "'''", "`", "${", "$(", 'R"(', ')"', '@"', "<<EOF", "EOF", "<?php", "?>"),
    *(
        "def f():",
        "class A",
        "return",
        "case",
        "esac",
        "for x in",
        "\r",
        "\x0c",
        "\u2028",
        "\ud800",
    ),
)
TEXTS = st.lists(st.sampled_from(SCRAPS) | st.text(max_size=3), max_size=40).map("".join)
STOPS = st.builds(
    StopRules,
    st.frozensets(st.sampled_from(RULES)),
    TEXTS,
    TEXTS,
    st.sampled_from([*LANGUAGES, "", "go"]),
)


@given(STOPS, TEXTS, st.lists(st.integers(1, 9), max_size=60))
def test_the_pieces_do_not_matter(rules: StopRules, text: str, lengths: list[int]) -> None:
    pieces, at = [], 0
    for n in [*lengths, len(text)]:
        pieces.append(text[at : at + n])
        at += n
    whole, hit = complete(rules, [text])
    assert complete(rules, pieces) == (whole, hit) == complete(rules, list(text))
    assert text.startswith(whole)
    assert hit is not None or whole == text
    assert hit is None or hit in rules.rules


@given(STOPS, TEXTS)
def test_after_a_hit_nothing_comes(rules: StopRules, text: str) -> None:
    stop = StopStructure(rules)
    for piece in cut(text, 3):
        over = stop.hit is not None
        assert not (stop.feed(piece) and over)
    over = stop.hit is not None
    assert not (stop.finish() and over)
    assert stop.finish() == ""


@pytest.mark.parametrize(
    ("text", "shown"), [("a = 1", "a = 1"), ("a = 1 \n  ", "a = 1"), (" ", "")]
)
def test_a_line_is_shown_as_it_comes(text: str, shown: str) -> None:
    """Blanks wait for what follows, and nothing else does."""
    stop = StopStructure(StopRules(frozenset(RULES) - {"line"}, "def f():\n    ", "", "python"))
    assert stop.feed(text) == shown


def test_a_line_that_may_be_cut_off_is_held_back() -> None:
    rules = StopRules(frozenset({"suffix"}), "def f(x):\n    ", "\n    return x\n")
    stop = StopStructure(rules)
    assert [stop.feed(piece) for piece in ("a\n    ret", "ract()")] == ["a", "\n    retract()"]
    stop = StopStructure(rules)
    assert [stop.feed(piece) for piece in ("a\n", "    return ", "x", "\n")] == ["a", "", "", ""]
    assert stop.hit == "suffix"


@pytest.mark.parametrize(("text", "shown"), [("a b\nc", "a b"), ("\na", ""), ("", ""), ("a", "a")])
def test_line(text: str, shown: str) -> None:
    hit = "line" if "\n" in text else None
    assert complete(StopRules(frozenset({"line"}), "x = ", "\ny"), list(text)) == (shown, hit)


def test_the_first_rule_that_knows_wins() -> None:
    every = StopRules(frozenset(RULES), "f(", ")\n", "cpp")
    assert complete(every, ["a);\n"]) == ("a", "block")
    assert complete(every, ["a,\n);\n"]) == ("a,", "line")


def test_without_a_grammar_the_lexer_decides_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_engine.blocks.grammar.import_module", missing)
    grammar._parser.cache_clear()
    rules = StopRules(frozenset({"block"}), "int f() {", "", "cpp")
    assert complete(rules, ["\n    return 1;\n}\nint g() {\n"]) == ("\n    return 1;\n}", "block")
    grammar._parser.cache_clear()


def missing(name: str) -> None:
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("language", ["python", "cpp", "shellscript", "markdown"])
def test_it_is_cheap(language: str) -> None:
    """Ten times what it takes on a shared core; a quadratic reading of the long line took 3 s."""
    line = "    total = compute(items[1], 'a') + 1;\n"
    prefix = ("void f() {\n" + line * 20 + "}\n") * 12 + "void f() {\n"
    stop = StopStructure(StopRules(frozenset({"block", "suffix"}), prefix, "\n}\n" * 99, language))
    began = time.perf_counter()
    stop.feed("    a(1)\n    b")
    first = time.perf_counter() - began
    for piece in cut("x + (1) " * 1250, 4):
        stop.feed(piece)
    each = (time.perf_counter() - began - first) / 2500
    assert first < 0.03 and each < 0.0003
