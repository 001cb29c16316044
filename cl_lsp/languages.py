"""Quotes and comments of each language: one row of facts, no code. Keys are LSP's language ids.

What is not in the table is read by a row that fits most languages.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, eq=False)
class Text:
    """A string or a comment. `opener`, `hole` and `skips` are regular expressions.

    `bare`: what it begins with, to be counted where no scanner has been; empty: it is not.
    """

    opener: str
    closer: str
    lines: bool = False  # it goes over line ends; otherwise a line end ends it
    escapes: bool = True  # a backslash takes the next character
    comment: bool = False
    hole: str = ""  # where code begins in it; ends with the bracket
    skips: tuple[str, ...] = ()  # what is not the closer or a hole, although it looks so
    bare: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """`skip`: what is no quote, although it looks so. `loose`: closers that may close nothing."""

    texts: tuple[Text, ...]
    skip: str = ""
    loose: str = ""


def _line(opener: str) -> Text:
    return Text(opener, "", escapes=False, comment=True)


_DOUBLE, _SINGLE = Text('"', '"'), Text("'", "'")
# Where three of them mean something else.
_DOUBLE_3, _SINGLE_3 = Text('"(?!"")', '"'), Text("'(?!'')", "'")
_BLOCK = Text(r"/\*", "*/", lines=True, escapes=False, comment=True, bare="/*")
_SLASHES = _line("//")
_F = r"(?<!\w)(?:[fF][rR]?|[rR][fF])"
_BRACES = {"hole": r"\{", "skips": (r"\{\{",)}

_PYTHON = Row(
    (
        _line("#"),
        Text(_F + '"""', '"""', lines=True, **_BRACES),
        Text(_F + "'''", "'''", lines=True, **_BRACES),
        Text('"""', '"""', lines=True, bare='"""'),
        Text("'''", "'''", lines=True, bare="'''"),
        Text(_F + '"(?!"")', '"', **_BRACES),
        Text(_F + "'(?!'')", "'", **_BRACES),
        _DOUBLE_3,
        _SINGLE_3,
    )
)
_CPP = Row(
    (
        _SLASHES,
        _BLOCK,
        Text(r'R"\(', ')"', lines=True, escapes=False),
        _DOUBLE,
        replace(_SINGLE, opener=r"(?<![0-9a-fA-F])'"),  # 1'000 is a number
    )
)
_JAVA = Row((_SLASHES, _BLOCK, Text('"""', '"""', lines=True, bare='"""'), _DOUBLE_3, _SINGLE))
_CSHARP = Row(
    (
        _SLASHES,
        _BLOCK,
        Text(r'(?:@\$|\$@)"', '"', lines=True, escapes=False, hole=r"\{", skips=('""', r"\{\{")),
        Text('@"', '"', lines=True, escapes=False, skips=('""',)),
        Text('"""', '"""', lines=True, escapes=False, bare='"""'),
        Text(r'\$"', '"', **_BRACES),
        _DOUBLE_3,
        _SINGLE,
        _line("#"),
    )
)
_PHP = Row(
    (
        _SLASHES,
        _BLOCK,
        _line(r"#(?!\[)"),
        Text('"', '"', lines=True, hole=r"\{(?=\$)"),
        replace(_SINGLE, lines=True),
    )
)
# A slash that begins a regular expression follows what cannot end a value.
_REGEX = (
    r"(?:(?<=[(,=:\[!&|?{};\n])|(?<=[(,=:\[!&|?{};\n] )|(?<=return ))"
    r"/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/"
)
_JAVASCRIPT = Row(
    (_SLASHES, _BLOCK, Text("`", "`", lines=True, hole=r"\$\{", bare="`"), _DOUBLE, _SINGLE),
    skip=_REGEX,
)
# Text between tags has apostrophes.
_JSX = replace(_JAVASCRIPT, skip=_REGEX + r"|(?<=\w)'(?=\w)")
_BASH = Row(
    (
        _line(r"(?<![^\s;&|(])#"),
        Text('"', '"', lines=True, hole=r"\$[({]"),
        Text(r"\$'", "'", lines=True),
        Text("'", "'", lines=True, escapes=False),
    ),
    skip=r"\\[\s\S]|\$#",
    loose=")",  # of a pattern in a `case`
)
_GO = Row((_SLASHES, _BLOCK, Text("`", "`", lines=True, escapes=False, bare="`"), _DOUBLE, _SINGLE))
_RUST = Row((_SLASHES, _BLOCK, replace(_DOUBLE, lines=True)), skip=r"'(?:\\[^'\n]+|[^'\\\n])'")
_LUA = Row((Text(r"--\[\[", "]]", lines=True, comment=True), _line("--"), _DOUBLE, _SINGLE))
_HASH = Row((_line(r"(?<!\S)#"), _DOUBLE, replace(_SINGLE, opener=r"(?<!\w)'")))
_PLAIN = Row(
    (
        _line(r"(?<!\S)(?://|#|--(?!-))"),
        replace(_BLOCK, opener=r"(?<!\S)/\*"),
        _DOUBLE,
        replace(_SINGLE, opener=r"(?<!\w)'"),  # not in don't
    )
)
_PROSE = Row(())  # an apostrophe is none of its quotes

_ROWS = {
    "python": _PYTHON,
    "c": _CPP,
    "cpp": _CPP,
    "java": _JAVA,
    "kotlin": _JAVA,
    "scala": _JAVA,
    "csharp": _CSHARP,
    "php": _PHP,
    "javascript": _JAVASCRIPT,
    "typescript": _JAVASCRIPT,
    "javascriptreact": _JSX,
    "typescriptreact": _JSX,
    "shellscript": _BASH,
    "go": _GO,
    "rust": _RUST,
    "lua": _LUA,
    "ruby": _HASH,
    "yaml": _HASH,
    "toml": _HASH,
    "markdown": _PROSE,
    "plaintext": _PROSE,
    "latex": _PROSE,
}


def row_of(language: str) -> Row:
    """Of an id of LSP."""
    return _ROWS.get(language, _PLAIN)
