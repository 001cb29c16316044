"""`cl-lsp prompt`: the token ids that a request becomes. Needs no weights and imports no torch.

They are shown before healing; what healing takes off again is shown beside them.
"""

import argparse
import json
from pathlib import Path
from typing import Any, cast, get_args

from .catalogue import CAPABILITIES, EMBEDDED, Capability
from .chat import FORMATS, chat_prompt
from .config import LlamaConfig
from .errors import BrokenCheckpoint, InvalidRequest
from .facts import read_facts
from .prompt import Order, Prompt, completion_prompt, heal, infilling_prompt
from .tokenizer import Tokenizer

# What each capability is asked with; an option that is not its own is refused.
OPTIONS: dict[Capability, tuple[str, ...]] = {
    "completion": ("prefix_file",),
    "infilling": ("prefix_file", "suffix_file", "order"),
    "chat": ("messages", "format"),
    "python": ("prefix_file",),
}
OPTIONAL = ("order", "format")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=EMBEDDED,
        metavar="MODEL",
        help=f"a checkpoint's directory, a model of the hub, or `{EMBEDDED}` (default)",
    )
    parser.add_argument(
        "--capability", required=True, metavar="C", help=f"one of {', '.join(CAPABILITIES)}"
    )
    parser.add_argument(
        "--order", choices=get_args(Order), help="of an infilling prompt (default spm)"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="of a chat (default: the one the model was trained with)"
    )
    files = (
        ("--prefix-file", "F", "the text before the cursor, or the whole prompt (UTF-8)"),
        ("--suffix-file", "F", "the text after the cursor (UTF-8)"),
        ("--messages", "F.json", 'a chat: [{"role": "user", "content": "…"}, …]'),
    )
    for option, metavar, text in files:
        parser.add_argument(option, type=Path, metavar=metavar, help=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the prompt. Raises InvalidRequest, Unsupported, UnknownModel or BrokenCheckpoint.

    As JSON: `token_ids`; `text`, in which control ids stand as their pieces (`<s>`, `▁<PRE>`) and
    dummy spaces are spaces; `healed`, the last of these ids, which are taken off and generated
    anew, and their text; `dropped_characters`, left out to fit the context.
    """
    capability = _capability(args)
    config, tokenizer = _open(args.model, capability)
    prompt = _prompt(args, capability, tokenizer, config.context)
    healed = heal(tokenizer, prompt)
    if args.json:
        shown = {
            "token_ids": prompt.ids,
            "text": tokenizer.render(prompt.ids),
            "healed": {"token_ids": healed.draft, "text": tokenizer.render(healed.draft)},
            "dropped_characters": prompt.dropped,
        }
        print(json.dumps(shown))
        return 0
    print(f"{len(prompt.ids)} tokens, {prompt.dropped} characters dropped to fit the context")
    for at, token in enumerate(prompt.ids):
        mark = "  taken off by healing" if at >= len(healed.ids) else ""
        print(f"{token:>7}  {_readable(tokenizer, token)}{mark}")
    return 0


def _capability(args: argparse.Namespace) -> Capability:
    """The capability that is asked for, with the options that it needs and no others."""
    if args.capability not in CAPABILITIES:
        known = ", ".join(CAPABILITIES)
        raise InvalidRequest(f"--capability: {args.capability!r} is none of {known}")
    capability = cast(Capability, args.capability)
    own = OPTIONS[capability]
    for option in sorted({option for options in OPTIONS.values() for option in options}):
        given, flag = getattr(args, option) is not None, "--" + option.replace("_", "-")
        if given and option not in own:
            raise InvalidRequest(f"{flag} is not for {capability}")
        if not given and option in own and option not in OPTIONAL:
            raise InvalidRequest(f"{capability} needs {flag}")
    return capability


def _open(model: str, capability: Capability) -> tuple[LlamaConfig, Tokenizer]:
    """A model's sizes and tokenizer, if it can do `capability`."""
    facts = read_facts(model)
    config, tokenizer = facts.config, facts.tokenizer
    if tokenizer.size != config.vocab:
        raise BrokenCheckpoint(
            f"{facts.folder}: the tokenizer has {tokenizer.size} pieces, the model"
            f" {config.vocab} rows"
        )
    facts.identity.with_template(capability)  # --capability says what the files do not
    return config, tokenizer


def _prompt(
    args: argparse.Namespace, capability: Capability, tokenizer: Tokenizer, context: int
) -> Prompt:
    if capability == "chat":
        return chat_prompt(tokenizer, _read_messages(args.messages), context, args.format)
    prefix = _read_text(args.prefix_file)
    if capability == "infilling":
        suffix = _read_text(args.suffix_file)
        return infilling_prompt(tokenizer, prefix, suffix, context, args.order or "spm")
    return completion_prompt(tokenizer, prefix, context)


def _read_text(path: Path) -> str:
    """A file byte for byte; InvalidRequest if it is not UTF-8, which a replacement would hide."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InvalidRequest(
            f"{path}: not UTF-8 (byte 0x{byte:02X} at offset {error.start}); convert it first"
        ) from error


def _read_messages(path: Path) -> Any:
    text = _read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path}: not JSON ({error})") from error


def _readable(tokenizer: Tokenizer, token: int) -> str:
    data = tokenizer.piece_bytes[token]
    if not data:
        return tokenizer.render([token])
    try:
        return repr(data.decode())
    except UnicodeDecodeError:
        return repr(data)
