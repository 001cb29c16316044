"""What a source text defines and which names it uses, by tree-sitter's grammars.

Grammars are loaded when a language first comes; the language server itself loads none.
"""

import importlib
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from tree_sitter import Language, Node, Parser, Query, QueryCursor


class Definition(NamedTuple):
    """A named thing in lines `first` to `last`, both counted from 0; its head ends at `head`."""

    name: str
    first: int
    head: int
    last: int


@dataclass(frozen=True)
class Grammar:
    """Where a language's grammar is, and the query for what it defines."""

    module: str
    function: str
    query: str


_PYTHON = """
(class_definition name: (identifier) @name) @definition
(function_definition name: (identifier) @name) @definition
(module (expression_statement (assignment left: (identifier) @name) @definition))
(module (type_alias_statement left: (type (identifier) @name)) @definition)
"""
_JAVASCRIPT_ONLY = "(class_declaration name: (identifier) @name) @definition"
_JAVASCRIPT = """
(function_declaration name: (identifier) @name) @definition
(generator_function_declaration name: (identifier) @name) @definition
(method_definition name: (property_identifier) @name) @definition
(program [(lexical_declaration (variable_declarator name: (identifier) @name))
          (variable_declaration (variable_declarator name: (identifier) @name))] @definition)
(export_statement
  [(lexical_declaration (variable_declarator name: (identifier) @name))
   (variable_declaration (variable_declarator name: (identifier) @name))] @definition)
"""
_TYPESCRIPT = """
(class_declaration name: (type_identifier) @name) @definition
(abstract_class_declaration name: (type_identifier) @name) @definition
(interface_declaration name: (type_identifier) @name) @definition
(type_alias_declaration name: (type_identifier) @name) @definition
(enum_declaration name: (identifier) @name) @definition
(function_signature name: (identifier) @name) @definition
"""
_JAVA = """
(class_declaration name: (identifier) @name) @definition
(interface_declaration name: (identifier) @name) @definition
(enum_declaration name: (identifier) @name) @definition
(record_declaration name: (identifier) @name) @definition
(annotation_type_declaration name: (identifier) @name) @definition
(method_declaration name: (identifier) @name) @definition
"""
_CPP = """
(class_specifier name: (type_identifier) @name body: (_)) @definition
(struct_specifier name: (type_identifier) @name body: (_)) @definition
(union_specifier name: (type_identifier) @name body: (_)) @definition
(enum_specifier name: (type_identifier) @name body: (_)) @definition
(type_definition declarator: (type_identifier) @name) @definition
(alias_declaration name: (type_identifier) @name) @definition
(preproc_def name: (identifier) @name) @definition
(preproc_function_def name: (identifier) @name) @definition
(function_definition declarator: (_) @inside) @definition
(declaration declarator: (function_declarator) @inside) @definition
(declaration declarator: (pointer_declarator (function_declarator) @inside)) @definition
(field_declaration declarator: (function_declarator) @inside) @definition
"""
_CSHARP = """
(class_declaration name: (identifier) @name) @definition
(struct_declaration name: (identifier) @name) @definition
(interface_declaration name: (identifier) @name) @definition
(enum_declaration name: (identifier) @name) @definition
(record_declaration name: (identifier) @name) @definition
(delegate_declaration name: (identifier) @name) @definition
(method_declaration name: (identifier) @name) @definition
(property_declaration name: (identifier) @name) @definition
"""
_PHP = """
(class_declaration name: (name) @name) @definition
(interface_declaration name: (name) @name) @definition
(trait_declaration name: (name) @name) @definition
(enum_declaration name: (name) @name) @definition
(function_definition name: (name) @name) @definition
(method_declaration name: (name) @name) @definition
"""
_BASH = """
(function_definition name: (word) @name) @definition
(program (variable_assignment name: (variable_name) @name) @definition)
(program (declaration_command (variable_assignment name: (variable_name) @name)) @definition)
"""
_JS = Grammar("tree_sitter_javascript", "language", _JAVASCRIPT + _JAVASCRIPT_ONLY)
_TS, _TSX = (
    Grammar("tree_sitter_typescript", f"language_{kind}", _JAVASCRIPT + _TYPESCRIPT)
    for kind in ("typescript", "tsx")
)
_C = Grammar("tree_sitter_cpp", "language", _CPP)
GRAMMARS = {
    "py": Grammar("tree_sitter_python", "language", _PYTHON),
    **dict.fromkeys(("js", "jsx", "mjs", "cjs"), _JS),
    **dict.fromkeys(("ts", "mts", "cts"), _TS),
    "tsx": _TSX,
    "java": Grammar("tree_sitter_java", "language", _JAVA),
    **dict.fromkeys(("c", "h", "cc", "cpp", "cxx", "hh", "hpp", "hxx", "cu", "cuh"), _C),
    "cs": Grammar("tree_sitter_c_sharp", "language", _CSHARP),
    "php": Grammar("tree_sitter_php", "language_php", _PHP),
    **dict.fromkeys(("sh", "bash"), Grammar("tree_sitter_bash", "language", _BASH)),
}
GRAMMARS["pyi"] = GRAMMARS["py"]
# What else is text for a programmer: known by its names only.
_OTHERS = """
    css dart elm erl ex exs fs go gradle graphql hs html jl kt kts less lua m ml mm nim pl pm proto
    ps1 r rb rs sass scala scss sol sql svelte swift vue zig zsh
"""
OTHERS = frozenset(_OTHERS.split())
IDENTIFIER = re.compile(r"\b[^\W\d]\w{2,}")
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_APART = bytes(c if c in _WORD else 32 for c in range(256))  # all else is a blank
OUTER = frozenset(("decorated_definition", "export_statement", "template_declaration"))
MAX_DEFINITIONS = 500  # of a file; more is data


