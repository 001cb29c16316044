"""Stop strings and repetitions in growing text."""

import pytest
from cl_engine.stopping import Repetition, StopText
from hypothesis import given
from hypothesis import strategies as st

STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=4).map(tuple)


@given(st.lists(st.text("ab\n", max_size=5)), STOPS)
def test_streamed_equals_cut_at_once(pieces: list[str], stops: tuple[str, ...]) -> None:
    whole = "".join(pieces)
    stop = StopText(stops)
    shown = ""
    for piece in pieces:
        shown += stop.feed(piece)
        assert not any(s in shown for s in stops)
    shown += stop.finish()
    # Cut when the first stop string is complete, at the earliest begin of those complete by then.
    done = next((n for n in range(len(whole) + 1) if any(s in whole[:n] for s in stops)), None)
    if done is None:
        assert (shown, stop.hit) == (whole, None)
    else:
        assert stop.hit in stops
        assert whole.startswith(shown + stop.hit)


def test_nothing_comes_after_a_hit() -> None:
    stop = StopText(("\n",))
    assert stop.feed("a\nb") == "a"
    assert stop.hit == "\n"
    assert stop.feed("more") == ""
    assert stop.finish() == ""


def test_a_part_of_a_stop_string_is_held_back() -> None:
    stop = StopText(("\n\n",))
    assert stop.feed("a\n") == "a"
    assert stop.feed("b") == "\nb"


def repeats(prefix: str, suffix: str, text: str) -> str | None:
    """What is left of `text` if it repeats the suffix; its last line has ended."""
    repetition, whole, at = Repetition(prefix, suffix), prefix + text + "\n", len(prefix)
    while (at := whole.find("\n", at)) >= 0:
        if (cut := repetition.end_line(whole, at)) is not None:
            return whole[len(prefix) : cut]
        at += 1
    return None


BLANK = "f {\n    "  # the cursor's line has only its indentation


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "left"),
    [
        ("x", "\n\n  b\n", " = 1\n  b", " = 1"),
        ("x", "\n  b\n", " = 1\n b", None),  # another indentation
        ("x", "\n  b\n", "  b", None),  # a part of the cursor's line is no line
        (BLANK, "\n    b\n", "b", ""),
        (BLANK, "\n    b\n", "a\n\n    b  ", "a"),
        (BLANK, "\n\n", "a\n\n", None),  # blank lines do not count
        (BLANK, "\n}\n", "a;\n}", "a;"),
        ("", "\n}\n", "if {\n    a\n}", None),  # it closes what the text has opened
        (BLANK, "\nend\n", "a\nend", "a"),
        (BLANK, "\n    @A\n    b\n", "@A\n    c", None),  # a habit
        (BLANK, "\n    @A\n    b\n", "a\n    @A\n    b", "a"),
        (BLANK, "\n    @A\n    b\n", "@A\n    @A\n    b", "@A"),
        ("f(", ", last)\n", "a, last)", "a"),
        ("f(", ")\n  b\n", "a)\nc", None),  # a single bracket may be one of the text's own
        ("f(", ")\n  b\n", "a)\n  b", "a"),
    ],
)
def test_repetition(prefix: str, suffix: str, text: str, left: str | None) -> None:
    assert repeats(prefix, suffix, text) == left
