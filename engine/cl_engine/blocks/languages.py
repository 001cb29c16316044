"""What the lexer knows about each language: one row of facts, no code.

Only what decides where a block ends: what begins a string or a comment and what ends it, which
brackets and words enclose blocks, and which words at the beginning of a line go on with what was
closed. Keys are the language ids of LSP; what is not in the table is read by `PLAIN`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple


@dataclass(frozen=True, eq=False)
class Text:
    """A string or a comment. `%s` in `closer` is what stood in the opener's group `tag`."""

    closer: str = ""
    lines: bool = False  # it goes over line ends; otherwise a line end ends it
    escapes: bool = True  # a backslash takes the next character
    doubled: bool = False  # the closer twice is the closer's character
    heredoc: bool = False  # the closer stands alone at the beginning of a line
    comment: bool = False
    holes: tuple["Entry", ...] = ()  # where code begins in it


class Entry(NamedTuple):
    """What opens what: a text, or a bracket, given by its closer."""

    opener: str  # a regular expression
    what: Text | str | None  # None: the same text again, nested
    begun: str = ""  # what may become the opener, at the end of what has been written
    holds: Callable[[str, int], bool] = lambda text, at: True  # whether it is one, at this offset


@dataclass(frozen=True, eq=False)
class Language:
    """What matters of a language here. Patterns are regular expressions."""

    entries: tuple[Entry, ...]
    braces: bool = True  # enclose blocks; otherwise the indentation says where they end
    words: Mapping[str, str] = field(default_factory=dict)  # a shell's: what closes what
    joins: tuple[str, ...] = ()  # what goes on with a block, at the beginning of a line
    labels: tuple[str, ...] = ()  # what is less deep than the block that it is in
    closers: tuple[str, ...] = ()  # there: what may close a block, where no more is known
    opens: str = r"(?!)"  # there: the end of a line that is followed by a deeper one
    around: tuple[tuple[Text, str, str], ...] = ()  # what a window may begin in; opener, closer
    quotes: tuple[Text, ...] = ()  # likewise, but with the same mark at both ends
    statement: str = ""  # a line that is code, and hardly a part of those
    grammar: tuple[str, str] | None = None  # of tree-sitter: module and function


def begun(literal: str) -> str:
    """A regular expression: the proper beginnings of `literal`, at the end of a text."""
    beginnings = (re.escape(literal[:n]) for n in range(len(literal) - 1, 0, -1))
    return rf"(?:{'|'.join(beginnings)})\Z" if len(literal) > 1 else ""


def _exact(literal: str, what: Text | str) -> Entry:
    return Entry(re.escape(literal), what, begun(literal))


def _is_regex(text: str, at: int) -> bool:
    """Whether the slash at `at` begins a regular expression, and does not divide."""
    before = text[max(0, at - 80) : at].rstrip()
    if (word := re.search(r"[\w$]+\Z", before)) is not None:
        return word.group() in _BEFORE_REGEX
    return before[-1:] not in (")", "]", "}", "<", '"', "'", "`")


_BEFORE_REGEX = frozenset(
    ["return", "typeof", "case", "in", "of", "delete", "void", "throw", "new", "else", "do"]
)

_LINE = Text(escapes=False, comment=True)
_COMMENT = Text("*/", lines=True, escapes=False, comment=True)
_C_COMMENTS = (_exact("//", _LINE), _exact("/*", _COMMENT))
_IN_COMMENT = ((_COMMENT, r"/\*", r"(?m:\*/[ \t]*$)"),)
_QUOTES = (Entry('"', Text('"')), Entry("'", Text("'")))
_C_JOINS = ("else", "elseif", "catch", "finally", "while")

_CPP = Language(
    entries=(
        Entry(
            r'(?<=R)"(?P<tag>[^()\\\s"]{0,16})\(',
            Text(')%s"', lines=True, escapes=False),
            r'(?<=R)"[^()\\\s"]{0,16}\Z',
        ),
        *_C_COMMENTS,
        Entry('"', Text('"')),
        Entry(r"(?<!\d)'", Text("'")),  # 1'000 is a number
    ),
    joins=_C_JOINS,
    labels=("public:", "protected:", "private:"),
    around=_IN_COMMENT,
    grammar=("tree_sitter_cpp", "language"),
)

_JAVA = Language(
    entries=(*_C_COMMENTS, _exact('"""', Text('"""', lines=True)), *_QUOTES),
    joins=_C_JOINS,
    around=_IN_COMMENT,
    grammar=("tree_sitter_java", "language"),
)

_CSHARP = Language(
    entries=(
        *_C_COMMENTS,
        Entry(r'(?:(?<=@)|(?<=@\$))"', Text('"', lines=True, escapes=False, doubled=True)),
        _exact('"""', Text('"""', lines=True, escapes=False)),
        *_QUOTES,
        Entry("#", _LINE),  # a directive
    ),
    joins=_C_JOINS,
    around=_IN_COMMENT,
    grammar=("tree_sitter_c_sharp", "language"),
)

