"""A document under the hands of one who knows what is to be written: pure edits of strings.

Each key is the true text's next; what an editor does by itself (indent a new line, close a bracket
on the same line, type over it) takes no key. A suggestion is taken only if it is exactly what is to
be written next, whole, by its first line or by its first word.
"""

import re
from dataclasses import dataclass

PAIRS = {"(": ")", "[": "]", "{": "}"}
KEY = re.compile(r"\n[ \t]*|.", re.DOTALL)
WORD = re.compile(r"\s*(\w+|[^\w\s]+)")
BEFORE_CLOSED = ")]};,: \t"  # an editor closes a bracket in front of these, or at a line's end


@dataclass(frozen=True)
class Edit:
    """`text` in place of what stands between two offsets."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Sheet:
    """`todo` is what is still to be written at the cursor, `closers` what the editor wrote there.

    They are the closing brackets of what was opened, in the order in which `todo` has them.
    """

    before: str
    todo: str
    rest: str
    closers: str = ""

    @property
    def after(self) -> str:
        return self.closers + self.rest

    @property
    def text(self) -> str:
        return self.before + self.after

    @property
    def true_text(self) -> str:
        return self.before + self.todo + self.rest

    def written(self, count: int, closers: str) -> "Sheet":
        """With so many more characters of what is to be written, and these closers behind them."""
        done, todo = self.todo[:count], self.todo[count:]
        return Sheet(self.before + done, todo, self.rest, closers)


def press(sheet: Sheet, closes: bool = True) -> tuple[Sheet, Edit]:
    """One key. `closes`: whether the editor closes brackets."""
    found = KEY.match(sheet.todo)
    assert found is not None
    key, at = found[0], len(sheet.before)
    if sheet.closers and key == sheet.closers[0]:
        return sheet.written(1, sheet.closers[1:]), Edit(at, at + 1, key)
    closer = PAIRS.get(key, "")
    room = sheet.after[:1] in ("", "\n", *BEFORE_CLOSED)
    if not (closes and closer and room and needs(sheet.todo[1:]).startswith(closer)):
        closer = ""
    return sheet.written(len(key), closer + sheet.closers), Edit(at, at, key + closer)


def presses(todo: str) -> int:
    """Keys that it takes without any suggestion."""
    return len(KEY.findall(todo))


def accept(sheet: Sheet, text: str, replaced: int) -> tuple[Sheet, Edit, int] | None:
    """Take a suggestion with one key, if that leaves what is to be; the sheet, the edit, the keys.

    A second key brings the cursor back where the text ends behind what is to be written next.
    """
    at = len(sheet.before)
    now = text + sheet.after[replaced:]
    for left in range(len(sheet.closers) + 1):
        closers = sheet.closers[len(sheet.closers) - left :]
        count = len(now) - len(sheet.rest) - left
        right = now == sheet.todo[:count] + closers + sheet.rest
        if 0 < count <= len(sheet.todo) and right and needs(sheet.todo[count:]).startswith(closers):
            keys = 1 + (count != len(text))
            return sheet.written(count, closers), Edit(at, at + replaced, text), keys
    return None


def accept_part(sheet: Sheet, text: str) -> tuple[Sheet, Edit, int] | None:
    """Take the first line or the first word of a suggestion, if that is right and saves keys."""
    line, below, _ = text.partition("\n")
    word = WORD.match(text)
    at = len(sheet.before)
    for part in (line if below else "", word[0] if word else ""):
        right = sheet.todo.startswith(part) and _opens_what_it_closes(part)
        if right and presses(part) > 1:
            return sheet.written(len(part), sheet.closers), Edit(at, at, part), 1
    return None


def needs(todo: str) -> str:
    """The closing brackets on its first line that nothing in it opens."""
    opened: list[str] = []
    found = ""
    for character in todo.partition("\n")[0]:
        if character in PAIRS:
            opened.append(PAIRS[character])
        elif character in PAIRS.values():
            if not opened:
                found += character
            elif opened.pop() != character:
                break
    return found


def _opens_what_it_closes(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character in PAIRS) - (character in PAIRS.values())
        if depth < 0:
            return False
    return True
