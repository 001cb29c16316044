"""The radix tree over pages: reuse is exact whatever came before, no page is lost or used twice."""

import random
from collections.abc import Callable

import pytest
from cl_engine.pages import Pages
from cl_engine.radix import TAIL, Node
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.serving.audit import check_everything, forget_unused
from tests.serving.radix_model import Cache, Tokens, Work
from tests.vocabularies import UNTIMED

TOKEN = st.integers(0, 1)
AT, LENGTH = st.integers(0, 3), st.integers(1, 20)
MORE = st.just([]) | st.lists(TOKEN, max_size=5)


class History(RuleBasedStateMachine):
    """Up to four requests at a time, on small pages, for texts that have much in common."""

    @initialize(
        size=st.integers(1, 4),
        room=st.sampled_from([4, 16, 24, 32, 48, 64, 800]),  # tokens
        texts=st.lists(st.lists(TOKEN, min_size=8, max_size=20), min_size=1, max_size=3),
    )
    def begin(self, size: int, room: int, texts: list[list[int]]) -> None:
        self.cache = Cache(-(-room // size), size)
        self.texts = [tuple(text) for text in texts]

    @precondition(lambda self: len(self.cache.works) < 4)
    @rule(at=AT, length=LENGTH, more=MORE)
    def acquire(self, at: int, length: int, more: list[int]) -> None:
        self.cache.acquire(*self.texts[at % len(self.texts)][:length], *more)

    @precondition(lambda self: len(self.cache.works) < 4)
    @rule(at=AT, length=LENGTH, more=MORE)
    def complete(self, at: int, length: int, more: list[int]) -> None:
        """A whole request, one key in the life of a text."""
        text = self.texts[at % len(self.texts)]
        work = self.cache.complete(*text[:length], *more)
        self.texts[at % len(self.texts)] = work.tokens[:20]

    def work(self, at: int) -> Work:
        return self.cache.works[at % len(self.cache.works)]

    @precondition(lambda self: self.cache.works)
    @rule(at=AT, n=LENGTH)
    def prefill(self, at: int, n: int) -> None:
        self.cache.compute(self.work(at), n=n)

    @precondition(lambda self: self.cache.works)
    @rule(at=AT, more=MORE, ahead=LENGTH)
    def decode(self, at: int, more: list[int], ahead: int) -> None:
        work = self.work(at)
        if self.cache.compute(work, *more):
            self.cache.extend(work)
        self.cache.reserve(work, work.computed + ahead)

    @precondition(lambda self: self.cache.works)
    @rule(at=AT)
    def extend(self, at: int) -> None:
        self.cache.extend(self.work(at))

    @precondition(lambda self: self.cache.works)
    @rule(at=AT)
    def release(self, at: int) -> None:
        self.cache.release(self.work(at))

    @precondition(lambda self: self.cache.works)
    @rule(at=AT)
    def drop(self, at: int) -> None:
        self.cache.drop(self.work(at))

    @rule(at=AT)
    def clear(self, at: int) -> None:
        if at == 3:  # seldom: there is little to find in an empty tree
            forget_unused(self.cache.tree)
        assert at < 3 or all(seen.locked for seen in self.cache.look().values())

    @invariant()
    def balanced(self) -> None:
        if hasattr(self, "cache"):
            self.cache.check()


def test_histories() -> None:
    some = settings(UNTIMED, max_examples=200, stateful_step_count=30)
    run_state_machine_as_test(History, settings=some)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_histories() -> None:
    many = settings(UNTIMED, max_examples=10_000, stateful_step_count=50)
    run_state_machine_as_test(History, settings=many)


def test_a_cached_prompt_leaves_one_token_to_compute() -> None:
    cache = Cache(8, 4)
    cache.complete(*range(12))
    assert cache.acquire(*range(13)).computed == 12
    assert cache.acquire(*range(12)).computed == 11
    assert cache.acquire(0).computed == cache.acquire().computed == 0
    cache.check()


def test_a_page_that_nobody_needs_is_taken_over() -> None:
    cache = Cache(8, 4)
    cache.complete(0, 1, 2, 3, 4, 5, 6)
    work = cache.acquire(0, 1, 2, 3, 4, 5, 9, 9)
    assert work.computed == 6 and work.lease.pages == [0, 1]
    assert not cache.pool.copied_from and cache.tree.in_use == 2 and cache.tree.cached == 0
    cache.check()


def test_a_page_that_somebody_needs_is_copied() -> None:
    cache = Cache(8, 4)
    cache.complete(*range(8))
    held = cache.acquire(*range(9))
    work = cache.acquire(0, 1, 2, 3, 4, 5, 9)  # inside a page that is locked
    assert work.computed == 6 and work.lease.pages == [0, 2]
    other = cache.acquire(0, 1, 9)  # inside one that has children
    assert other.computed == 2 and cache.pool.copied_from == [1, 0]
    cache.release(held)
    cache.check()


@pytest.mark.parametrize("order", [1, -1])
def test_of_equal_matches_the_one_to_take_over_is_chosen(order: int) -> None:
    cache = Cache(8, 4)
    for work in [cache.acquire(0, 1, 2, 3, 4), cache.acquire(0, 1, 9)][::order]:
        assert cache.compute(work)
        cache.release(work)
    assert cache.acquire(0, 1, 5, 5).computed == 2 and not cache.pool.copied_from


def test_without_a_page_for_the_copy_whole_pages_are_reused() -> None:
    cache = Cache(2, 4)
    held = cache.acquire(*range(8))
    cache.compute(held)
    cache.extend(held)
    assert cache.acquire(0, 1, 2, 3, 4, 5, 9).computed == 4
    cache.check()


def test_a_short_tail_gives_way() -> None:
    cache = Cache(20, 2)
    cache.complete(*range(4), 7, 7, 8, 8, 9)
    work = cache.acquire(*range(4), 5, 5)  # nothing in common with the tail
    assert cache.reserve(work, 8) and work.lease.pages == [0, 1, 2, 3]
    cache.drop(work)
    cache.complete(*range(4), 7, 7, 8, 8, 9)
    work = cache.acquire(*range(4), 7, 5)  # something: its page is taken over
    assert cache.reserve(work, 8) and work.lease.pages == [0, 1, 2, 3]
    cache.drop(work)
    cache.complete(*range(4 + 2 * TAIL + 1))  # another text, not a tail
    work = cache.acquire(*range(4), 5)
    assert cache.reserve(work, 8) and work.lease.pages[:3] != [0, 1, 2]
    cache.check()


def test_what_matches_is_not_evicted_for_its_copy() -> None:
    cache = Cache(2 + TAIL, 2)
    cache.complete(*range(4 + 2 * TAIL))  # the oldest leaf is behind the page that is copied
    work = cache.acquire(0, 1, 2, 99)
    assert work.computed == 3 and work.lease.pages == [0, 1 + TAIL]
    assert cache.pool.copied_from == [1] and cache.tree.cached == TAIL
    cache.check()
    cache.release(work)
    forget_unused(cache.tree)
    assert cache.pool.free == 2 + TAIL


def test_the_same_tokens_are_kept_once() -> None:
    cache = Cache(10, 2)
    works = [cache.acquire(0, 1, 2), cache.acquire(0, 1, 2)]
    for token in range(3, 9):
        for work in works:
            assert cache.compute(work, token)
            cache.extend(work)
            cache.check()
    assert works[0].lease.pages[:4] == works[1].lease.pages[:4]
    assert cache.tree.in_use == 4 + 2  # four pages are full, the fifth is each one's own
    for work in works:
        cache.release(work)
    assert cache.tree.cached == 5 and cache.pool.free == 5


def test_the_beginning_of_another_leaf_is_not_kept() -> None:
    cache = Cache(4, 4)
    first, second = cache.acquire(0, 1, 2), cache.acquire(0, 1)
    assert cache.compute(first) and cache.compute(second)
    cache.release(first)
    cache.release(second)
    assert cache.tree.cached == 1
    first, second = cache.acquire(5, 6), cache.acquire(5, 6, 7)
    assert cache.compute(first) and cache.compute(second)
    cache.release(first)
    cache.release(second)
    assert cache.tree.cached == 2
    first, second = cache.acquire(8, 9), cache.acquire(8, 9, 8, 9)
    assert cache.compute(first) and cache.compute(second)
    cache.release(first)
    cache.extend(second)
    assert cache.tree.cached == 2 and cache.tree.in_use == 1
    cache.check()


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(6, 2)
    for token in range(3):
        cache.complete(token, token, token)  # two pages each
    cache.complete(0, 0, 0)
    work = cache.acquire(9)
    for length, left in ((2, {0, 1, 2}), (4, {0, 2}), (6, {0, 2}), (8, {0})):
        assert cache.reserve(work, length)
        assert {seen.tokens[0] for seen in cache.look().values()} == left, length
    cache.check()


@pytest.mark.parametrize("ids", [(0, 1, 2), (0, 1, 2, 3, 4)])  # a leaf, or one with children
def test_a_node_that_makes_another_superfluous_was_used_now(ids: Tokens) -> None:
    cache = Cache(5, 4)
    first, second = cache.acquire(0, 1), cache.acquire(*ids)
    assert cache.compute(first) and cache.compute(second)
    cache.release(second)
    cache.complete(7)
    cache.release(first)
    work = cache.acquire(9)
    assert cache.reserve(work, 16)
    assert [seen.tokens for seen in cache.look().values()] == [ids[:4]]
    cache.check()


def test_what_is_locked_stays_and_reserve_says_so() -> None:
    cache = Cache(4, 2)
    cache.complete(0, 1, 2, 3)
    held = cache.acquire(0, 1, 2, 3, 4)
    work = cache.acquire(7)
    assert cache.tree.available == 2
    assert not cache.reserve(work, 6)
    assert len(work.lease.pages) == 2 and cache.tree.available == 0 and not cache.reserve(held, 5)
    cache.drop(work)
    assert cache.reserve(held, 5) and cache.tree.available == 1
    cache.check()


def test_a_pool_of_one_page() -> None:
    cache = Cache(1, 4)
    cache.complete(1, 2, 3)
    work = cache.acquire(1, 2, 9)
    assert work.computed == 2 and cache.tree.in_use == 1
    assert cache.compute(work) and not cache.compute(work, 5, 6)
    assert not cache.compute(cache.acquire(1, 2, 9))
    cache.release(work)
    cache.complete(7)
    assert [seen.tokens for seen in cache.look().values()] == [(7,)]
    cache.check()


def test_half_written_pages_are_dropped() -> None:
    cache = Cache(8, 2)
    work = cache.acquire(*range(7))
    cache.compute(work, n=5)
    cache.extend(work)
    cache.reserve(work, 12)
    cache.drop(work)
    cache.drop(work)
    assert cache.tree.cached == 2 and cache.tree.in_use == 0
    assert cache.acquire(*range(7)).computed == 4


def test_pages_evicted_together_are_one_run() -> None:
    cache = Cache(8, 2)
    cache.complete(*range(16))
    work = cache.acquire(9)
    assert cache.reserve(work, 10) and work.lease.pages == [3, 4, 5, 6, 7]


def test_a_request_goes_on_behind_its_last_page() -> None:
    cache = Cache(8, 2)
    first, second, third = (cache.acquire(token) for token in range(3))
    assert cache.reserve(first, 6) and cache.reserve(second, 2) and cache.reserve(third, 2)
    assert second.lease.pages == [3] and third.lease.pages == [4]
    cache.drop(first)
    assert cache.reserve(third, 6) and third.lease.pages == [4, 5, 6]
    assert cache.reserve(second, 6) and second.lease.pages == [3, 0, 1]


def test_the_heap_does_not_grow_and_keeps_its_order() -> None:
    tree, rng = Cache(24, 1).tree, random.Random(1)
    for _ in range(1500):
        ids = [rng.randrange(4), *range(rng.randrange(8))]
        lease, _ = tree.acquire(ids)
        assert tree.reserve(lease, len(ids))
        tree.release(lease, ids, len(ids))
        for _ in range(rng.randrange(8)):  # each leaves an entry behind
            tree.drop(tree.acquire([rng.randrange(4), 0, 1, 2, 3])[0])
        check_everything(tree, [])


def node(work: Work, at: int) -> Node:
    return work.lease.nodes[at]


DAMAGES: dict[str, Callable[[Cache, Work], object]] = {
    "are not all": lambda cache, work: cache.pool.take(),
    "each unlocked leaf once": lambda cache, work: cache.tree._leaves.clear(),
    "leaf once": lambda cache, work: cache.tree._leaves.extend(cache.tree._leaves),
    "entries": lambda cache, work: cache.tree._leaves.extend([(0, 0, node(work, 0))] * 13),
    "in no order": lambda cache, work: cache.tree._leaves.reverse(),
    "is held by": lambda cache, work: setattr(node(work, 0), "locks", 2),
    "its parent is not": lambda cache, work: setattr(node(work, 0), "locks", 0),
    "has two owners": lambda cache, work: work.lease.pages.__setitem__(2, 0),
    "in use is free": lambda cache, work: work.lease.pages.__setitem__(2, 5),
    "other pages": lambda cache, work: work.lease.pages.__setitem__(0, 2),
    "not a path": lambda cache, work: work.lease.nodes.reverse(),
    "too recent": lambda cache, work: setattr(node(work, 1), "used", 99),
    "misplaced": lambda cache, work: setattr(node(work, 1), "tokens", (9, 9)),
    "is not full": lambda cache, work: cache.pool.__setattr__("size", 3),
    "the beginning of": lambda cache, work: node(work, 0).children.update(
        {(2, 3, 4): Node((), 0, None)}
    ),
    "the counts are": lambda cache, work: cache.tree.__dict__.update(_own=2, _nodes=2),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_check_finds(damage: str) -> None:
    cache = Cache(6, 2)
    cache.complete(7, 7)
    cache.complete(0, 1, 2, 3, 5)
    work = cache.acquire(0, 1, 2, 3, 4)
    assert cache.compute(work)
    cache.check()
    DAMAGES[damage](cache, work)
    with pytest.raises(AssertionError, match=damage):
        check_everything(cache.tree, [work.lease])


def test_a_page_is_followed_by_the_next_one() -> None:
    pages = Pages(8, 16)
    assert [pages.take(), pages.take(0), pages.take(1)] == [0, 1, 2]
    assert pages.take(4) == 5 and pages.free == 4  # free are 3, 4, 6, 7
    pages.give(0)
    assert pages.take() == 3  # the first of the longest runs
    assert pages.take(7) == 6  # there is no 8
    assert [pages.take(6), pages.take(7), pages.take(0), pages.take(0)] == [7, 0, 4, None]
    assert pages.free == 0 and not pages.is_free(0)


@pytest.mark.parametrize("page", [-1, 1, 4])
def test_only_what_was_taken_is_given_back(page: int) -> None:
    pages = Pages(4, 16)
    assert pages.take() == 0
    with pytest.raises(AssertionError):
        pages.give(page)