_HTML = Text("<?", lines=True, escapes=False)
_PHP = Language(
    entries=(
        Entry(
            r"<<<[ \t]*(?P<quote>[\"']?)(?P<tag>[^\W\d]\w*)(?P=quote)",
            Text("%s", lines=True, escapes=False, heredoc=True),
            r"<{1,3}(?<=<<<)[ \t]*[\"']?\w*\Z|<{1,2}\Z",
        ),
        *_C_COMMENTS,
        _exact("?>", _HTML),
        Entry(r"#(?!\[)", _LINE, r"#\Z"),
        Entry('"', Text('"', lines=True)),
        Entry("'", Text("'", lines=True)),
    ),
    joins=_C_JOINS,
    around=((_HTML, r"\?>", r"<\?(?:php|=)"), *_IN_COMMENT),
    grammar=("tree_sitter_php", "language_php_only"),
)

_TEMPLATE = Text("`", lines=True, holes=(_exact("${", "}"),))
_JAVASCRIPT = Language(
    entries=(
        *_C_COMMENTS,
        Entry("`", _TEMPLATE),
        *_QUOTES,
        Entry("/", Text("/", holes=(_exact("[", Text("]")),)), holds=_is_regex),
    ),
    joins=_C_JOINS,
    around=_IN_COMMENT,
    quotes=(_TEMPLATE,),
    statement=r"(?m)^[ \t]*(?:(?:const|let|var) [\w{\[]+.*=|(?:async )?function \w|return\b"
    r"|(?:if|for|while|switch) \(|\}? ?(?:else|catch) |(?:import|export) .*[;{]$|class \w+.*\{$)",
    grammar=("tree_sitter_javascript", "language"),
)
_TYPESCRIPT = replace(_JAVASCRIPT, grammar=("tree_sitter_typescript", "language_typescript"))
_TSX = replace(_JAVASCRIPT, grammar=("tree_sitter_typescript", "language_tsx"))

_EXPANSION = Text(
    "}", lines=True, holes=(_exact("${", "")._replace(what=None), Entry('"', Text('"', lines=True)))
)
_EXPANDED = Text('"', lines=True, holes=(_exact("$(", ")"), _exact("${", _EXPANSION)))
_LITERAL = Text("'", lines=True, escapes=False)
_BASH = Language(
    entries=(
        Entry(
            r"(?<!<)<<(?!<)-?[ \t]*(?P<quote>[\"']?)(?P<tag>[^\W\d]\w*)(?P=quote)",
            Text("%s", lines=True, escapes=False, heredoc=True),
            r"(?<!<)<(?:<-?[ \t]*[\"']?\w*)?\Z",
        ),
        _exact("${", _EXPANSION),
        Entry('"', _EXPANDED),
        Entry(r"(?<=\$)'", Text("'", lines=True)),
        Entry("'", _LITERAL),
        Entry(r"(?<![^\s;&|(])#", _LINE),
    ),
    words={"if": "fi", "case": "esac"} | dict.fromkeys(("for", "while", "until", "select"), "done"),
    joins=("else", "elif"),
    quotes=(_EXPANDED, _LITERAL),
    statement=r"(?m)^[ \t]*(?:(?:fi|then|done|esac|else)$|(?:if|elif|while|until) .*; (?:then|do)$"
    r"|case .* in$|for \w+ in .*|local \w+=|\w+ ?\(\) ?\{?$)",
    grammar=("tree_sitter_bash", "language"),
)

_TRIPLE = (Text('"""', lines=True), Text("'''", lines=True))
_PYTHON = Language(
    entries=(*(_exact(text.closer, text) for text in _TRIPLE), *_QUOTES, Entry("#", _LINE)),
    braces=False,
    joins=("else", "elif", "except", "finally"),
    opens=r":\Z",
    quotes=_TRIPLE,
    statement=r"(?m)^[ \t]*(?:(?:async )?def \w+\(|class \w+.*:$|return\b|@\w+|self\.\w|raise \w"
    r"|(?:from [\w.]+ )?import \w|(?:if|elif|for|while|with|except)\b.*:$|(?:else|try|finally):$"
    r"|\w[\w.\[\]]* [-+*/|]?= |\)(?: -> .*)?:$)",
    grammar=("tree_sitter_python", "language"),
)

PLAIN = Language(
    entries=(
        Entry(r"(?<!\S)//", _LINE, r"(?<!\S)/\Z"),
        Entry(r"(?<!\S)/\*", _COMMENT, r"(?<!\S)/\Z"),
        Entry(r"(?<!\S)--(?!-)", _LINE, r"(?<!\S)--?\Z"),
        Entry(r"(?<!\S)#", _LINE),
        Entry("`", Text("`", lines=True, escapes=False)),
        Entry('"', Text('"')),
        Entry(r"(?<!\w)'", Text("'")),  # not in don't
    ),
    braces=False,
    joins=("else", "elif", "elsif", "elseif", "except", "finally", "rescue", "ensure", "catch"),
    closers=("end", "fi", "done", "esac", "</", "}", ")", "]"),
    opens=r"(?:[:{(\[=]|->|=>|\b(?:do|then|else|begin|of|where))\Z",
)

LANGUAGES = {
    "python": _PYTHON,
    "c": _CPP,
    "cpp": _CPP,
    "java": _JAVA,
    "csharp": _CSHARP,
    "php": _PHP,
    "javascript": _JAVASCRIPT,
    "javascriptreact": _JAVASCRIPT,
    "typescript": _TYPESCRIPT,
    "typescriptreact": _TSX,
    "shellscript": _BASH,
}
