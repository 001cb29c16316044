"""A suggestion leaves the document's brackets balanced: it is cut, or its own blocks are closed."""

from .surroundings import Surroundings
from .syntax import Open, events


def without_unopened(text: str, at: Surroundings) -> str:
    """`text` up to where it closes what is not open, or what stands closed behind the cursor."""
    stack = list(at.state.stack)
    depth, closed = len(stack), 0
    standing, _ = at.standing
    most = depth - standing
    for event in events(at.row, text, 0, stack):
        mark = event.what.closer
        if event.kind == "unmatched" and (at.state.whole or mark != "}"):
            return text[: event.at]
        if event.kind == "close" and event.depth < depth:
            if mark == "\n":  # a line end ends a string or comment, closed or not
                most -= 1
            elif (closed := closed + depth - event.depth) > most:
                return text[: event.at]
            depth = event.depth
    return text


def closed(text: str, at: Surroundings, cut_short: bool) -> str:
    """`text` with what it has opened itself closed, where it cannot stay open.

    On the cursor's line, if more stands there; a block of several lines that was `cut_short` loses
    its unfinished line, and then its braces are closed.
    """
    if "\n" not in text:
        if not at.closers.strip() and not at.line_after.strip():
            return text
        own = _own(text, at)
        comment = next((start for start, item in own if not item.closer), None)
        if comment is not None:
            return text[:comment].rstrip()
        return text + "".join(item.closer for _, item in reversed(own))
    if cut_short:
        whole = text.rpartition("\n")[0].rstrip()
        text = whole if whole.strip() else text
    while own := _own(text, at):
        weak = [start for start, item in own if item.closer != "}"]
        if not weak:
            return _with_braces(text, [start for start, _ in own], at)
        line = text.rfind("\n", 0, weak[0])
        if line < 0 or not text[:line].strip():
            return text
        text = text[:line].rstrip()
    return text


def _own(text: str, at: Surroundings) -> list[tuple[int, Open]]:
    """What `text` opens and does not close, and where it begins."""
    stack = list(at.state.stack)
    depth = len(stack)
    own: list[tuple[int, Open]] = []
    for event in events(at.row, text, 0, stack):
        depth = min(depth, event.depth) if event.kind == "close" else depth
        if event.kind == "open":
            own.append((event.at, event.what))
        elif event.kind == "close":
            own = own[: max(0, event.depth - depth)]
    # A line comment is over where the text ends, and a string's closer is its quote.
    return [item for item in own if item[1].closer or not item[1].text or "\n" not in text]


def _with_braces(text: str, starts: list[int], at: Surroundings) -> str:
    """`text` and a line for each brace that it opens at `starts`, but for one that stands below."""
    standing = at.below[0] if at.below and (at.standing[1] or not at.state.whole) else ""
    for start in reversed(starts):
        line = (at.line_before + text)[: len(at.line_before) + start].rpartition("\n")[2]
        indent = line[: len(line) - len(line.lstrip())]
        if standing.startswith(indent + "}"):
            return text
        text += f"\n{indent}}}"
    return text
