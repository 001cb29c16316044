"""What is counted while someone types, and the faults of a suggestion. Pure."""

import re
import statistics
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from tests.replay.sheet import PAIRS, Sheet

# Strings and comments, whose brackets do not count, and brackets.
PYTHON = r"#[^\n]*|'''(?:.|\n)*?'''|\"\"\"(?:.|\n)*?\"\"\"|"
OTHERS = r"//[^\n]*|/\*(?:.|\n)*?\*/|`(?:\\.|[^`\\])*`|"
STRING = r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|[()\[\]{}]"
LEXEMES = {True: re.compile(PYTHON + STRING), False: re.compile(OTHERS + STRING)}


def unmatched(text: str, language: str) -> tuple[int, int]:
    """Brackets that nothing opens, and such that nothing closes."""
    opened: list[str] = []
    unopened = 0
    for found in LEXEMES[language == "python"].finditer(text):
        bracket = found[0]
        if bracket in PAIRS:
            opened.append(PAIRS[bracket])
        elif bracket in PAIRS.values():
            if opened and opened[-1] == bracket:
                opened.pop()
            else:
                unopened += 1
    return unopened, len(opened)


def unbalances(sheet: Sheet, text: str, replaced: int, language: str) -> bool:
    """Whether brackets match less with the suggestion than without, and than in the true text."""
    shown = sheet.before + text + sheet.after[replaced:]
    faults = [sum(unmatched(t, language)) for t in (shown, sheet.text, sheet.true_text)]
    return faults[0] > max(faults[1:])


def repeats(sheet: Sheet, text: str, replaced: int, language: str) -> bool:
    """Whether the suggestion's end is what stands after the cursor, and the true text's is not.

    A whole last line that equals the next one; or the rest of the line, if it is words, or closing
    brackets that are too many.
    """
    after = sheet.after[replaced:]
    line_after, _, below = after.partition("\n")
    rest = line_after.strip()
    if (sheet.todo + sheet.rest).startswith(text + after):
        return False
    if not rest:
        line = (sheet.before + text).rpartition("\n")[2].rstrip()
        following = next((x.rstrip() for x in below.split("\n") if x.strip()), "")
        return line == following and any(c.isalnum() for c in line)
    if not text.rstrip().endswith(rest):
        return False
    if any(c.isalnum() for c in rest):
        end = text.rstrip()[: -len(rest)]
        return len(rest) > 1 and not (rest[0].isalnum() and end[-1:].isalnum())
    cut = text.rstrip()[: -len(rest)]
    with_it, without = (unmatched(sheet.before + t + after, language)[0] for t in (text, cut))
    return with_it > without


@dataclass
class Tally:
    """Counts of one run. `plain_keys` are what it would take without any suggestion."""

    holes: int = 0
    characters: int = 0
    plain_keys: int = 0
    keys: int = 0
    spent: list[int] = field(default_factory=list)  # keys of each hole
    requests: int = 0
    late: int = 0  # the next key came first
    shown: int = 0
    accepted: int = 0
    accepted_characters: int = 0
    faults: list[tuple[str, str, str, str]] = field(default_factory=list)  # and where
    by: Counter[str] = field(default_factory=Counter)  # what answered without the engine
    silent: Counter[str] = field(default_factory=Counter)  # by reason
    took_ms: list[float] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)  # tokens of each prompt that were not cached

    def __add__(self, other: "Tally") -> "Tally":
        names = (each.name for each in fields(self))
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def faulty(self, fault: str) -> int:
        return sum(name == fault for name, *_ in self.faults)

    def result(self) -> dict[str, Any]:
        """As the line of the bench has it; shares are of requests, or of what was shown."""
        free = {name: share(self.by[name], self.requests) for name in WITHOUT_ENGINE}
        return {
            "holes": self.holes,
            "characters": self.characters,
            "requests": self.requests,
            "shown": self.shown,
            "accepted": self.accepted,
            "accepted_characters": self.accepted_characters,
            "saved_keys": share(self.plain_keys - self.keys, self.plain_keys),
            "repeated_suffix": share(self.faulty("repeats"), self.shown),
            "unbalanced": share(self.faulty("unbalances"), self.shown),
            "without_engine": free | {"all": round(sum(free.values()), 4)},
            "late": share(self.late, self.requests),
            "ms": {"p50": percentile(self.took_ms, 50), "p95": percentile(self.took_ms, 95)},
            "computed_tokens": {
                "p50": percentile(self.computed, 50),
                "mean": round(statistics.fmean(self.computed), 1) if self.computed else 0.0,
            },
            "silent": dict(sorted(self.silent.items())),
        }


def gain(whole: Tally, without: Tally) -> dict[str, float]:
    """What a feature brings: shares of keys and requests; keys a hole and their standard error."""
    keys = [b - a for a, b in zip(whole.spent, without.spent, strict=True)]
    error = statistics.stdev(keys) / len(keys) ** 0.5 if len(keys) > 1 else 0.0
    one, other = whole.result(), without.result()
    return {
        "saved_keys": round(one["saved_keys"] - other["saved_keys"], 4),
        "keys_per_hole": round(statistics.fmean(keys), 3),
        "error": round(error, 3),
        "without_engine": round(one["without_engine"]["all"] - other["without_engine"]["all"], 4),
    }


WITHOUT_ENGINE = ("typed", "prefetched", "adopted")


def share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def percentile(values: list[Any], percent: int) -> float:
    """The smallest value that so many percent do not exceed."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return round(ordered[max(0, -(-len(ordered) * percent // 100) - 1)], 2)
