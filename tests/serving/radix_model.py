"""A plain model of the radix tree and its pages: what must be cached, found without any index."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cl_engine.pages import Pages
from cl_engine.radix import TAIL, Lease, Node, RadixTree

from tests.serving.audit import check_everything

Tokens = tuple[int, ...]


class Pool(Pages):
    """A paged KV cache as lists. What a position holds depends on all tokens up to it, as keys and
    values do: it is `tokens[: p + 1]`. A page that is given back is poisoned."""

    def __init__(self, count: int, size: int):
        super().__init__(count, size)
        self.cells: list[list[Tokens]] = [[()] * size for _ in range(count)]
        self.copied_from: list[int] = []

    def give(self, page: int) -> None:
        super().give(page)
        self.cells[page] = [()] * self.size

    def copy(self, source: int, destination: int, n: int) -> None:
        assert not self.is_free(source) and not self.is_free(destination)
        assert source != destination and 0 < n < self.size
        self.cells[destination][:n] = self.cells[source][:n]
        self.copied_from.append(source)


@dataclass(frozen=True)
class Seen:
    """A node of the tree as it was: `tokens` are all up to its end."""

    tokens: Tokens
    used: int
    locked: bool
    children: frozenset[int]  # their pages


def evicted_next(tree: dict[int, Seen], n: int, kept: Iterable[int] = ()) -> set[int]:
    """The pages that n evictions should free, found by looking at everything each time."""
    gone: set[int] = set()
    for _ in range(n):
        leaves = [
            (seen.used, page)
            for page, seen in tree.items()
            if not seen.locked and page not in {*gone, *kept} and seen.children <= gone
        ]
        gone |= {page for _, page in sorted(leaves)[:1]}
    return gone


def in_the_way(tree: dict[int, Seen], path: Sequence[int]) -> set[int]:
    """The pages of a short tail that nobody uses, directly behind the path's last page."""
    if not path or path[-1] + 1 not in tree[path[-1]].children:
        return set()
    tail = [path[-1] + 1]
    for page in tail:
        tail += tree[page].children
    return set() if len(tail) > TAIL or any(tree[page].locked for page in tail) else set(tail)


def prefixes(tree: dict[int, Seen]) -> set[Tokens]:
    return {seen.tokens[:n] for seen in tree.values() for n in range(1, len(seen.tokens) + 1)}


@dataclass(eq=False)
class Work:
    """A request: the first `computed` of its tokens are in the cache."""

    lease: Lease
    tokens: Tokens
    computed: int


