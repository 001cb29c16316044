"""Commands that need the engine: `python -m cl_engine serve|pull|models|prompt|doctor|export`.

`cl-lsp` passes them on.
"""

import argparse
import contextlib
import errno
import json
import logging
import math
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from . import __version__
from .errors import AddressInUse, CannotServe, EngineError, NotInstalled, UnknownModel

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PORT = 23333  # lmdeploy's, which its users' clients know
# Exit codes that a caller tells apart; everything else that goes wrong is 1.
EXIT_CODES: dict[type[EngineError], int] = {UnknownModel: 2, AddressInUse: 3}


def _gib(text: str) -> int:
    """Bytes of so many GiB."""
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size < 2**30:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of GiB above 0")
    return int(size * 2**30)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 <= minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes, 0 or more")
    return minutes


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="cl-lsp", description=__doc__)
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True)
    p = commands.add_parser("serve", help="serve a model over HTTP until stopped")
    p.add_argument(
        "model",
        nargs="?",
        default="embedded",
        metavar="MODEL",
        help="`embedded` (default), the directory of a checkpoint, or a model of the hub",
    )
    p.add_argument(
        "--chat-template",
        type=Path,
        metavar="F.json",
        help='what chats become: {"model_name": "codellama", "capability": "completion"}',
    )
    p.add_argument(
        "--chat-model", metavar="MODEL", help="for chats that name none (default: the same)"
    )
    p.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda, cuda:N"
    )
    p.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "float32", "bfloat16"),
        help="of the weights (default: bfloat16 on a GPU; on a CPU float32, `embedded` int8)",
    )
    p.add_argument(
        "--context", type=int, metavar="N", help="at most so many tokens, for less memory"
    )
    p.add_argument(
        "--kv-memory",
        type=_gib,
        metavar="GIB",
        help="of the KV cache (default: four contexts, or what is free)",
    )
    p.add_argument(
        "--kernels",
        default="auto",
        choices=("auto", "torch"),
        help="auto (default): ours on a GPU; torch: none, slower, on any GPU that PyTorch knows",
    )
    p.add_argument(
        "--no-drafts",
        action="store_true",
        help="guess no tokens ahead: the same answers, slower; for measurements",
    )
    p.add_argument(
        "--no-download", action="store_true", help="refuse a model that is not on this disk"
    )
    p.add_argument(
        "--uds", type=Path, metavar="PATH", help="listen on this unix socket (mode 0600)"
    )
    p.add_argument(
        "--port-file",
        type=Path,
        metavar="PATH",
        help="listen on a free port of loopback, and tell it and a token in this file (mode 0600)",
    )
    p.add_argument("--host", metavar="H", help="listen on TCP (default 127.0.0.1)")
    p.add_argument("--port", type=int, metavar="P", help=f"listen on TCP (default {PORT})")
    p.add_argument(
        "--api-key",
        default=os.environ.get("CL_LSP_API_KEY") or None,
        metavar="KEY",
        help="over TCP, ask for this key (or $CL_LSP_API_KEY); other machines get in with it only",
    )
    p.add_argument("--no-auth", action="store_true", help="over TCP on loopback, ask for no token")
    p.add_argument(
        "--token-file", type=Path, metavar="PATH", help="over TCP, the token; made if new"
    )
    p.add_argument(
        "--unload-after",
        type=_minutes,
        default=0,
        metavar="MINUTES",
        help="free a model's memory after so long without a request (default: never)",
    )
    p.add_argument(
        "--idle-exit",
        type=_minutes,
        default=0,
        metavar="MINUTES",
        help="stop after so long without a request (default: never)",
    )
    p = commands.add_parser("pull", help="download a model from the Hugging Face hub")
    p.add_argument(
        "model",
        metavar="MODEL",
        help="as `cl-lsp models` lists them, or a hub id: OWNER/NAME[@REV]",
    )
    p.add_argument("--revision", metavar="R", help="a commit, branch or tag (default: main)")
    p = commands.add_parser("models", help="list Code Llama: who can do what, what is on this disk")
    p.add_argument("--json", action="store_true", help="print a list of JSON objects")
    p = commands.add_parser("prompt", help="print the token ids that a request becomes")
    if sys.argv[1:2] == ["prompt"]:  # what it can be asked for, the engine's libraries say
        from . import show_prompt

        show_prompt.add_arguments(p)
    p = commands.add_parser("doctor", help="say what this machine has and lacks for the engine")
    p.add_argument("--json", action="store_true", help="print a list of JSON objects")
    # What the editor's side has found, as JSON.
    p.add_argument("--found", default="[]", help=argparse.SUPPRESS)
    p = commands.add_parser("export", help="write a model as plain bf16 Hugging Face files")
    p.add_argument("model", metavar="MODEL")
    p.add_argument("directory", type=Path, metavar="DIR")
    return top


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        args = parser().parse_args()
        if args.command == "serve":
            logging.getLogger(__package__).setLevel(logging.INFO)  # a line for each request
        code = RUN[args.command](args)
        sys.stdout.flush()
        return code
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_CODES.get(type(error), 1)
    except ModuleNotFoundError as error:
        print(f"error: {NotInstalled(error)}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        if error.errno == errno.ENOSPC:  # else it is `cl-lsp models | head`
            print(f"error: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def run_serve(args: argparse.Namespace) -> int:
    from .template import ChatTemplateConfig

    template = ChatTemplateConfig.from_json(args.chat_template) if args.chat_template else None
    # Take the address before torch is imported: of five daemons started at once four end here.
    from .address import host_and_port

    tcp = args.port is not None or args.host is not None
    if tcp + (args.uds is not None) + (args.port_file is not None) != 1:
        raise CannotServe("give one of --uds PATH, --port-file PATH, or --port P [--host H]")
    host = args.host or LOOPBACK[0]
    models = list(filter(None, (args.model, args.chat_model)))
    with _listening(args, host, models) as (listener, key):
        from .hub import ensure, find_model

        for model in models:
            (find_model if args.no_download else ensure)(model)
        from .guard import Access
        from .registry import Options
        from .serve import Serving, serve

        where = f"unix:{args.uds}" if args.uds else f"http://{host_and_port(listener)}/v1"
        file = args.port_file or args.token_file
        told = "" if key is None or (tcp and args.api_key) else f", token in {file}"
        names = frozenset({"localhost"}) if host in LOOPBACK else None
        options = Options(
            args.device,
            args.dtype,
            args.context,
            args.kv_memory,
            args.kernels,
            speculate=not args.no_drafts,
        )
        serving = Serving(
            args.model,
            where,
            Access(key, told, args.uds is None, names),
            options,
            args.chat_model,
            template,
            others=not tcp,  # of this user's files, and who opens the socket is this user
            file=args.uds or args.port_file,
            unload_after_s=args.unload_after * 60,
            idle_exit_s=args.idle_exit * 60,
        )
        again = serve(serving, listener)
    if again:
        sys.stdout.flush()
        # As it was started, `-P` included: no file of the project that it runs in is imported.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    return 0


@contextlib.contextmanager
def _listening(
    args: argparse.Namespace, host: str, models: list[str]
) -> Iterator[tuple[socket.socket, str | None]]:
    """The socket, and the key that is asked for. Where another daemon has the address, a model that
    does not exist is the error that is told."""
    with contextlib.ExitStack() as stack:
        try:
            both = _take_address(args, host, stack)
        except AddressInUse:
            from .hub import check_name

            for model in models:
                check_name(model)
            raise
        yield both


def _take_address(
    args: argparse.Namespace, host: str, stack: contextlib.ExitStack
) -> tuple[socket.socket, str | None]:
    from .address import port_file, tcp_socket, unix_socket

    if args.uds is not None:
        return stack.enter_context(unix_socket(args.uds)), None
    if args.port_file is not None:
        return stack.enter_context(port_file(args.port_file))
    key = _key(args)
    listener = tcp_socket(host, PORT if args.port is None else args.port)
    return stack.enter_context(listener), key


def _key(args: argparse.Namespace) -> str | None:
    """What is asked for over TCP. Raises CannotServe if it is too little."""
    from .address import ensure_token

    host = args.host or LOOPBACK[0]
    if host not in LOOPBACK and not args.api_key:
        raise CannotServe(f"{host} can be reached from other machines: give --api-key KEY")
    if args.no_auth:
        if args.api_key:
            raise CannotServe("give either --api-key KEY or --no-auth")
        return None
    if args.api_key == "":
        raise CannotServe("--api-key is empty")
    if args.api_key:
        return args.api_key
    if args.token_file is None:
        raise CannotServe("over TCP give --token-file PATH, --api-key KEY or --no-auth")
    return ensure_token(args.token_file)


def run_prompt(args: argparse.Namespace) -> int:
    from . import show_prompt

    return show_prompt.run(args)


def run_doctor(args: argparse.Namespace) -> int:
    from . import doctor

    return doctor.run(args)


def run_export(args: argparse.Namespace) -> int:
    from .export import export

    print(export(args.model, args.directory))
    return 0


def run_pull(args: argparse.Namespace) -> int:
    from .hub import pull

    print(pull(args.model, args.revision))
    return 0


def run_models(args: argparse.Namespace) -> int:
    from .listing import as_json, rows, table

    if args.json:
        print(json.dumps([as_json(row) for row in rows()], indent=2))
    else:
        print(*table(rows(), colour=sys.stdout.isatty()), sep="\n")
    return 0


RUN = {
    "serve": run_serve,
    "pull": run_pull,
    "models": run_models,
    "prompt": run_prompt,
    "doctor": run_doctor,
    "export": run_export,
}


if __name__ == "__main__":
    sys.exit(main())
