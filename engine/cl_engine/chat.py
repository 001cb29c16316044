"""Chats as token ids: Meta's form, lmdeploy's rendering of it, and that of 70B-Instruct.

BOS, EOS and `<step>` are put in by id. What people write never becomes a control token, and is not
refused either: Meta answers a chat that holds `[INST]`, `<<SYS>>` or `<step>` with an error text,
but people ask about code with such text in it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, get_args

from .errors import InvalidRequest, Unsupported
from .prompt import Prompt
from .tokenizer import Tokenizer

Format = Literal["meta", "lmdeploy", "source"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Turn:
    """What the user wrote, and what the assistant answered; the last turn waits for its answer."""

    user: str
    answer: str | None


def chat_prompt(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    limit: int,
    format: Format | None = None,
) -> Prompt:
    """The prompt that asks for the assistant's next message, at most `limit` ids.

    `messages` are OpenAI's: `role` and `content` (a string, or a list of text parts), the user's
    and the assistant's in turns, perhaps after one of the system's; the last is the user's. Without
    `format` it is `source` if the vocabulary has `<step>`, as only 70B-Instruct's has, else `meta`.
    Too long a chat loses its oldest turns, each as a whole; the system's message and the last one
    stay. Raises InvalidRequest for any other messages, and if those two alone exceed `limit`;
    Unsupported for `source` without `<step>`.
    """
    system, turns = _read(messages)
    encode = _ENCODERS[format or ("meta" if tokenizer.step is None else "source")]
    # What is dropped comes from the front, so every turn but the first is encoded only once.
    later = [encode(tokenizer, turn, None, False) for turn in turns[1:]]
    ids: list[int] = []
    for dropped, first in enumerate(turns):
        ids = [*encode(tokenizer, first, system, True), *chain(*later[dropped:])]
        if len(ids) <= limit:
            lost = sum(len(turn.user) + len(turn.answer or "") for turn in turns[:dropped])
            return Prompt(ids, healable=0, dropped=lost)
    with_system = "" if system is None else " and the system's message"
    raise InvalidRequest(
        f"messages: the last one{with_system} need {len(ids)} tokens; there is room for {limit}"
    )


def text_of(content: Any) -> str:
    """A message's content as one text: OpenAI's text parts are joined by line breaks.

    Raises InvalidRequest, which says what it is instead.

    >>> text_of([{"type": "text", "text": "Explain:"}, {"type": "text", "text": "x = 1"}])
    'Explain:\\nx = 1'
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest(f"content is {kind(content)}, not a text or a list of text parts")
    for part in content:
        if not isinstance(part, Mapping):
            raise InvalidRequest(f"content holds {kind(part)}, not only text parts")
        if part.get("type") != "text":
            raise InvalidRequest(
                f"content holds a part of type {part.get('type')!r}, not only text"
            )
        if not isinstance(part.get("text"), str):
            raise InvalidRequest("content holds a text part without its text")
    return "\n".join(part["text"] for part in content)


def _read(messages: Sequence[Mapping[str, Any]]) -> tuple[str | None, list[Turn]]:
    """The system's message, if there is one, and the turns."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise InvalidRequest(f"messages: {kind(messages)}, not a list")
    texts: list[str] = []
    system = None
    for at, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InvalidRequest(f"messages[{at}]: {kind(message)}, not an object")
        role = message.get("role")
        try:
            text = text_of(message.get("content"))
        except InvalidRequest as error:
            raise InvalidRequest(f"messages[{at}]: {error}") from error
        if at == 0 and role == "system":
            system = text
            continue
        expected = "assistant" if len(texts) % 2 else "user"
        if role != expected:
            raise InvalidRequest(f"messages[{at}]: {_wrong_role(role, expected)}")
        texts.append(text)
    if len(texts) % 2 == 0:
        found = "the last one is the assistant's" if texts else "there is none of the user's"
        raise InvalidRequest(f"messages: {found}; the last one must be the user's")
    answers = [*texts[1::2], None]
    return system, [Turn(*turn) for turn in zip(texts[::2], answers, strict=True)]


def _wrong_role(role: object, expected: str) -> str:
    if role == "system":
        return "a system message can only be the first"
    if role in ("user", "assistant"):
        return f"the role is {role!r} where {expected!r} must follow: they take turns"
    return f"the role is {role!r}, not 'system', 'user' or 'assistant'"


def kind(value: object) -> str:
    """What `value` is, for a message."""
    if value is None:
        return "nothing"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _meta(tokenizer: Tokenizer, turn: Turn, system: str | None, _first: bool) -> list[int]:
    """Source: facebookresearch/codellama `llama/generation.py`, `chat_completion`."""
    block = "" if system is None else f"<<SYS>>\n{system}\n<</SYS>>\n\n"
    asked = f"[INST] {(block + turn.user).strip()} [/INST]"
    if turn.answer is None:
        return [tokenizer.bos, *tokenizer.encode(asked)]
    text = f"{asked} {turn.answer.strip()} "
    return [tokenizer.bos, *tokenizer.encode(text), tokenizer.eos]


def _lmdeploy(tokenizer: Tokenizer, turn: Turn, system: str | None, first: bool) -> list[int]:
    """As Meta's, but with a system block even if it is empty, nothing stripped, and other spaces.

    Source: InternLM/lmdeploy `lmdeploy/model.py`, `class CodeLlama`; its `</s><s>` are ids here.
    """
    block = f"<<SYS>>\n{system or ''}\n<</SYS>>\n\n" if first else ""
    text = f"[INST] {block}{turn.user} [/INST] {turn.answer or ''}"
    end = [] if turn.answer is None else [tokenizer.eos]
    return [tokenizer.bos, *tokenizer.encode(text), *end]


def _source(tokenizer: Tokenizer, turn: Turn, system: str | None, first: bool) -> list[int]:
    """Source: facebookresearch/codellama `llama/generation.py`, `dialog_prompt_tokens`.

    A system message always begins it. Meta's 70B vocabulary adds no dummy space, Hugging Face's
    may: encoded without one, both give the ids that huggingface/blog `codellama.md` publishes.
    """
    if (step := tokenizer.step) is None:
        raise Unsupported("the format 'source' needs <step>, which only 70B-Instruct's tokens have")

    def message(role: str, content: str) -> list[int]:
        body = f"\n\n {content.strip()}" if content else ""
        header = tokenizer.encode_infilling(f" Source: {role}")
        return [*header, *tokenizer.encode_infilling(body), step]

    ids = [tokenizer.bos, *message("system", system or "")] if first else []
    ids += message("user", turn.user)
    if turn.answer is not None:
        return ids + message("assistant", turn.answer)
    ids += tokenizer.encode_infilling(" Source: assistant\nDestination: user")
    return ids + tokenizer.encode_infilling("\n\n ")


_ENCODERS: dict[Format, Callable[[Tokenizer, Turn, str | None, bool], list[int]]] = {
    "meta": _meta,
    "lmdeploy": _lmdeploy,
    "source": _source,
}
