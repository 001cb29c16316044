"""KV caches between requests: exact prefixes only, the least recently used gives way."""

from cl_engine.slots import Slots, common_prefix
from hypothesis import given
from hypothesis import strategies as st

IDS = st.lists(st.integers(0, 2), max_size=200)


@given(IDS, IDS)
def test_common_prefix(a: list[int], b: list[int]) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]
    assert common_prefix(a, a + b) == len(a)


def caches(n: int) -> Slots:
    return Slots([object() for _ in range(n)])  # type: ignore[misc]


def test_the_longest_prefix_is_reused_and_the_last_token_computed_again() -> None:
    slots = caches(2)
    slot, cached = slots.acquire([1, 2, 3, 4]) or (None, 0)
    assert slot is not None and cached == 0
    slot.tokens = [1, 2, 3, 4]
    slots.release(slot)
    again, cached = slots.acquire([1, 2, 3, 4]) or (None, 0)
    assert again is slot and cached == 3
    assert slot.tokens == [1, 2, 3]


def test_all_busy_is_none() -> None:
    slots = caches(1)
    first, _ = slots.acquire([1, 2]) or (None, 0)
    assert slots.acquire([1, 2]) is None
    assert first is not None
    slots.release(first)
    assert slots.acquire([1, 2]) is not None


def test_a_small_overlap_does_not_cost_another_document_its_cache() -> None:
    slots = caches(2)
    first, _ = slots.acquire([1, 5]) or (None, 0)
    assert first is not None
    first.tokens = [1, *range(5, 100)]
    slots.release(first)
    second, cached = slots.acquire([1, *range(200, 300)]) or (None, 0)
    assert second is not first and cached == 0
    assert len(first.tokens) == 96
