"""Token-exact prompts by Meta's rules, and the healing of a prefix cut inside a token.

The parts of an infilling prompt are encoded separately and joined by id, never as one text. Pure
functions of a tokenizer and strings; chats are `chat.py`'s. Source: facebookresearch/codellama
`llama/generation.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .catalogue import EMBEDDED
from .errors import InvalidRequest, Unsupported
from .tokenizer import Tokenizer

Order = Literal["spm", "psm"]
Snippets = Sequence[tuple[str, str]]  # pieces of other files: name and text
# How many tokens the healing takes off at most; docs/healing.md has the measurement.
HEALING_DEPTH = 4
# A prompt too long for the context loses whole steps, so that typing keeps the KV cache.
TRIM_STEP = 256
# No piece of a Llama vocabulary is longer (in characters), so text beyond can be left unencoded.
LONGEST_PIECE = 16
# Marks the hole in a text, as lmdeploy's users write it.
FILL = "<FILL>"


@dataclass(frozen=True)
class Prompt:
    """Token ids before healing. The last `healable` of them are text before the cursor.

    With `scored` the model's log-probabilities of its own tokens are told, too: nothing of it is
    taken from the KV cache.
    """

    ids: list[int]
    healable: int
    dropped: int = 0  # characters left out so that the prompt fits the context
    scored: bool = False


@dataclass(frozen=True)
class HealedPrompt:
    """`ids` are kept; generation must first re-emit `required`, which was tokenised as `draft`."""

    ids: list[int]
    draft: list[int]
    required: bytes


def order_of(label: str, healed: bool) -> Order:
    """The order of an infilling prompt: of the model and the kind of request, never of a cache.

    Suffix first where the prefix is healed, as for every key: one more character only appends
    tokens. As Meta asks its models where it is not, but for ours, which was trained suffix first.
    `docs/healing.md` has the table: exact lines, and tokens computed for a key, of each.
    """
    return "spm" if healed or label == EMBEDDED else "psm"


def completion_prompt(tokenizer: Tokenizer, text: str, limit: int) -> Prompt:
    """BOS and `text`, at most `limit` ids; a longer text loses its beginning.

    The Python specialists are asked in the same way: the prompt verbatim. Raises InvalidRequest if
    `limit` leaves no room. Source: Meta's `text_completion`.
    """
    _check_room(limit - 1)
    near = text[-limit * LONGEST_PIECE :]
    ids, cut = _keep_end(tokenizer.encode(near), limit - 1, limit)
    dropped = len(text) - len(near) + _characters(tokenizer, cut, dummy_spaces=1)
    return Prompt([tokenizer.bos, *ids], healable=len(ids), dropped=dropped)


def infilling_prompt(
    tokenizer: Tokenizer,
    prefix: str,
    suffix: str,
    limit: int,
    order: Order = "spm",
    snippets: Snippets = (),
) -> Prompt:
    """The prompt that asks for what stands between `prefix` and `suffix`, at most `limit` ids.

    Too long a prompt keeps the text next to the cursor: the beginning of the snippets goes first;
    the suffix may take a quarter of the room and what the prefix leaves. Raises Unsupported if the
    vocabulary has no infilling pieces, and InvalidRequest if `limit` leaves no room. Source: Meta's
    `infilling_prompt_tokens`; an empty part stays an infilling prompt, as there.
    """
    infill = tokenizer.infill
    if infill is None:
        raise Unsupported("this model cannot infill: use the 7B or 13B base or Instruct models")
    room = limit - 4
    _check_room(room)
    near, below = prefix[-limit * LONGEST_PIECE :], suffix[: limit * LONGEST_PIECE]
    before, after = tokenizer.encode(near), tokenizer.encode_infilling(below)
    kept = max(room // 4, room - len(before))
    after, cut_after = after[:kept], after[kept:]
    before, cut_before = _keep_end(before, room - len(after), limit)
    dropped = len(prefix) - len(near) + len(suffix) - len(below)
    dropped += _characters(tokenizer, cut_before, dummy_spaces=1)
    dropped += _characters(tokenizer, cut_after)
    others = text_of_snippets(snippets)
    few = others[-limit * LONGEST_PIECE :]
    lead = tokenizer.encode(few) if few else []
    lead, cut_lead = _keep_end(lead, room - len(after) - len(before), limit)
    dropped += len(others) - len(few) + _characters(tokenizer, cut_lead, dummy_spaces=1)
    head = [tokenizer.bos, *lead, infill.prefix]
    if order == "psm":
        ids = [*head, *before, infill.suffix, *after, infill.middle]
        return Prompt(ids, healable=0, dropped=dropped)
    ids = [*head, infill.suffix, *after, infill.middle, *before]
    return Prompt(ids, healable=len(before), dropped=dropped)


def text_of_snippets(snippets: Snippets) -> str:
    """As it stands before an infilling prompt: there it is the same while one types, and when what
    stands after the cursor becomes another. `docs/performance-log.md` has the other places.

    >>> text_of_snippets([("a.py", "A = 1\\n"), ("b.py", " ")])
    '# a.py\\nA = 1\\n\\n'
    """
    return "".join(f"# {name}\n{text.rstrip()}\n\n" for name, text in snippets if text.strip())


def split_fill(text: str) -> tuple[str, str]:
    """What stands before and after the one `<FILL>` in `text`; InvalidRequest if there is not one.

    >>> split_fill("def f():\\n    <FILL>\\n    return x")
    ('def f():\\n    ', '\\n    return x')
    """
    before, *after = text.split(FILL)
    if not after:
        raise InvalidRequest(f"infilling: the prompt has no {FILL} to mark where text is missing")
    if len(after) > 1:
        raise InvalidRequest(f"infilling: the prompt has {len(after)} {FILL} marks, not one")
    return before, after[0]


def _check_room(room: int) -> None:
    if room < 1:
        raise InvalidRequest("the context has no room for a prompt: ask for fewer new tokens")


def _keep_end(ids: list[int], room: int, limit: int) -> tuple[list[int], list[int]]:
    """The last ids that fit into `room`, cut at whole steps of `limit`, and those before."""
    if len(ids) <= room:
        return ids, []
    step = max(1, min(TRIM_STEP, limit // 4))
    cut = -(-(len(ids) - room) // step) * step
    return ids[cut:], ids[:cut]


def _characters(tokenizer: Tokenizer, ids: list[int], dummy_spaces: int = 0) -> int:
    """How many characters of the text `ids` stand for."""
    return max(0, len(tokenizer.to_bytes(ids).decode(errors="ignore")) - dummy_spaces)


def heal(tokenizer: Tokenizer, prompt: Prompt, depth: int = HEALING_DEPTH) -> HealedPrompt:
    """Take off the last tokens that might merge with what comes next.

    In training, prefix and middle were one text, so a prefix cut inside a token is tokenised as the
    model never saw it. No piece crosses a space or contains a byte piece, and this bounds the
    back-off.
    """
    taken = 0
    while taken < min(depth, prompt.healable):
        token = prompt.ids[-1 - taken]
        if tokenizer.is_byte(token):
            break
        taken += 1
        if tokenizer.piece_bytes[token].startswith(b" "):
            break
    if taken == 0:
        return HealedPrompt(prompt.ids, [], b"")
    draft = prompt.ids[-taken:]
    return HealedPrompt(prompt.ids[:-taken], draft, tokenizer.to_bytes(draft))
