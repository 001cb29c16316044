"""What `cl-lsp complete` does: ask at a place in a file as an editor would, and print it."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .answers import Answer
from .backend import Backend, Local
from .client import EngineClient
from .completion import Suggestion, suggest
from .config import Config, EngineConfig
from .documents import Documents, Snapshot, read_file
from .errors import ClLspError
from .gate import Gate
from .git import repository_of
from .remote import Remote
from .scopes import Scopes
from .settings import model_name
from .status import counted
from .wire import Address
from .workspace import Workspace

WIDEST = 200  # characters of a line that are shown on each side of the cursor
INDEX_S = 5  # that the folder may take to be read


async def run(
    args: argparse.Namespace, engine_of: Callable[[Config], EngineConfig], address: Address
) -> int:
    """`engine_of`: which engine the command line asks for, in a scope's settings; `address`: of the
    daemon, where it is ours. Raises ClLspError."""
    snapshot = read_file(args.file, args.line, args.column)
    scopes = Scopes(os.environ, lambda message: print(f"warning: {message}", file=sys.stderr))
    scopes.folders = [repository_of(args.file.resolve().parent) or Path.cwd()]
    wished = scopes.of(snapshot.uri)
    gate = Gate(scopes)
    if reason := gate.closed(snapshot):
        raise ClLspError(f"{args.file}: {reason.sentence}")
    if args.max_tokens is not None and not 1 <= args.max_tokens <= 512:
        raise ClLspError("--max-tokens must be from 1 to 512")
    engine = engine_of(wished)
    if args.model is not None:
        engine = dataclasses.replace(engine, model=model_name(args.model))
    completion = dataclasses.replace(
        wished.completion,
        max_tokens=args.max_tokens or wished.completion.max_tokens,
        snippets=wished.completion.snippets and not args.no_snippets,
    )
    folder = scopes.scope(snapshot.uri).folder
    workspace, backend = Workspace(Documents()), _backend(engine, address)
    workspace.hides = gate.hides
    workspace.configure(lambda uri: completion)
    workspace.start([folder] if folder else [])
    try:
        await backend.ready(partial(_waiting, []))
        model = await _name(backend)
        if completion.snippets and not await workspace.read(INDEX_S):
            late = f"{folder} has not been read after {INDEX_S} s: nothing of other files is sent"
            print(f"warning: {late}", file=sys.stderr)
        found = await suggest(backend, Answer(snapshot), completion, workspace.snippets)
    finally:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        await backend.close()
        await workspace.close()
    snippets = found.request.input_extra if found.request else ()
    if args.json:
        told = dataclasses.asdict(dataclasses.replace(found, request=None))
        del told["request"]  # the file itself
        told["snippets"] = [{"filename": n, "characters": len(text)} for n, text in snippets]
        print(json.dumps({"model": model} | told))
    else:
        show(snapshot, found, model, args.line)
        if snippets:
            print("with snippets of", ", ".join(dict.fromkeys(name for name, _ in snippets)))
    return 0


def _backend(engine: EngineConfig, address: Address) -> Backend:
    if engine.endpoint is not None:
        return Remote(engine)
    return Local(engine, EngineClient(address))


def _waiting(said: list[str], seconds: float) -> None:
    if sys.stderr.isatty():
        print(f"\rstarting the engine… {seconds:.0f} s ", end="", file=sys.stderr, flush=True)
    elif seconds > 1 and not said:
        said.append("starting the engine…")
        print(*said, file=sys.stderr, flush=True)


async def _name(backend: Backend) -> str:
    """Of the model that answers."""
    if isinstance(backend, Local):
        return backend.model or (await backend.client.health())["model"]
    assert isinstance(backend, Remote)
    return (await backend.find())[0].model or str(backend.address)


def show(snapshot: Snapshot, found: Suggestion, model: str, line: int) -> None:
    """The three lines before the cursor, and the suggestion: dim on a terminal, else in ⟦ ⟧."""
    on, off = ("\033[2;3m", "\033[0m") if sys.stdout.isatty() else ("⟦", "⟧")
    *above, last = snapshot.before.split("\n")[-4:]
    before = [*map(_clip, above), _clip(last[::-1])[::-1]]  # of the last one its end
    rest = _clip(snapshot.line_after[found.replaced :])
    parts = found.text.split("\n")
    ghost = "\n".join(f"{on}{part}{off}" if part else "" for part in parts)
    shown = ("\n".join(before) + ghost + rest).split("\n")
    first = line - len(before) + 1
    for number, text in enumerate(shown, first):
        print(f"{number:5} │ {text}")
    usage, timings = found.usage, found.timings
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    print(
        f"\n{'' if found.text else '(no suggestion) '}{model}: "
        f"{counted(usage.get('completion_tokens', 0), 'token')} in {found.total_ms:.0f} ms, "
        f"ended by {found.stop_reason} "
        f"(prompt {timings.get('prefill_ms', 0):.0f} ms, decode {timings.get('decode_ms', 0):.0f} "
        f"ms); {cached} of {usage.get('prompt_tokens', 0)} prompt tokens were cached"
    )


def _clip(text: str) -> str:
    """The beginning of what no terminal could show.

    >>> _clip("short"), len(_clip("x" * 900_000))
    ('short', 201)
    """
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}…"
