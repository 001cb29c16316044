"""Fair shares: the least served first, without credit for who was away."""

from cl_engine.shares import Shares
from hypothesis import given
from hypothesis import strategies as st


def test_who_was_served_least_is_known() -> None:
    shares = Shares()
    shares.charge("a", 10)
    shares.charge("b", 4)
    assert shares.of("a") == 10 and shares.of("b") == 4


def test_who_comes_late_begins_level_with_the_others() -> None:
    shares = Shares()
    for _ in range(100):
        shares.settle({"a", "b"})
        shares.charge("a", 5)
        shares.charge("b", 5)
    shares.settle({"a", "b", "c"})
    assert shares.of("c") == shares.of("a") - 5  # not 100 turns behind


def test_who_worked_alone_owes_nothing_and_is_forgotten() -> None:
    shares = Shares()
    shares.charge("a", 1000)
    shares.settle({"a"})
    shares.settle({"b"})
    assert shares.of("b") == shares.of("a") == 1000
    shares.settle({"b"})
    assert len(shares._served) <= 1


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 64)), max_size=200))
def test_always_serving_the_least_keeps_all_within_one_turn(asked: list[tuple[str, int]]) -> None:
    """With work for all of them all the time, however different their turns."""
    shares, turn = Shares(), dict(zip("abcd", (1, 9, 33, 64), strict=True))
    for _ in asked:
        shares.settle(turn)
        least = min(turn, key=shares.of)
        shares.charge(least, turn[least])
        served = [shares.of(client) for client in turn]
        assert max(served) - min(served) <= 64
