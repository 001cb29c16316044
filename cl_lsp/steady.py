"""The snippets of a document stay the same while one types: what the engine has cached holds.

They are chosen anew where that costs nothing, as the cache is of no use there anyway, and the
cursor is at other code; and at once without what has left the index.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from .index import Index
from .snippets import Place, Snippet, of_definitions

FAR = 32  # lines; less is the same code
START = 200  # characters that tell whether a window begins where the last one did
BACK = 20_000  # characters before the cursor in which its top-level code is looked for
NEEDED = 3  # definitions of the nearest names, any of which is worth a new choice

Choose = Callable[[Place], tuple[Snippet, ...]]


@dataclass(frozen=True)
class Chosen:
    """What was chosen for a document, where, and the edges of the window that was sent last."""

    snippets: tuple[Snippet, ...]
    line: int
    block: str
    stage: int  # of the index
    start: str
    suffix: str


class Steady:
    """The last choice for each document, by its URI."""

    def __init__(self) -> None:
        self._of: dict[str, Chosen] = {}

    def get(self, uri: str, index: Index, place: Place, choose: Choose) -> tuple[Snippet, ...]:
        """The snippets for a request at `place`; `choose` gives new ones."""
        last = self._of.get(uri)
        start = place.prefix[:START]
        if last is not None:
            there = tuple(s for s in last.snippets if s.path in index)
            last = replace(last, snippets=there)
            known = min(len(start), len(last.start))  # of a short text it grows
            typing = last.suffix == place.suffix and last.start[:known] == start[:known]
            if last.stage >= _stage(index) and (typing or self._serves(last, index, place)):
                self._of[uri] = replace(last, start=start, suffix=place.suffix)
                return there
        snippets = _in_order(last.snippets if last else (), choose(place))
        line, block = _line(place), _block(place)
        self._of[uri] = Chosen(snippets, line, block, _stage(index), start, place.suffix)
        return snippets

    def forget(self, uri: str) -> None:
        self._of.pop(uri, None)

    def _serves(self, last: Chosen, index: Index, place: Place) -> bool:
        """Whether the choice suits a place whose window the engine has to read anew."""
        if abs(_line(place) - last.line) > FAR or _block(place) != last.block:
            return False
        shown = set(last.snippets)
        needed = (s for s, _ in zip(of_definitions(index, place), range(NEEDED), strict=False))
        return all(s in shown or _stands_in(s, place) for s in needed)


def _in_order(old: tuple[Snippet, ...], new: tuple[Snippet, ...]) -> tuple[Snippet, ...]:
    """The new ones; those that were there before keep their order, in front."""
    stay = tuple(snippet for snippet in old if snippet in new)
    return stay + tuple(snippet for snippet in new if snippet not in stay)


def _stands_in(snippet: Snippet, place: Place) -> bool:
    head = snippet.text.split("\n", 1)[0]
    return head in place.prefix or head in place.suffix


def _stage(index: Index) -> int:
    """How much of it is there: with more, a choice is worth another one."""
    return index.near + index.ready


def _line(place: Place) -> int:
    return place.text.count("\n", 0, place.offset)


def _block(place: Place) -> str:
    """The line that begins the top-level code which the cursor is in; empty if it is far away."""
    text, at = place.text, place.offset
    first = max(0, at - BACK)
    while (at := text.rfind("\n", first, at)) >= 0:
        if text[at + 1 : at + 2].isalpha() or text[at + 1 : at + 2] == "@":
            break
    if at < 0 < first:
        return ""
    return text[at + 1 : text.find("\n", at + 1)]
