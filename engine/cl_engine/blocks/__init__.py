"""Where blocks end in text that is still being written.

`languages` has the facts, `patterns` makes regular expressions of them, `lexer` tells events,
`braced` and `indented` decide. `cursor` reads what stands around it, `grammar` may object.
"""

from .braced import Braced
from .cursor import last_end, read
from .indented import Indented
from .languages import LANGUAGES, PLAIN
from .lexer import Lexer

__all__ = ["LANGUAGES", "PLAIN", "Block", "Lexer", "block_at", "last_end"]

Block = Braced | Indented


def block_at(language: str, prefix: str, suffix: str) -> Block:
    """The rule for the block between `prefix` and `suffix`; `language` is an id of LSP."""
    row = LANGUAGES.get(language, PLAIN)
    return (Braced if row.braces else Indented)(read(row, prefix), prefix, suffix)