class Cache:
    """A tree over a pool, and the requests under way. Every call checks all that it changed."""

    def __init__(self, count: int, size: int):
        self.pool, self.size = Pool(count, size), size
        self.tree = RadixTree(self.pool, self.pool.copy)
        self.works: list[Work] = []

    def look(self) -> dict[int, Seen]:
        """The tree, by pages."""
        seen: dict[int, Seen] = {}
        todo: list[tuple[Tokens, Node]] = [((), self.tree._root)]
        while todo:
            tokens, node = todo.pop()
            pages = frozenset(child.page for child in node.children.values())
            if node.parent:
                seen[node.page] = Seen(tokens, node.used, node.locks > 0, pages)
            todo += [(tokens + child.tokens, child) for child in node.children.values()]
        return seen

    def check(self) -> None:
        """The books balance, and every page holds what the tree and the requests think."""
        self.tree.check_integrity()
        check_everything(self.tree, [work.lease for work in self.works])
        for work in self.works:
            self._check_held(work.lease.pages, work.tokens[: work.computed])
        for page, seen in self.look().items():
            end = len(seen.tokens)
            begin = (end - 1) // self.size * self.size
            cells = self.pool.cells[page][: end - begin]
            assert cells == [seen.tokens[: p + 1] for p in range(begin, end)]

    def _check_held(self, table: Sequence[int], tokens: Tokens) -> None:
        for p in range(len(tokens)):
            assert self.pool.cells[table[p // self.size]][p % self.size] == tokens[: p + 1]

    def acquire(self, *ids: int) -> Work:
        before, free, copies = self.look(), self.pool.free, len(self.pool.copied_from)
        known = prefixes(before)
        longest = max((n for n in range(1, len(ids)) if ids[:n] in known), default=0)
        lease, cached = self.tree.acquire(ids)
        self._check_held(lease.pages, ids[:cached])
        whole = longest // self.size
        assert len(lease.nodes) == whole and len(lease.pages) == -(-cached // self.size)
        gone = before.keys() - self.look().keys()
        way = in_the_way(before, lease.pages[:whole])
        if cached < longest:
            assert cached == whole * self.size and not self.tree.available and not gone
        elif len(self.pool.copied_from) > copies:
            source = self.pool.copied_from[-1]
            assert before[source].tokens[:cached] == ids[:cached] and source not in way
            same = [b for b in before.values() if b.tokens[:longest] == ids[:longest]]
            same = [b for b in same if len(b.tokens) <= (whole + 1) * self.size]
            assert all(b.locked or b.children for b in same), "one could have been taken over"
            kept = {*lease.pages[:whole], source}
            assert gone == way | evicted_next(before, not free and not way, kept)
        else:  # the last page, if it is not a whole one, was taken over
            assert gone == way | set(lease.pages[whole:])
            assert not any(before[page].locked for page in gone)
            assert not any(before[page].children - way for page in gone)
        self.works.append(work := Work(lease, ids, cached))
        return work

    def reserve(self, work: Work, length: int) -> bool:
        before, free, available = self.look(), self.pool.free, self.tree.available
        had = len(work.lease.pages)
        missing = max(0, -(-length // self.size) - had)
        done = self.tree.reserve(work.lease, length)
        assert done == (missing <= available)
        assert len(work.lease.pages) == had + min(missing, available)
        gone = before.keys() - self.look().keys()
        assert gone == evicted_next(before, max(0, missing - free))
        return done

    def compute(self, work: Work, *more: int, n: int | None = None) -> bool:
        """Compute n tokens, all if None; `more` come behind those there are. Then extend."""
        work.tokens += more
        end = len(work.tokens) if n is None else min(work.computed + n, len(work.tokens))
        if not self.reserve(work, end):
            return False
        shared = len(work.lease.nodes) * self.size
        for p in range(work.computed, len(work.lease.pages) * self.size):
            assert p >= shared, "a shared page is written to"
            right = work.tokens[: p + 1] if p < end else (-1,)  # as drafts that were wrong
            self.pool.cells[work.lease.pages[p // self.size]][p % self.size] = right
        work.computed = end
        return True

    def extend(self, work: Work) -> None:
        full = work.tokens[: work.computed // self.size * self.size]
        self._keeps(full, lambda: self.tree.extend(work.lease, work.tokens, work.computed))
        assert len(work.lease.nodes) * self.size == len(full)

    def release(self, work: Work) -> None:
        done = work.tokens[: work.computed]
        self._keeps(done, lambda: self.tree.release(work.lease, work.tokens, work.computed))
        self._ended(work, done)
        self.tree.release(work.lease, work.tokens, work.computed)
        self._ended(work, done)

    def drop(self, work: Work) -> None:
        shared = work.tokens[: len(work.lease.nodes) * self.size]
        self._keeps((), lambda: self.tree.drop(work.lease))
        self._ended(work, shared)

    def complete(self, *ids: int) -> Work:
        """A whole request, as far as there are pages."""
        work = self.acquire(*ids)
        self.compute(work)
        self.release(work)
        return work

    def _keeps(self, tokens: Tokens, act: Callable[[], None]) -> None:
        """That is all that is new, and nothing was lost."""
        before = prefixes(self.look())
        act()
        assert prefixes(self.look()) == before | {tokens[: n + 1] for n in range(len(tokens))}

    def _ended(self, work: Work, tokens: Tokens) -> None:
        """Its nodes are the ones used last."""
        self.works = [w for w in self.works if w is not work]
        assert not work.lease.pages and not work.lease.nodes
        path, longer, others = [], [], [0]
        for seen in self.look().values():
            begin = (len(seen.tokens) - 1) // self.size * self.size
            if seen.tokens == tokens[: len(seen.tokens)]:
                path.append(seen.used)
            elif begin < len(tokens) and seen.tokens[: len(tokens)] == tokens:
                longer.append(seen.used)
            else:
                others.append(seen.used)
        assert all(used > max(others) for used in path)
        assert not longer or max(longer) > max(others) or len(tokens) % self.size == 0
