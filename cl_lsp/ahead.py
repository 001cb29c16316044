"""What a document will be when a suggestion is accepted: what is asked for ahead of the request.

Behind a line that is finished nothing is to be suggested, so that the next request of use is the
one after Enter. Nobody has to be asked for either.
"""

import re
from dataclasses import replace

from .completion import Suggestion
from .documents import Snapshot
from .indentation import READ, Style, style_of
from .lines import opens_block
from .surroundings import line_end

ENDED = ("line", "block")  # rules by which the engine has ended a text where nothing is missing
# What ends a block: editors go one step back behind it.
LEAVES = re.compile(r"\s*(?:return|raise|break|continue|pass)\b")


def accepted(snapshot: Snapshot, found: Suggestion) -> Snapshot:
    """The document with the suggestion in it, and the cursor behind what was written."""
    offset = snapshot.offset
    text = snapshot.text[:offset] + found.text + snapshot.text[offset + found.replaced :]
    return replace(snapshot, text=text, offset=offset + len(found.text), line=None)


def expected(snapshot: Snapshot, found: Suggestion) -> Snapshot:
    """The state of the next request of use, if the suggestion is accepted."""
    after = accepted(snapshot, found)
    return entered(after) if finishes(after, found) else after


def finishes(after: Snapshot, found: Suggestion) -> bool:
    """Whether nothing is to be suggested at the end of `found`, where `after` is."""
    whole = found.stop_reason in ENDED and not found.filters and not after.line_after.strip()
    return whole and not opens_block(after.line_before, after.language)


def entered(snapshot: Snapshot) -> Snapshot:
    """With Enter pressed, and the new line indented as editors do."""
    before, line = snapshot.before, snapshot.line_before
    style = style_of(before[-READ:]) or Style()
    columns = style.columns(line)
    if snapshot.language == "python" and LEAVES.match(line):
        columns = max(0, columns - style.step)
    new = line_end(snapshot) + style.blanks(columns)
    text = before + new + snapshot.after
    return replace(snapshot, text=text, offset=len(before) + len(new), line=None)
