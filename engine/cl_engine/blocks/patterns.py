"""What the lexer looks for next: the rows of `languages.py` as regular expressions.

The group `begun` matches at the end of the text only: what more text may yet make a token of. So
what is found never depends on how much of the text has come.
"""

import re
from dataclasses import replace
from functools import lru_cache

from .languages import Language, Text, begun


@lru_cache(64)
def tagged(text: Text, tag: str) -> Text:
    return replace(text, closer=text.closer % tag)


@lru_cache(256)
def tokens(mode: Text | Language, final: bool) -> re.Pattern[str]:
    """What to look for next. Its group `begun` is what only more text can tell."""
    if isinstance(mode, Text):
        entries, groups, unsure = mode.holes, *_text_groups(mode)
    else:
        entries, groups, unsure = mode.entries, *_code_groups(mode)
    groups += [(f"entry{n}", entry.opener) for n, entry in enumerate(entries)]
    unsure += [entry.begun for entry in entries]
    if not final:
        groups.insert(0, ("begun", _any(unsure)))
    # What begins no token is skipped at once: reading is three times as fast.
    skip, other = r"[\w \t.,;:=+!%^~&|@>]*+", r"[\s\S]"
    if isinstance(mode, Text) and mode.heredoc:
        skip, other = "", r"[^\n]++"
    elif isinstance(mode, Text):
        firsts = mode.closer[:1] + "".join(hole.opener.lstrip("\\")[0] for hole in mode.holes)
        skip = rf"[^\\\n{re.escape(firsts)}]*+"
    elif mode.words:
        words = "|".join({*mode.words, *mode.words.values()})
        words = rf"(?:{words})(?!\w)" + ("" if final else r"|\w*\Z")
        skip = rf"(?:[ \t.,;:=+!%^~&|@>]|(?!{words})\w++)*+"
    tokens = "|".join(f"(?P<{name}>{pattern})" for name, pattern in (*groups, ("other", other)))
    return re.compile(rf"{skip}(?:{tokens}|\Z)")


def _text_groups(text: Text) -> tuple[list[tuple[str, str]], list[str]]:
    closer, unsure = re.escape(text.closer) or r"(?!)", [begun(text.closer)]
    groups = []
    if text.escapes:
        groups.append(("escape", r"\\[\s\S]"))
        unsure.append(r"\\\Z")
    if text.doubled:
        groups.append(("doubled", closer * 2))
        unsure.append(rf"{closer}\Z")
    if text.heredoc:
        unsure = [rf"(?m:^)[ \t]*(?:{closer}\Z|{begun(text.closer) or '(?!)'})"]
        closer = rf"(?m:^)[ \t]*{closer}(?!\w)"
    return [*groups, ("closer", closer), ("newline", r"\n")], unsure


def _code_groups(language: Language) -> tuple[list[tuple[str, str]], list[str]]:
    opens, closes, unsure = r"[(\[{]", r"[)\]}]", [r"\\\Z"]
    escape = r"\\\n"
    if language.words:
        escape = r"\\[\s\S]"
        word = r"(?<![\w$./-])(?:%s)(?![\w./=-])"
        opens += "|" + word % "|".join(language.words)
        closes += "|" + word % "|".join(set(language.words.values()))
        for name in {*language.words, *language.words.values()}:
            unsure.append(rf"(?<![\w$./-])(?:{name}\Z|{begun(name)})")
    return [("escape", escape), ("open", opens), ("close", closes), ("newline", r"\n")], unsure


@lru_cache(32)
def leads(language: Language, final: bool) -> re.Pattern[str]:
    """What a line may begin with that matters; `begun` as above."""
    names = (*language.joins, *language.labels, *language.closers)
    whole = [re.escape(name) + (r"(?!\w)" if name.isalpha() else "") for name in names]
    unsure = [] if final else [rf"{name}\Z" for name in names if name.isalpha()]
    unsure += [] if final else [begun(name) for name in names if len(name) > 1]
    return re.compile(rf"(?P<begun>{_any(unsure)})|(?P<lead>{_any(whole)})")


def _any(patterns: list[str]) -> str:
    return "|".join(filter(None, patterns)) or r"(?!)"
