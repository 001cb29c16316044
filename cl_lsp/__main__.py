"""The command line. Without a command: the language server over stdio, as an editor starts it.

Commands that need the engine run in a process of their own, so that this one stays light.
"""

import argparse
import asyncio
import dataclasses
import errno
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from . import __version__
from .client import EngineClient
from .config import CompletionConfig, Config, EngineConfig
from .daemon import (
    PYTHON,
    default_socket,
    has_unix_sockets,
    port_file,
    state_folder,
    user_address,
)
from .errors import CannotStart, ClLspError, EngineGone, EngineSilent, NotOurs
from .holder import STOP_TIMEOUT_S, UNKNOWN, end, holder, is_daemon, mute
from .settings import read_config
from .wire import Address

ENGINE_COMMANDS = {
    "serve": "serve a model over HTTP",
    "pull": "download a model from the Hugging Face hub",
    "models": "list the models: who can do what, what is on this disk",
    "prompt": "print the token ids that a request becomes",
    "doctor": "say what this machine has and lacks, and what to do",
    "export": "write a model as plain files",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="cl-lsp", description=__doc__)
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--stdio", action="store_true", help="serve LSP over stdio (the default)")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in ENGINE_COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    most = f"completion.maxTokens, {CompletionConfig.max_tokens} unless set"
    p = commands.add_parser("complete", help="print the completion at a place in a file")
    p.add_argument("file", type=Path, metavar="FILE")
    p.add_argument("--line", type=int, required=True, metavar="N", help="counts from 1")
    p.add_argument("--column", type=int, required=True, metavar="N", help="counts from 1")
    p.add_argument("--model", help="which (default: engine.model, or the daemon's own)")
    p.add_argument("--max-tokens", type=int, metavar="N", help=f"at most (default: {most})")
    p.add_argument("--no-snippets", action="store_true", help="send nothing of other files")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    _add_address(p)
    p = commands.add_parser("status", help="say what the daemon is doing")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    _add_address(p)
    p = commands.add_parser("stop", help="stop the daemon")
    p.set_defaults(endpoint=None)
    _add_daemon(p)
    commands.add_parser("settings", help="print the settings that apply, and what is wrong in them")
    return top


def _add_daemon(p: argparse.ArgumentParser) -> None:
    p.add_argument("--uds", type=Path, metavar="PATH", help="the daemon's unix socket")
    p.add_argument("--host", metavar="H", help="of a daemon on TCP (default 127.0.0.1)")
    p.add_argument("--port", type=int, metavar="P", help="a daemon on TCP instead")


def _add_address(p: argparse.ArgumentParser) -> None:
    _add_daemon(p)
    p.add_argument("--endpoint", metavar="URL", help="any other server (default: engine.endpoint)")


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in ENGINE_COMMANDS:
        return run_engine(sys.argv[1:])
    args = parser().parse_args()
    try:
        if args.command in RUN:
            code = asyncio.run(RUN[args.command](args))
            sys.stdout.flush()
            return code
    except ClLspError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        if error.errno == errno.ENOSPC:  # else `| head` has enough
            print(f"error: {error.strerror}", file=sys.stderr)
        # What is left must not fail at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
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
        if not tcp and not given & {"--uds", "--port-file"}:
            unix = has_unix_sockets()
            place = ["--uds", default_socket()] if unix else ["--port-file", port_file()]
            arguments += map(str, place)
        elif tcp and not given & {"--host", "--port"}:
            arguments += ["--host", "127.0.0.1"]  # the port is the engine's default
        if tcp and not given & {"--token-file", "--no-auth", "--api-key"}:
            arguments += ["--token-file", str(token_file())]
    if arguments[0] == "doctor" and not {"-h", "--help"} & set(arguments):
        arguments += ["--found", json.dumps(asyncio.run(_findings()))]
    command = [*PYTHON, "-m", "cl_engine", *arguments]
    if sys.platform == "win32":  # which would begin another process and end this one
        return subprocess.call(command)
    os.execv(PYTHON[0], command)


