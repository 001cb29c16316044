"""Stop strings in growing text."""

from cl_engine.stopping import StopText
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
