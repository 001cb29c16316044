"""Whose keys and values are cached: a radix tree over tokens whose nodes are pages.

Requests that begin alike share the pages of their common beginning; reuse is exact to the token,
or not at all. What nobody uses stays until its page is needed, the least recently used goes first.
Bookkeeping only, no tensors, for one thread; `pages.py` knows which pages are free.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from .pages import Pages

# One lease, 4 tokens to a page; 11 tokens are computed, pages for 16 are reserved:
#
#     position   0         4         8      11 12        16
#     tokens     | computed                 |
#     nodes      | nodes[0]| nodes[1]|                        in the tree, locked, shared
#     pages      | pages[0]| pages[1]| pages[2]| pages[3]|    of these are its own: pages[2:]
#
# It writes to its own pages only. pages[2] joins the tree with its 4th token (`extend`), or with
# the 3 it has (`release`); pages[3] is given back then. Every page is in one of three states:
#
#     | free            | cached: unlocked nodes | in use: locked nodes, own pages |
#     0                 free                     available                         count
#
# A lock is on a whole path, so below an unlocked node all are unlocked: all can be evicted, leaves
# first. Only full nodes are ever locked or have children; no child is the beginning of another.

TAIL = 4  # pages that give way where a request leaves the way of an earlier one: a suggestion's


@dataclass(eq=False, slots=True)
class Node:
    """A page of the tree: its `tokens` (at most a page of them) follow those of its parent."""

    tokens: tuple[int, ...]
    page: int
    parent: "Node | None" = field(repr=False)  # None: the root, or no longer in the tree
    children: dict[tuple[int, ...], "Node"] = field(default_factory=dict, repr=False)
    locks: int = 0  # leases that hold it
    used: int = 0  # tick of the last release

    @property
    def evictable(self) -> bool:
        return self.parent is not None and not self.locks and not self.children


@dataclass(eq=False)
class Lease:
    """The page table of one request: position p lies in page `pages[p // size]`.

    The first `len(nodes)` pages are the tree's; the others are its own, and nobody else reads them.
    """

    pages: list[int] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)


class RadixTree:
    """What the pages of a KV cache hold, and who uses it.

    `copy(source, destination, n)` copies the first n tokens' keys and values from page to page.
    """

    def __init__(self, pages: Pages, copy: Callable[[int, int, int], None]):
        self._pages, self._copy = pages, copy
        self._root = Node((), -1, None, locks=1)
        self._nodes = self._locked = self._own = 0  # numbers of pages
        # A heap of (used, tie-break, node): every evictable node once, and what has changed since.
        self._leaves: list[tuple[int, int, Node]] = []
        self._ticks = count(1)

    @property
    def cached(self) -> int:
        """Pages that hold what no lease uses."""
        return self._nodes - self._locked

    @property
    def in_use(self) -> int:
        return self._locked + self._own

    @property
    def available(self) -> int:
        """Pages that `reserve` could get for one lease: free ones, and cached ones it evicts."""
        return self._pages.free + self.cached

    def acquire(self, ids: Sequence[int]) -> tuple[Lease, int]:
        """A lease on the longest cached prefix of `ids`, and its length in tokens.

        At least the last id is left to compute: its logits are not kept.
        """
        size, most = self._pages.size, len(ids) - 1
        lease, node = Lease(), self._root
        for start in range(0, most - size + 1, size):
            child = node.children.get(tuple(ids[start : start + size]))
            if child is None:
                break
            node = child
            self._lock(node)
            lease.nodes.append(node)
            lease.pages.append(node.page)
        cached = len(lease.nodes) * size
        rest = ids[cached : min(cached + size, most)]
        best, length = None, 0
        for child in node.children.values():
            n = _common_prefix(child.tokens, rest)
            if n > length or (n and n == length and child.evictable):
                best, length = child, n
        for child in list(node.children.values()) if lease.nodes else ():
            if child.page == node.page + 1:
                self._give_way(child, best)
        if best is not None and self._reuse_beginning(lease, best, length):
            cached += length
        return lease, cached

    def _give_way(self, node: Node, best: Node | None) -> None:
        """Drop a short tail that nobody uses, so that the lease's pages stay consecutive.

        Mostly it is the end of a suggestion that was not taken. Without this the pages of a text
        are 13 runs after 400 keys, with it one.
        """
        tail = [node]
        for node in tail:
            tail += node.children.values()
            if node.locks or len(tail) > TAIL:
                return
        for node in reversed(tail):
            if node is not best:
                self._detach(node)
                self._pages.give(node.page)

    def _reuse_beginning(self, lease: Lease, node: Node, length: int) -> bool:
        """The first `length` tokens of a node in a page of the lease's own; False if there is none.

        An unlocked leaf's page is taken over: what it holds behind them is lost, but nothing is
        copied, and the lease's pages stay consecutive.
        """
        if node.evictable:
            self._detach(node)
            self._own += 1
            lease.pages.append(node.page)
            return True
        self._lock(node)  # getting a page may evict others
        if got := self.reserve(lease, (len(lease.pages) + 1) * self._pages.size):
            self._copy(node.page, lease.pages[-1], length)
        self._unlock(node)
        return got

    def reserve(self, lease: Lease, length: int) -> bool:
        """Get pages for `length` tokens; False if there are not enough, and it keeps those it got.

        Ask for all at once where it is known: pages that are evicted together are often one run.
        """
        missing = -(-length // self._pages.size) - len(lease.pages)
        # Before any is taken: a path is evicted from its end, so one by one they would descend.
        while self._pages.free < missing and self._evict():
            pass
        for _ in range(missing):
            page = self._pages.take(lease.pages[-1] if lease.pages else None)
            if page is None:
                return False
            self._own += 1
            lease.pages.append(page)
        return True

    def extend(self, lease: Lease, tokens: Sequence[int], computed: int) -> None:
        """Share the pages that the first `computed` of `tokens` fill.

        Where another lease was faster, its page replaces the own one in the page table.
        """
        size = self._pages.size
        for start in range(len(lease.nodes) * size, computed - size + 1, size):
            parent, at = self._last(lease), len(lease.nodes)
            part = tuple(tokens[start : start + size])
            node = parent.children.get(part)
            if node is None:
                node = self._attach(parent, part, lease.pages[at])
            else:
                self._give_own(lease.pages[at])
                lease.pages[at] = node.page
            self._lock(node)
            lease.nodes.append(node)

    def release(self, lease: Lease, tokens: Sequence[int], computed: int) -> None:
        """Keep the first `computed` of `tokens`, also in the last page; the lease is empty then."""
        if not lease.pages:
            return
        self.extend(lease, tokens, computed)
        parent, at = self._last(lease), len(lease.nodes)
        rest = tuple(tokens[at * self._pages.size : computed])
        if rest:  # a leaf, unless there is a node already that begins with it
            same = (c for c in parent.children.values() if c.tokens[: len(rest)] == rest)
            leaf = next(same, None) or self._attach(parent, rest, lease.pages.pop(at))
            leaf.used = next(self._ticks)
            if leaf.evictable:
                self._push(leaf)
        self.drop(lease)

    def drop(self, lease: Lease) -> None:
        """End a lease whose own pages may be half written: they are given back."""
        tick = next(self._ticks)
        for page in lease.pages[len(lease.nodes) :]:
            self._give_own(page)
        for node in lease.nodes:
            node.used = tick
            self._unlock(node)
        lease.pages.clear()
        lease.nodes.clear()

    def _last(self, lease: Lease) -> Node:
        return lease.nodes[-1] if lease.nodes else self._root

    def _lock(self, node: Node) -> None:
        if not node.locks:
            self._locked += 1
        node.locks += 1

    def _unlock(self, node: Node) -> None:
        node.locks -= 1
        if not node.locks:
            self._locked -= 1
        if node.evictable:
            self._push(node)

    def _attach(self, parent: Node, tokens: tuple[int, ...], page: int) -> Node:
        """A lease's own page becomes a node; leaves that are a beginning of it are dropped."""
        for child in list(parent.children.values()):
            if child.tokens == tokens[: len(child.tokens)]:
                self._detach(child)
                self._pages.give(child.page)
        node = parent.children[tokens] = Node(tokens, page, parent)
        self._nodes += 1
        self._own -= 1
        return node

    def _detach(self, node: Node) -> None:
        """Take a leaf out of the tree; its page is the caller's."""
        assert node.evictable and node.parent is not None
        parent, node.parent = node.parent, None
        del parent.children[node.tokens]
        self._nodes -= 1
        if parent.evictable:
            self._push(parent)

    def _give_own(self, page: int) -> None:
        self._pages.give(page)
        self._own -= 1

    def _push(self, leaf: Node) -> None:
        heappush(self._leaves, (leaf.used, next(self._ticks), leaf))
        if len(self._leaves) > 2 * self._pages.count:
            self._leaves = sorted(filter(_current, self._leaves))  # which is a heap

    def _evict(self) -> bool:
        """Free the page of the least recently used leaf; False if there is none."""
        while self._leaves:
            entry = heappop(self._leaves)
            if _current(entry):
                self._detach(entry[2])
                self._pages.give(entry[2].page)
                return True
        return False

    def check_integrity(self) -> None:
        """Raises AssertionError if a page is lost or counted twice."""
        free, count = self._pages.free, self._pages.count
        if free + self.cached + self.in_use != count:
            found = f"{free} free + {self.cached} cached + {self.in_use} in use"
            raise AssertionError(f"{found} are not all {count} pages")


def _current(entry: tuple[int, int, Node]) -> bool:
    """Whether an entry of the heap is still true."""
    return entry[2].evictable and entry[2].used == entry[0]


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    n, limit = 0, min(len(a), len(b))
    while n < limit and a[n] == b[n]:
        n += 1
    return n