async def _findings() -> list[dict[str, str]]:
    from .doctor import daemon, findings

    return [await daemon(), *await findings(*read_config(None, os.environ, []))]


def token_file() -> Path:
    return state_folder() / "token"


def engine_of(args: argparse.Namespace, config: Config | None = None) -> EngineConfig:
    """What the command line says, over a file's settings, or the user's. Raises ClLspError."""
    config = config or _settings()
    if args.host is not None and args.port is None:
        raise ClLspError("--host wants --port too")
    if args.port is not None and not 1 <= args.port <= 65535:
        raise ClLspError(f"there is no port {args.port}")
    if args.endpoint is not None:
        own = config.engine.endpoint == args.endpoint
        config_key = config.engine.api_key if own else None
        key = os.environ.get("CL_LSP_ENGINE_API_KEY") or config_key
        return dataclasses.replace(config.engine, endpoint=args.endpoint, api_key=key)
    if args.port is not None:
        host = args.host or "127.0.0.1"
        url = f"http://[{host}]:{args.port}" if ":" in host else f"http://{host}:{args.port}"
        return dataclasses.replace(
            config.engine, endpoint=url, api_key=os.environ.get("CL_LSP_ENGINE_API_KEY") or _token()
        )
    if args.uds is not None:
        return dataclasses.replace(config.engine, endpoint=None)
    return config.engine


def _settings() -> Config:
    config, problems = read_config(None, os.environ, [])
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    return config


def _token() -> str | None:
    try:
        return token_file().read_text().strip() if token_file().is_file() else None
    except OSError as error:
        raise ClLspError(f"cannot read {token_file()}: {error.strerror}") from error


async def run_settings(args: argparse.Namespace) -> int:
    config = dataclasses.asdict(_settings())
    for section, values in config.items():
        for name, value in values.items():
            secret = name == "api_key" and value
            print(f"{section}.{name} = {'…' if secret else json.dumps(value)}")
    return 0


async def run_complete(args: argparse.Namespace) -> int:
    from .complete import run  # LSP's types take half a second to import

    return await run(args, partial(engine_of, args), _local(args))


def _local(args: argparse.Namespace) -> Address:
    return Address(uds=args.uds) if args.uds else user_address()


async def run_status(args: argparse.Namespace) -> int:
    from .status import daemon_status, lines, remote_status

    engine = engine_of(args)
    if engine.endpoint is None or args.port is not None:
        address = Address.of(engine.endpoint, engine.api_key) if engine.endpoint else _local(args)
        status = await daemon_status(address)
    else:
        status = await remote_status(engine)
    if args.json:
        print(json.dumps(status))
    else:
        print(*lines(status), sep="\n")
    return 1 if "error" in status or status["status"] == "not running" else 0


async def run_stop(args: argparse.Namespace) -> int:
    engine = engine_of(args)
    on_tcp = args.port is not None
    address = Address.of(str(engine.endpoint)) if on_tcp else _local(args)
    if not address.local and not address.loopback:
        raise ClLspError(f"{address} is another machine: stop the daemon there")
    client = EngineClient(address)
    try:
        pid, answers = int((await client.health())["pid"]), True
    except EngineGone as error:
        found, answers = holder(address), False
        if found is None and isinstance(error, EngineSilent | NotOurs):
            raise
        if found is None:
            print("not running")
            return 0
        pid = found
    finally:
        await client.close()
    if pid == UNKNOWN and not answers:
        raise CannotStart(mute(address))
    # Whoever answers on a TCP port can name any process; so can a lock that was just taken.
    if pid <= 1 or ((on_tcp or not answers) and not is_daemon(pid)):
        raise CannotStart(f"what answers at {address} is no daemon of this user")
    if await end(pid, port_file()):
        print(f"stopped (pid {pid})")
    else:
        print(f"killed (pid {pid}): it did not stop within {STOP_TIMEOUT_S} s")
    return 0


RUN = {
    "complete": run_complete,
    "status": run_status,
    "stop": run_stop,
    "settings": run_settings,
}


if __name__ == "__main__":
    sys.exit(main())
