"""The one who types: what a key does, and which suggestions are taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replay.sheet import Edit, Sheet, accept, accept_part, press, presses

SOURCE = st.text("ab(){}[] \n,", max_size=30)


def applied(text: str, edit: Edit) -> str:
    return text[: edit.start] + edit.text + text[edit.end :]


@given(before=SOURCE, todo=SOURCE, rest=SOURCE, closes=st.booleans())
def test_keys_alone_write_the_true_text(before: str, todo: str, rest: str, closes: bool) -> None:
    sheet, keys = Sheet(before, todo, rest), 0
    while sheet.todo:
        newer, edit = press(sheet, closes)
        assert applied(sheet.text, edit) == newer.text
        assert newer.true_text == before + todo + rest
        sheet, keys = newer, keys + 1
    assert (sheet.text, keys) == (before + todo + rest, presses(todo))


def test_a_bracket_is_closed_and_typed_over() -> None:
    sheet, edit = press(Sheet("f", "(x)\ny", "\n"))
    assert (sheet.text, sheet.closers, edit) == ("f()\n", ")", Edit(1, 1, "()"))
    sheet, _ = press(sheet)
    sheet, edit = press(sheet)
    assert (sheet.text, sheet.closers, edit) == ("f(x)\n", "", Edit(3, 4, ")"))


@pytest.mark.parametrize(
    ("todo", "rest"),
    [("(\n    x)", "\n"), ("(x)", "y\n"), ("(x", "\n")],  # on another line, before a word, never
)
def test_a_bracket_is_left_alone(todo: str, rest: str) -> None:
    assert press(Sheet("f", todo, rest))[0].closers == ""


def test_an_editor_indents_by_itself() -> None:
    assert press(Sheet("if x:", "\n        y", "\n"))[0].before == "if x:\n        "


@pytest.mark.parametrize(
    ("sheet", "text", "replaced", "keys", "left"),
    [
        (Sheet("a = ", "f(x)", "\n"), "f(x)", 0, 1, ""),
        (Sheet("a = ", "f(x)\nb", "\n"), "f(x)", 0, 1, "\nb"),
        (Sheet("f(", "x)", "\n", ")"), "x)", 1, 1, ""),  # in place of the editor's
        (Sheet("f(", "x, y)", "\n", ")"), "x", 0, 1, ", y)"),  # in front of it
        (Sheet("f(", "x)", ")\n"), "x))", 1, 2, ""),  # the cursor stands too far, then
        (Sheet("f(", "x)", "\n", ")"), "x)", 0, None, ""),  # one bracket too many
        (Sheet("f(", "x, y)", "\n", ")"), "x)", 1, 2, ", y)"),  # its end is what stood there
        (Sheet("a = ", "f(x)", "\n"), "g(x)", 0, None, ""),
        (Sheet("a = ", "f(x)", "\n"), "f(x)\n", 0, None, ""),
    ],
)
def test_what_is_exact_is_taken(
    sheet: Sheet, text: str, replaced: int, keys: int | None, left: str
) -> None:
    taken = accept(sheet, text, replaced)
    if keys is None or taken is None:
        assert (taken, keys) == (None, None)
        return
    after, edit, cost = taken
    assert applied(sheet.text, edit) == after.text
    assert after.true_text == sheet.true_text
    assert (cost, after.todo) == (keys, left)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("first = 1\nwrong", "first = 1"),  # the line
        ("first + 1", "first"),  # the word
        (" first + 1", None),
        ("f", None),  # saves nothing
        ("f + 1", None),
    ],
)
def test_a_right_beginning_is_taken(text: str, written: str | None) -> None:
    taken = accept_part(Sheet("", "first = 1\nsecond", "\n"), text)
    assert (taken and taken[0].before) == written


def test_a_beginning_that_closes_too_much_is_not_taken() -> None:
    assert accept_part(Sheet("f(", "))\n", "\n", "))"), ")) + 1") is None
