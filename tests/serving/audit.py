"""Everything that must hold in a radix tree, for tests; the engine itself only counts pages."""

from collections import Counter

from cl_engine.radix import Lease, RadixTree, _current


def check_everything(tree: RadixTree, leases: list[Lease]) -> None:
    """Slowly: all that must hold between the tree, its pages and all `leases` there are."""
    tree.check_integrity()
    pages, nodes = tree._pages, [tree._root]
    for node in nodes:
        nodes += node.children.values()
    del nodes[0]
    for node in nodes:
        parent, tokens = node.parent, node.tokens
        assert parent and parent.children.get(tokens) is node, f"{node} is misplaced"
        whole = len(tokens) == pages.size
        assert whole or tokens and not node.children and not node.locks, f"{node} is not full"
        assert parent.locks or not node.locks, f"{node} is locked, its parent is not"
        assert parent is tree._root or parent.used >= node.used, f"{node} is too recent"
        same = [key for key in parent.children if key[: len(tokens)] == tokens]
        assert same == [tokens], f"{node} is the beginning of another: {same}"
    for lease in leases:
        above, table = [tree._root, *lease.nodes[:-1]], lease.pages[: len(lease.nodes)]
        straight = not lease.nodes or [node.parent for node in lease.nodes] == above
        assert straight, f"{lease} has not a path of the tree"
        assert [node.page for node in lease.nodes] == table, f"{lease} has other pages"
    locks = Counter(node for lease in leases for node in lease.nodes)
    for node in nodes:
        assert node.locks == locks[node], f"{node} is held by {locks[node]} leases"
    own = [page for lease in leases for page in lease.pages[len(lease.nodes) :]]
    owned = [*own, *(node.page for node in nodes)]
    assert len(set(owned)) == len(owned), f"a page has two owners: {sorted(owned)}"
    assert not any(map(pages.is_free, owned)), f"a page in use is free: {sorted(owned)}"
    counts = (len(nodes), len(locks), len(own))
    assert counts == (tree._nodes, tree._locked, tree._own), f"the counts are {counts}"
    heap = tree._leaves
    listed = Counter(entry[2] for entry in filter(_current, heap))
    leaves = Counter(node for node in nodes if node.evictable)
    assert listed == leaves, "the heap does not have each unlocked leaf once"
    assert len(heap) <= 2 * pages.count, f"the heap has {len(heap)} entries"
    ordered = all(heap[(i - 1) // 2] <= heap[i] for i in range(1, len(heap)))
    assert ordered, "the heap is in no order"


def forget_unused(tree: RadixTree) -> None:
    """Evict all that no lease uses."""
    while tree._evict():
        pass
