"""Token-exact prompts by Meta's rules, and the healing of a prefix cut inside a token.

The parts of an infilling prompt are encoded separately and joined by id, never as one text.
Pure functions of a tokenizer and strings. Source: facebookresearch/codellama `llama/generation.py`.
"""

from dataclasses import dataclass
from typing import Literal

from .errors import InvalidRequest, Unsupported
from .tokenizer import Tokenizer

Order = Literal["spm", "psm"]
# Suffix-first: one more character only appends tokens, and the prefix can be healed.
DEFAULT_ORDER: Order = "spm"
# How many tokens the healing takes off at most; docs/healing.md has the measurement.
HEALING_DEPTH = 4
# A prompt too long for the context loses whole steps, so that typing keeps the KV cache.
TRIM_STEP = 256


@dataclass(frozen=True)
class Prompt:
    """Token ids before healing. The last `healable` of them are text before the cursor."""

    ids: list[int]
    healable: int
    dropped: int = 0  # tokens left out so that the prompt fits the context


@dataclass(frozen=True)
class HealedPrompt:
    """`ids` are kept; generation must first re-emit `required`, which was tokenised as `draft`."""

    ids: list[int]
    draft: list[int]
    required: bytes


def completion_prompt(tokenizer: Tokenizer, text: str, limit: int) -> Prompt:
    """BOS and `text`, at most `limit` ids; a longer text loses its beginning."""
    text_ids, dropped = _keep_end(tokenizer.encode(text), limit - 1)
    return Prompt([tokenizer.bos, *text_ids], healable=len(text_ids), dropped=dropped)


def infilling_prompt(
    tokenizer: Tokenizer, prefix: str, suffix: str, limit: int, order: Order = DEFAULT_ORDER
) -> Prompt:
    """The prompt that asks for what stands between `prefix` and `suffix`, at most `limit` ids.

    Too long a prompt keeps the text next to the cursor: the suffix may take a quarter of the room
    and what the prefix leaves. Raises Unsupported if the vocabulary has no infilling pieces.
    """
    infill = tokenizer.infill
    if infill is None:
        raise Unsupported("this model cannot infill: use the 7B or 13B base or Instruct models")
    room = limit - 4
    before, after = tokenizer.encode(prefix), tokenizer.encode_infilling(suffix)
    after_room = max(room // 4, room - len(before))
    kept_after = after[:after_room]
    kept_before, dropped = _keep_end(before, room - len(kept_after))
    dropped += len(after) - len(kept_after)
    if order == "psm":
        ids = [
            tokenizer.bos,
            infill.prefix,
            *kept_before,
            infill.suffix,
            *kept_after,
            infill.middle,
        ]
        return Prompt(ids, healable=0, dropped=dropped)
    ids = [tokenizer.bos, infill.prefix, infill.suffix, *kept_after, infill.middle, *kept_before]
    return Prompt(ids, healable=len(kept_before), dropped=dropped)


def _keep_end(ids: list[int], room: int) -> tuple[list[int], int]:
    """The last ids that fit into `room`, cut at a multiple of TRIM_STEP, and the number cut."""
    if room < 1:
        raise InvalidRequest("the context has no room for a prompt: ask for fewer new tokens")
    if len(ids) <= room:
        return ids, 0
    dropped = min(-(-(len(ids) - room) // TRIM_STEP) * TRIM_STEP, len(ids) - 1)
    return ids[dropped:], dropped


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