def definitions(text: str, suffix: str) -> tuple[Definition, ...]:
    """In the order of the text; of a language without a grammar there are none."""
    if suffix not in GRAMMARS:
        return ()
    parser, query = _tools(GRAMMARS[suffix])
    tree = parser.parse(text.encode("utf-8", "surrogatepass"))
    found = []
    for _, captures in QueryCursor(query).matches(tree.root_node):
        [node] = captures["definition"]
        name = captures["name"][0] if "name" in captures else _declared(captures["inside"][0])
        if name is not None and name.text:
            found.append(_definition(node, name.text.decode("utf-8", "replace")))
    return tuple(sorted(set(found), key=lambda d: (d.first, -d.last, d.name))[:MAX_DEFINITIONS])


def words(text: str) -> set[str]:
    """All identifiers, keywords among them, and perhaps numbers; `is_name` knows them."""
    if not text.isascii():
        return set(IDENTIFIER.findall(text))
    return set(text.encode().translate(_APART).decode().split())  # in a third of the time


def is_name(word: str) -> bool:
    """Whether a word is an identifier that tells something, of three characters and more."""
    return len(word) > 2 and not word[0].isdigit()


@cache
def _tools(grammar: Grammar) -> tuple[Parser, Query]:
    module: Any = importlib.import_module(grammar.module)
    language = Language(getattr(module, grammar.function)())
    return Parser(language), Query(language, grammar.query)


def _definition(node: Node, name: str) -> Definition:
    first, body, last = node.start_point.row, node.child_by_field_name("body"), node.end_point.row
    if node.parent is not None and node.parent.type in OUTER:
        first = node.parent.start_point.row
    if node.end_point.column == 0 and last > first:
        last -= 1  # a macro of C ends where the next line begins
    head = last if body is None else body.start_point.row
    if body is not None and body.type == "block" and head > node.start_point.row:
        previous = body.prev_sibling
        head = head if previous is None else previous.end_point.row
    return Definition(name, first, max(first, min(head, last)), last)


def _declared(node: Node) -> Node | None:
    """The name in a declarator of C: pointers, references and parameters are around it."""
    while node.type not in ("identifier", "field_identifier", "type_identifier"):
        field = "name" if node.type == "qualified_identifier" else "declarator"
        inside = [c for c in node.named_children if c.type.endswith("declarator")]
        inner = node.child_by_field_name(field) or next(iter(inside), None)
        if inner is None:
            return None
        node = inner
    return node
