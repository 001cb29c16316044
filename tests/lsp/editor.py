"""An editor that takes edits: what it was sent is applied to its own copies of the documents."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from lsprotocol import types

from cl_lsp.documents import offset_at
from tests.lsp.client import URI, LspClient

CREATES = {"documentChanges": True, "resourceOperations": ["create"]}
ANNOTATES = CREATES | {"changeAnnotationSupport": {}}
KINDS: dict[str, Any] = {"codeActionKind": {"valueSet": ["refactor"]}}
ABLE: dict[str, Any] = {
    "codeAction": {"codeActionLiteralSupport": KINDS, "disabledSupport": True},
}


def path_of(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))


class Editor:
    """Its documents by URI: version and text. `refuses`: it applies nothing, and says why."""

    def __init__(self, client: LspClient):
        self.client = client
        self.documents: dict[str, tuple[int, str]] = {}
        self.edits: list[dict] = []
        self.refuses = ""
        self.shows = True
        client.answers["workspace/applyEdit"] = self._apply
        client.answers["window/showDocument"] = self._show

    async def start(self, edit: dict | None = ANNOTATES, **more: Any) -> dict:
        """`edit`: what it says of its edits; None: it takes none."""
        workspace = {} if edit is None else {"applyEdit": True, "workspaceEdit": edit}
        given = {"more": ABLE, "able": {"workspace": workspace}} | more
        return await self.client.initialize(**given)

    def open(self, text: str, uri: str = URI, language: str = "python") -> None:
        self.documents[uri] = 1, text
        self.client.open(text, uri, language)

    def close(self, uri: str) -> None:
        del self.documents[uri]
        self.client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def type(self, text: str, uri: str = URI) -> None:
        """The document is now `text`."""
        version = self.documents[uri][0] + 1
        self.documents[uri] = version, text
        self.client.notify(
            "textDocument/didChange",
            {
                "textDocument": {"uri": uri, "version": version},
                "contentChanges": [{"text": text}],
            },
        )

    def text(self, uri: str = URI) -> str:
        return self.documents[uri][1]

    async def run(self, command: dict) -> dict:
        """A command, as a code action or a lens gives it."""
        arguments = command.get("arguments")
        params = {"command": command["command"], "arguments": arguments}
        return await self.client.request("workspace/executeCommand", params)

    async def act(
        self,
        action: str,
        start: tuple[int, int],
        end: tuple[int, int] | None = None,
        uri: str = URI,
        **more: Any,
    ) -> dict:
        fills = action in ("here", "candidates", "body", "selection")
        at = {"start": position(start), "end": position(end or start)}
        argument = {"action": action, "uri": uri, "range": at} | more
        command = "cl-lsp.fill" if fills else "cl-lsp.chat"
        return await self.run({"command": command, "arguments": [argument]})

    async def lenses(self, uri: str) -> list[dict]:
        params = {"textDocument": {"uri": uri}}
        return await self.client.request("textDocument/codeLens", params)

    def _show(self, params: dict) -> dict:
        path = path_of(params["uri"])
        if self.shows and params["uri"] not in self.documents:
            self.open(path.read_text(), params["uri"], "markdown")
        return {"success": self.shows}

    def _apply(self, params: dict) -> dict:
        edit = params["edit"]
        self.edits.append(edit)
        if self.refuses:
            return {"applied": False, "failureReason": self.refuses}
        listed = edit.get("documentChanges") or [
            {"textDocument": {"uri": uri, "version": None}, "edits": edits}
            for uri, edits in edit["changes"].items()
        ]
        for part in listed:
            if part.get("kind") == "create":
                path_of(part["uri"]).touch(exist_ok=False)
                self.open("", part["uri"])
            elif not self._changed(part):
                return {"applied": False}
        return {"applied": True}

    def _changed(self, part: dict) -> bool:
        uri, wanted = part["textDocument"]["uri"], part["textDocument"]["version"]
        version, text = self.documents[uri]
        if wanted not in (None, version):
            return False
        spans = []
        for edit in part["edits"]:
            ends = (types.Position(**edit["range"][end]) for end in ("start", "end"))
            spans.append((*(offset_at(text, end, "utf-16") for end in ends), edit["newText"]))
        for start, end, new in sorted(spans)[::-1]:
            text = text[:start] + new + text[end:]
        self.type(text, uri)
        return True


def position(at: tuple[int, int]) -> dict:
    return {"line": at[0], "character": at[1]}
