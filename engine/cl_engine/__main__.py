"""Commands that need the engine: `python -m cl_engine serve|export`; `cl-lsp` passes them on."""

import argparse
import logging
import sys
from pathlib import Path

from . import __version__
from .errors import AddressInUse, CannotServe, EngineError, UnknownModel

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Exit codes that a caller tells apart; everything else that goes wrong is 1.
EXIT_CODES: dict[type[EngineError], int] = {UnknownModel: 2, AddressInUse: 3}


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
        help="`embedded` (default) or the directory of a checkpoint",
    )
    p.add_argument(
        "--uds", type=Path, metavar="PATH", help="listen on this unix socket (mode 0600)"
    )
    p.add_argument("--host", metavar="H", help="listen on TCP, loopback only (default 127.0.0.1)")
    p.add_argument("--port", type=int, metavar="P", help="listen on this TCP port")
    p.add_argument("--no-auth", action="store_true", help="over TCP, ask for no token")
    p.add_argument(
        "--token-file", type=Path, metavar="PATH", help="over TCP, the token; made if new"
    )
    p.add_argument(
        "--idle-exit",
        type=float,
        default=0,
        metavar="MINUTES",
        help="stop after so long without a request (default: never)",
    )
    p = commands.add_parser("export", help="write a model as plain bf16 Hugging Face files")
    p.add_argument("model", metavar="MODEL")
    p.add_argument("directory", type=Path, metavar="DIR")
    return top


def main() -> int:
    args = parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        return run_serve(args) if args.command == "serve" else run_export(args)
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_CODES.get(type(error), 1)
    except ModuleNotFoundError as error:
        print(f"error: {error}: pip install 'cl-lsp[engine]'", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


def run_serve(args: argparse.Namespace) -> int:
    # Take the address before torch is imported: of five daemons started at once four end here.
    from .address import ensure_token, host_and_port, tcp_socket, unix_socket

    if args.uds is not None and args.port is None and args.host is None:
        taken, where, token = unix_socket(args.uds), f"unix:{args.uds}", None
    elif args.port is not None and args.uds is None:
        host = args.host or LOOPBACK[0]
        if host not in LOOPBACK:
            raise CannotServe(
                f"{host} is not loopback: serving other machines is not supported yet"
            )
        if args.no_auth:
            token = None
        elif args.token_file is None:
            raise CannotServe("over TCP give --token-file PATH, or --no-auth")
        else:
            token = ensure_token(args.token_file)
        taken, where = tcp_socket(host, args.port), None
    else:
        raise CannotServe("give either --uds PATH or --port P [--host H]")
    with taken as listener:
        from .serve import serve

        where = where or f"http://{host_and_port(listener)}/v1"
        serve(args.model, listener, where, token, args.idle_exit * 60)
    return 0


def run_export(args: argparse.Namespace) -> int:
    from .export import export

    print(export(args.model, args.directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
