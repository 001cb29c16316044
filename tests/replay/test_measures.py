"""Each measure can fail: what is wrong is counted, and what only looks so is not."""

import pytest

from tests.replay.measures import Tally, percentile, repeats, unbalances, unmatched
from tests.replay.sheet import Sheet

BELOW = "\n    return total\n"


@pytest.mark.parametrize(
    ("sheet", "text", "replaced", "fault"),
    [
        (Sheet("    x = 1\n    ", "y = 2", BELOW), "return total", 0, True),  # the next line
        (Sheet("    x = 1\n    re", "ach()", BELOW), "turn total", 0, True),
        (Sheet("    x = 1\n    ", "y = 2", BELOW), "y\n    return total", 0, True),
        (Sheet("    x = 1\n    ", "return total", BELOW), "return total", 0, False),  # meant so
        (Sheet("  ", "a", "\n}\n"), "b\n}", 0, False),  # brackets alone say nothing
        (Sheet("x = f(", "a", ", key=1)\n"), "b, key=1)", 0, True),  # the rest of the line
        (Sheet("x = f(", "a", ", key=1)\n"), "b, key=1)", 8, False),  # which it replaces
        (Sheet("f(", "a", ")\n"), "b)", 0, True),
        (Sheet("f(", "a", ")\n"), "b)", 1, False),
        (Sheet("f(", "a", ")\n"), "g(b)", 0, False),  # its own bracket
        (Sheet("x = ", "a", "ed\n"), "need", 0, False),  # a part of a word is a coincidence
    ],
)
def test_what_repeats_the_suffix(sheet: Sheet, text: str, replaced: int, fault: bool) -> None:
    assert repeats(sheet, text, replaced, "python") == fault


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("f(x)[0]", "python", (0, 0)),
        ("f(x", "python", (0, 1)),
        ("f)x(", "python", (1, 1)),
        ("f(]", "python", (1, 1)),
        ("'(' # (\n'''\n(\n'''", "python", (0, 0)),
        ("// (\n/* ( */ `(` '('", "javascript", (0, 0)),
        ("it's (", "python", (0, 1)),  # a quote that its line does not close is none
    ],
)
def test_brackets_in_code_count(text: str, language: str, found: tuple[int, int]) -> None:
    assert unmatched(text, language) == found


@pytest.mark.parametrize(
    ("text", "replaced", "fault"),
    [("x", 0, False), ("(x", 0, True), ("x)", 0, True), ("x)", 1, False), ("(x)", 0, False)],
)
def test_what_unbalances(text: str, replaced: int, fault: bool) -> None:
    assert unbalances(Sheet("f(", "y", ")\n"), text, replaced, "python") == fault


def test_a_line_has_what_was_counted() -> None:
    tally = Tally(plain_keys=20, keys=5, requests=10, shown=4, late=1)
    tally.faults += [("repeats", "a", "b", "c"), ("unbalances", "a", "b", "c")]
    tally.by.update(typed=2, adopted=1)
    tally.silent["suffix"] += 1
    tally.took_ms += [4.0, 1.0, 2.0, 3.0]
    line = tally.result()
    assert (line["saved_keys"], line["repeated_suffix"], line["unbalanced"]) == (0.75, 0.25, 0.25)
    assert line["without_engine"] == {"typed": 0.2, "prefetched": 0.0, "adopted": 0.1, "all": 0.3}
    assert (line["late"], line["silent"]) == (0.1, {"suffix": 1})
    assert line["ms"] == {"p50": 2.0, "p95": 4.0}


def test_nothing_counted_is_a_line_too() -> None:
    assert Tally().result()["saved_keys"] == 0
    assert percentile([], 50) == 0
