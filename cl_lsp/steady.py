"""The snippets of a document stay the same while one types: what the engine has cached holds.

They are chosen anew where that costs nothing, as the cache is of no use there anyway, and the
cursor is at other code; and for the same place again when another file is other than it was. So
they depend on the documents, the index and where one has been, and on nothing that runs beside.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from .index import Index
from .snippets import Place, Snippet, of_definitions

FAR = 32  # lines; less is the same code
START = 200  # characters that tell whether a window begins where the last one did
BACK = 20_000  # characters before the cursor in which its top-level code is looked for
NEEDED = 3  # definitions of the nearest names, any of which is worth a new choice
UNREAD = -2  # in place of a change: nothing of the folder has been read as a whole
IMPORTED = -1  # what the open files import has been

Choose = Callable[[Place], tuple[Snippet, ...]]


@dataclass(frozen=True)
class Chosen:
    """What was chosen for a document and for which place, the last change in the index by then, and
    the edges of the window that was sent last."""

    snippets: tuple[Snippet, ...]
    place: Place
    change: int
    start: str
    suffix: str


class Steady:
    """The last choice for each document, by its URI."""

    def __init__(self) -> None:
        self._of: dict[str, Chosen] = {}

    def get(
        self, uri: str, index: Index, place: Place, choose: Choose, keep: bool = True
    ) -> tuple[Snippet, ...]:
        """The snippets for a request at `place`; `choose` gives new ones.

        None before what the open files import has been read: which files come first is chance.
        Without `keep` the choice binds no later one.
        """
        last, start, change = self._of.get(uri), place.prefix[:START], _change(index, place)
        if last is not None and last.change != change:
            last = replace(last, snippets=choose(last.place), change=change)
        if last is None or not self._serves(last, index, place):
            snippets = choose(place) if change != UNREAD else ()
            last = Chosen(snippets, place, change, start, place.suffix)
        if keep:
            self._of[uri] = replace(last, start=start, suffix=place.suffix)
        return tuple(s for s in last.snippets if s.path in index)

    def forget(self, uri: str) -> None:
        self._of.pop(uri, None)

    def _serves(self, last: Chosen, index: Index, place: Place) -> bool:
        """Whether the choice suits a place: one types there, or it is the same code, whose window
        the engine has to read anew."""
        known = min(START, len(place.prefix), len(last.start))  # of a short text it grows
        if last.suffix == place.suffix and last.start[:known] == place.prefix[:known]:
            return True
        far = abs(_line(place) - _line(last.place)) > FAR
        if far or _block(place) != _block(last.place):
            return False
        if last.change == UNREAD:
            return True
        shown = set(last.snippets)
        needed = (s for s, _ in zip(of_definitions(index, place), range(NEEDED), strict=False))
        return all(s in shown or _stands_in(s, place) for s in needed)


def _stands_in(snippet: Snippet, place: Place) -> bool:
    head = snippet.text.split("\n", 1)[0]
    return head in place.prefix or head in place.suffix


def _change(index: Index, place: Place) -> int:
    """What tells of more or of other files there: with another, a choice is made anew."""
    if index.ready:
        return index.change(place.path)
    return IMPORTED if index.near else UNREAD


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
