"""From what the model wrote to what is shown, by one filter after the other; each has a name.

Pure functions over strings. The order matters: a repetition is cut before what is left is compared
with what stands around the cursor, and brackets are balanced last.
"""

import re
from dataclasses import dataclass

from .balance import closed, without_unopened
from .brackets import auto_closed, merge_closers
from .indentation import indented
from .overlap import repeats_above, trim_overlap
from .repetition import without_repetition
from .surroundings import Surroundings, unix

__all__ = ["Shown", "auto_closed", "merge_closers", "shown"]

CUT_SHORT = ("max_tokens", "length", "time", "context")  # reasons for which a text ends anywhere
_GOES_ON = re.compile(r"[\w)\]}\"'`$]\Z")  # what a word cannot stand behind


@dataclass(frozen=True)
class Shown:
    """`text` is what is left; if nothing is, `reason` names the filter that took the last of it.

    `filters` are all that have changed something.
    """

    text: str
    reason: str = ""
    filters: tuple[str, ...] = ()


def shown(written: str, at: Surroundings, stop_reason: str = "") -> Shown:
    """What of a text is shown at a cursor. `stop_reason`: why it ended."""
    cut_short = stop_reason in CUT_SHORT
    text, fired = unix(written).replace("\r", ""), []
    steps = (
        ("blank", lambda text: _tidy(text, at)),
        ("repetition", lambda text: without_repetition(text, at.line_before, cut_short)),
        ("brackets", lambda text: without_unopened(text, at)),
        ("suffix", lambda text: trim_overlap(text, at.after, at.line_before, at.language)),
        ("suffix", lambda text: "" if _is_closers(text, at) else text),
        ("above", lambda text: "" if repeats_above(text, at.line_before, at.above) else text),
        ("indentation", lambda text: indented(text, at)),
        ("brackets", lambda text: closed(text, at, cut_short)),
        ("mid-word", lambda text: "" if _runs_into_word(text, at) else text),
        ("blank", lambda text: _tidy(text, at)),
    )
    for name, step in steps:
        changed = step(text)
        if changed != text and name != "blank":
            fired.append(name)
        if not changed.strip():
            return Shown("", name if text.strip() else "blank", tuple(fired))
        text = changed
    return Shown(text, "", tuple(fired))


def _tidy(text: str, at: Surroundings) -> str:
    """Without blanks at the end, unless a word follows that they keep apart."""
    tidy = text.rstrip()
    return tidy + " " if at.ends and "\n" not in text and text.endswith(" ") else tidy


def _is_closers(text: str, at: Surroundings) -> bool:
    """Whether it would only write again what the editor has closed."""
    merged = merge_closers(text, at.closers, at.language, at.state.stack)
    return bool(at.closers) and merged.strip() == at.closers.strip()


def _runs_into_word(text: str, at: Surroundings) -> bool:
    """Whether it would make one word with the one that stands behind it, or no sense with it."""
    return bool(at.ends) and ("\n" in text or _GOES_ON.search(text) is not None)
