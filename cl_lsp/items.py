"""Suggestions as items of LSP: what they replace, and how they sort beside others' items."""

import re
from dataclasses import dataclass, replace

from lsprotocol import types

from .completion import Suggestion
from .documents import Documents, Snapshot, width

LABEL = 60  # characters of a label; menus cut longer ones anywhere
# Behind the items of other servers, which know the names: the first one is taken by Enter.
LAST = "~cl-lsp"
_WORD = re.compile(r"[\w$]*\Z")


@dataclass(frozen=True)
class Selected:
    """A document as if the item that is selected in a menu were in it: `text` in place of so many
    characters before and after the real cursor."""

    snapshot: Snapshot
    text: str = ""
    before: int = 0
    after: int = 0


def with_selected(
    documents: Documents, snapshot: Snapshot, info: types.SelectedCompletionInfo | None
) -> Selected:
    """The snapshot must be of the document as it is now. A range elsewhere is ignored."""
    if info is None:
        return Selected(snapshot)
    start = documents.snapshot(snapshot.uri, info.range.start).offset
    end = documents.snapshot(snapshot.uri, info.range.end).offset
    if not start <= snapshot.offset <= end or "\n" in snapshot.text[start:end] + info.text:
        return Selected(snapshot)
    text = snapshot.text[:start] + info.text + snapshot.text[end:]
    chosen = replace(snapshot, text=text, offset=start + len(info.text))
    return Selected(chosen, info.text, snapshot.offset - start, end - snapshot.offset)


def inline_item(
    documents: Documents, snapshot: Snapshot, line: int, found: Suggestion, selected: Selected
) -> types.InlineCompletionItem:
    """`line` is the cursor's; the item begins with what is selected, if anything is."""
    at = _range(documents, snapshot, line, selected.before, selected.after + found.replaced)
    if selected.snapshot is snapshot:
        return types.InlineCompletionItem(found.text, range=at)
    text = selected.text
    return types.InlineCompletionItem(text + found.text, range=at, filter_text=text)


def menu_item(
    documents: Documents,
    snapshot: Snapshot,
    line: int,
    found: Suggestion,
    able: types.ClientCompletionItemOptions | None = None,
) -> types.CompletionItem | None:
    """None if it does no more than end the word before the cursor: others do that better."""
    word = word_before(snapshot)
    if word and _WORD.fullmatch(found.text):
        return None
    text = word + found.text
    first = next(part for part in text.splitlines() if part.strip()).strip()
    edit = types.TextEdit(_range(documents, snapshot, line, len(word), found.replaced), text)
    return types.CompletionItem(
        label=first if len(first) <= LABEL else first[: LABEL - 1] + "…",
        label_details=types.CompletionItemLabelDetails(description="cl-lsp"),
        kind=types.CompletionItemKind.Text,
        detail="cl-lsp",
        # What the menu compares with the word before the cursor.
        filter_text=text.partition("\n")[0].rstrip() or first,
        sort_text=LAST,
        text_edit=edit,
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs,  # it is indented already
        documentation=_documentation(text, snapshot.language, able),
    )


def word_before(snapshot: Snapshot) -> str:
    """The part of a word that stands before the cursor."""
    found = _WORD.search(snapshot.line_before)
    return found.group() if found else ""


def _documentation(
    text: str, language: str, able: types.ClientCompletionItemOptions | None
) -> types.MarkupContent | str | None:
    if "\n" not in text:
        return None
    if types.MarkupKind.Markdown not in ((able and able.documentation_format) or ()):
        return text
    runs = [len(run) for run in re.findall("`+", text)]
    fence = "`" * max(3, *(n + 1 for n in runs), 3)
    return types.MarkupContent(types.MarkupKind.Markdown, f"{fence}{language}\n{text}\n{fence}")


def _range(
    documents: Documents, snapshot: Snapshot, line: int, back: int, ahead: int
) -> types.Range:
    """So many characters before and after the cursor, in the client's units."""
    encoding, before = documents.encoding, snapshot.line_before
    start = width(before[: len(before) - back], encoding)
    end = width(before + snapshot.line_after[:ahead], encoding)
    # The cursor may have been past the line's end; what is left of it is where the line ends.
    return types.Range(types.Position(line, start), types.Position(line, end))
