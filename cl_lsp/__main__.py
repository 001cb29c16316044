"""The command line. Without a command: the language server over stdio, as an editor starts it.

Commands that need the engine run in a process of their own, so that this one stays light.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .client import Address, EngineClient
from .config import Config, model_name
from .daemon import PYTHON, Daemon, default_socket, state_folder, user_address
from .errors import CannotStart, ClLspError, EngineGone

if TYPE_CHECKING:
    from .completion import Suggestion
    from .documents import Snapshot

ENGINE_COMMANDS = {
    "serve": "serve a model over HTTP",
    "pull": "download a model from the Hugging Face hub",
    "models": "list the models: who can do what, what is on this disk",
    "prompt": "print the token ids that a request becomes",
    "doctor": "say what this machine has and lacks, and what to do",
    "export": "write a model as plain files",
}
STOP_TIMEOUT_S = 10


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="cl-lsp", description=__doc__)
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--stdio", action="store_true", help="serve LSP over stdio (the default)")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in ENGINE_COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    p = commands.add_parser("complete", help="print the completion at a place in a file")
    p.add_argument("file", type=Path, metavar="FILE")
    p.add_argument("--line", type=int, required=True, metavar="N", help="counts from 1")
    p.add_argument("--column", type=int, required=True, metavar="N", help="counts from 1")
    p.add_argument("--model", help="to start if no daemon runs (default: embedded)")
    p.add_argument("--max-tokens", type=int, default=Config.max_tokens, metavar="N")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    _add_address(p)
    p = commands.add_parser("status", help="say what the daemon is doing")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    _add_address(p)
    p = commands.add_parser("stop", help="stop the daemon")
    p.add_argument("--uds", type=Path, metavar="PATH", help="the daemon's unix socket")
    return top


def _add_address(p: argparse.ArgumentParser) -> None:
    p.add_argument("--uds", type=Path, metavar="PATH", help="the daemon's unix socket")
    p.add_argument("--host", metavar="H", help="of a daemon on TCP (default 127.0.0.1)")
    p.add_argument("--port", type=int, metavar="P", help="a daemon on TCP instead")


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in ENGINE_COMMANDS:
        return run_engine(sys.argv[1:])
    args = parser().parse_args()
    try:
        match args.command:
            case "complete":
                return asyncio.run(run_complete(args))
            case "status":
                return asyncio.run(run_status(args))
            case "stop":
                return asyncio.run(run_stop(args))
    except ClLspError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if sys.stdin.isatty():
        print("cl-lsp: waiting for an editor on stdin; see cl-lsp --help", file=sys.stderr)
    from .server import main as serve_lsp

    serve_lsp()
    return 0


def run_engine(arguments: list[str]) -> int:
    """Become the engine's process; `serve` listens on the user's socket unless told otherwise."""
    if arguments[0] == "serve" and not {"-h", "--help"} & set(arguments):
        given = {argument.split("=")[0] for argument in arguments}
        tcp = given & {"--host", "--port", "--api-key", "--no-auth"}
        if not tcp and "--uds" not in given:
            arguments += ["--uds", str(default_socket())]
        elif tcp and not given & {"--host", "--port"}:
            arguments += ["--host", "127.0.0.1"]  # the port is the engine's default
        if tcp and not given & {"--token-file", "--no-auth", "--api-key"}:
            arguments += ["--token-file", str(token_file())]
    if arguments[0] == "doctor" and not any(a.startswith("--uds") for a in arguments):
        arguments += ["--uds", str(default_socket())]
    os.execv(PYTHON[0], [*PYTHON, "-m", "cl_engine", *arguments])


def token_file() -> Path:
    return state_folder() / "token"


def address_of(args: argparse.Namespace) -> Address:
    if args.port is None:
        if args.host is not None:
            raise ClLspError("--host wants --port too")
        return Address(uds=args.uds) if args.uds else user_address()
    if not 1 <= args.port <= 65535:
        raise ClLspError(f"there is no port {args.port}")
    try:
        token = token_file().read_text().strip() if token_file().is_file() else None
    except OSError as error:
        raise ClLspError(f"cannot read {token_file()}: {error.strerror}") from error
    return Address(host=args.host or "127.0.0.1", port=args.port, token=token)


async def run_complete(args: argparse.Namespace) -> int:
    from .answers import Answer  # LSP's types take half a second to import
    from .completion import suggest
    from .documents import read_file

    snapshot = read_file(args.file, args.line, args.column)
    if not 1 <= args.max_tokens <= 512:
        raise ClLspError("--max-tokens must be from 1 to 512")
    client = EngineClient(address_of(args))
    try:
        model = await _serving(client, args.model)
        config = Config(model=model, max_tokens=args.max_tokens)
        found = await suggest(client, Answer(snapshot), config)
    finally:
        await client.close()
    if args.json:
        print(json.dumps({"model": model} | dataclasses.asdict(found)))
    else:
        show(snapshot, found, model, args.line)
    return 0


async def _serving(client: EngineClient, wanted: str | None) -> str:
    """The model served at the client's address; starts the user's daemon if there is none."""
    try:
        # Another one than `wanted` refuses by itself: it knows all spellings of a name.
        serving = model_name(wanted or (await client.health())["model"])
    except EngineGone:
        if client.address.uds is None:
            raise
        serving = model_name(wanted or Config.model)
    if client.address.uds is not None:

        def say(waited: float) -> None:
            if sys.stderr.isatty():
                print(
                    f"\rstarting the engine… {waited:.0f} s ", end="", file=sys.stderr, flush=True
                )

        await Daemon(client, Config(model=serving)).ensure(say)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
    return serving


def show(snapshot: "Snapshot", found: "Suggestion", model: str, line: int) -> None:
    """The three lines before the cursor, and the suggestion: dim on a terminal, else in ⟦ ⟧."""
    on, off = ("\033[2;3m", "\033[0m") if sys.stdout.isatty() else ("⟦", "⟧")
    before = snapshot.before.split("\n")[-4:]
    rest = snapshot.line_after[found.replaced :]
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
        f"{usage.get('completion_tokens', 0)} tokens in {found.total_ms:.0f} ms, "
        f"ended by {found.stop_reason} "
        f"(prompt {timings.get('prefill_ms', 0):.0f} ms, decode {timings.get('decode_ms', 0):.0f} "
        f"ms); {cached} of {usage.get('prompt_tokens', 0)} prompt tokens were cached"
    )


async def run_status(args: argparse.Namespace) -> int:
    client = EngineClient(address_of(args))
    try:
        health = await client.health()
        card = (await client.models())[0] if health["status"] == "ok" else {}
    except EngineGone:
        print("not running" if not args.json else json.dumps({"status": "not running"}))
        return 1
    finally:
        await client.close()
    status = health | {"address": str(client.address)} | card
    if args.json:
        print(json.dumps(status))
        return 0
    print(f"{status['model']}: {status['status']}, {status['active']} requests under way")
    print(f"pid {status['pid']}, version {status['version']}, at {status['address']}")
    if status.get("computes"):
        print(f"computes on: {status['computes']}")
    if card:
        print(f"context {card['context_length']}, can: {', '.join(card['capabilities'])}")
    return 0


async def run_stop(args: argparse.Namespace) -> int:
    # By its socket only: what answers on a TCP port could name anybody's process.
    client = EngineClient(Address(uds=args.uds) if args.uds else user_address())
    try:
        try:
            pid = int((await client.health())["pid"])
        except EngineGone:
            print("not running")
            return 0
        if pid <= 1:
            raise CannotStart(f"what answers at {client.address} is no daemon")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while _alive(pid):
            if time.monotonic() > deadline:
                raise CannotStart(f"the daemon (pid {pid}) did not stop within {STOP_TIMEOUT_S} s")
            await asyncio.sleep(0.05)
    except (PermissionError, ProcessLookupError) as error:
        raise ClLspError(f"cannot stop the daemon: {error.strerror}") from error
    finally:
        await client.close()
    print(f"stopped (pid {pid})")
    return 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie of our own making is gone for all purposes.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


if __name__ == "__main__":
    sys.exit(main())
