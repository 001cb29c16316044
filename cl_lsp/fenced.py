"""Code in a model's answer: its fenced blocks, and which of them is the one that was asked for.

What is not told to be code is never taken for it.
"""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from .errors import ClLspError
from .structure import lines_of

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*$")
# Shells' and tools' output beside the code that was asked for.
ASIDE = {"text", "txt", "output", "console", "shell", "shellscript", "sh", "bash", "diff", "json"}
TEXTS = re.compile(r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|/\*[\s\S]*?\*/|(?:#|//).*')
PROSE = re.compile(r"\s*(?:[-*]\s+|\d+\.\s+)?[A-Z`][\w'`-]*(?:,?\s+[\w'`-]+){3,}.*[.:!?]\s*$")
WORD = re.compile(r"\w+")
MAX_WORDS = 500  # that are compared: it takes the square of them
NEAR, APART = 0.5, 0.2  # how alike the old code a block must be, and how much more than the others


class NoCode(ClLspError):
    """An answer that changes nothing; the message says why."""


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is its opening fence's."""

    language: str
    text: str
    line: int


def blocks(markdown: str) -> list[Block]:
    """All of them, also one that the end of the text ends.

    >>> [(b.language, b.text) for b in blocks("Here:\\n```py\\nx = 1\\n```\\n~~~\\ny")]
    [('py', 'x = 1\\n'), ('', 'y')]
    """
    found: list[Block] = []
    opener, language, begun, inside = "", "", 0, list[str]()
    for number, line in enumerate(lines_of(markdown)):
        fence = FENCE.match(line.rstrip())
        if not opener:
            if fence:
                opener, language, begun, inside = fence[1], fence[2], number, []
        elif fence and fence[1].startswith(opener) and not fence[2]:
            found.append(Block(language, "".join(inside), begun))
            opener = ""
        else:
            inside.append(line)
    if opener:
        found.append(Block(language, "".join(inside), begun))
    return found


def fence(code: str, language: str) -> str:
    """Code as a fenced block, whatever fences are in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    ticks = "`" * (longest + 1)
    code = code if code.endswith(("\n", "\r")) or not code else code + "\n"
    return f"{ticks}{language}\n{code}{ticks}"


def unclosed(markdown: str) -> str:
    """The fence that would close the last block, if it is open.

    >>> unclosed("~~~~py\\nx = 1"), unclosed("```\\n```")
    ('~~~~', '')
    """
    opener = ""
    for line in lines_of(markdown):
        if found := FENCE.match(line.rstrip()):
            closes = found[1].startswith(opener) and not found[2]
            opener = found[1] if not opener else "" if closes else opener
    return opener


def code_of(answer: str, old: str, language: str) -> str:
    """The code that an answer gives in place of `old`. Raises NoCode, with the reason."""
    if not answer.strip():
        raise NoCode("the model answered nothing")
    found = [block.text for block in blocks(answer) if block.text.strip()]
    if not found:
        return _unfenced(answer, old)
    if len(found) == 1:
        return found[0]
    wanted = [b.text for b in blocks(answer) if b.text.strip() and not _aside(b, language)]
    others = [text for text in wanted if text.strip() != old.strip()]
    if len(others) == 1:
        return others[0]
    if wanted and not others:
        return wanted[0]
    ranked = sorted(((_alike(old, text), text) for text in others), reverse=True)
    if not ranked or ranked[0][0] < NEAR or ranked[0][0] - ranked[1][0] < APART:
        raise NoCode(f"the answer has {len(found)} code blocks, and none is clearly the one")
    return ranked[0][1]


def _unfenced(answer: str, old: str) -> str:
    """The answer, if it is the code and nothing else."""
    stripped = [line.strip() for line in lines_of(answer) if line.strip()]
    known = {line.strip() for line in lines_of(old) if line.strip()}
    code = TEXTS.sub("", answer)
    if known.isdisjoint(stripped) or any(PROSE.match(line) for line in lines_of(code)):
        raise NoCode("the answer has no code block")
    return answer


def _aside(block: Block, language: str) -> bool:
    return block.language in ASIDE and block.language != language


def _alike(one: str, other: str) -> float:
    words = [WORD.findall(text)[:MAX_WORDS] for text in (one, other)]
    return SequenceMatcher(None, *words, autojunk=False).ratio()
