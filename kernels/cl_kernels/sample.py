"""The next token of every row of logits, chosen where they are: no sync, the ids stay there.

What is cut, and in which order, is what the engine's sampler on the CPU does: only what is allowed,
temperature, top-k, top-p, min-p. The draw is the largest of score + Gumbel noise, which is a
function of seed, position and token: no state, and whatever else is computed changes nothing.
"""
# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportAssignmentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# (its types know neither launches nor their constants)

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from cl_kernels import tiles
from cl_kernels.product import start, wait


@dataclass(frozen=True)
class Choices:
    """How each row's token is chosen; all [rows], but `allowed`."""

    temperature: torch.Tensor  # float32; 0: the likeliest token, the first of equals
    top_k: torch.Tensor  # int32; 0: all
    top_p: torch.Tensor  # float32; 1: all
    min_p: torch.Tensor  # float32; 0: all
    seeds: torch.Tensor  # int64
    positions: torch.Tensor  # int32: of the row, for the noise
    masked: torch.Tensor  # int32; 0: every token is allowed
    allowed: torch.Tensor  # [rows, ⌈vocab / 32⌉], int32: bit i of word w is token 32·w + i


@triton.jit
def _lowest_kept(keys, weights, wanted, lowest, highest):
    """The lowest key above which `weights` sum to less than `wanted`; `highest` if none is."""
    low = lowest.to(tl.int64)
    high = highest.to(tl.int64)
    while low < high:
        middle = (low + high) >> 1
        if tl.sum(tl.where(keys > middle, weights, 0.0), 0) < wanted:
            high = middle
        else:
            low = middle + 1
    return low


@triton.jit
def _noise(seed, position, token):
    """-log(-log(u)), u in (0, 1) by Philox."""
    zero = token * 0
    bits, _, _, _ = tl.philox(seed, token, zero + position, zero, zero)
    u = ((bits >> 8).to(tl.float32) + 0.5) * (1.0 / (1 << 24))
    return -tl.log(-tl.log(u))


@triton.jit
def _sample_kernel(
    logits,
    temperatures,
    top_ks,
    top_ps,
    min_ps,
    seeds,
    positions,
    masked,
    allowed,
    ids,
    VOCAB: tl.constexpr,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    wait(PDL)
    start(PDL)
    row = tl.program_id(0)
    token = tl.arange(0, BLOCK)
    score = tl.load(logits + row * VOCAB + token, mask=token < VOCAB, other=-float("inf"))
    if tl.load(masked + row) != 0:
        WORDS: tl.constexpr = (VOCAB + 31) // 32
        word = tl.load(allowed + row * WORDS + token // 32, mask=token < VOCAB, other=0)
        score = tl.where((word >> (token % 32)) & 1 != 0, score, -float("inf"))
    temperature = tl.load(temperatures + row)
    if temperature > 0:
        score = score / temperature
        highest = tl.max(score, 0)
        bits = score.to(tl.int32, bitcast=True)
        key = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # ordered as the scores are
        top, bottom = tl.max(key, 0), tl.min(key, 0)
        weight = tl.exp(score - highest)
        kept = weight >= tl.load(min_ps + row)
        top_k = tl.load(top_ks + row)
        if top_k > 0:
            in_k = key >= _lowest_kept(key, weight * 0 + 1, top_k, bottom, top)
            kept = kept & in_k
            weight = tl.where(in_k, weight, 0.0)
        top_p = tl.load(top_ps + row)
        if top_p < 1:
            wanted = top_p * tl.sum(weight, 0)
            kept = kept & (key >= _lowest_kept(key, weight, wanted, bottom, top))
        noise = _noise(tl.load(seeds + row), tl.load(positions + row), token)
        score = tl.where(kept, score + noise, -float("inf"))
    best = tl.max(score, 0)
    chosen = tl.min(tl.where(score == best, token, VOCAB - 1), 0)
    tl.store(ids + row, chosen.to(ids.dtype.element_ty))


def sample(logits: torch.Tensor, choices: Choices, ids: torch.Tensor) -> None:
    """ids [rows] from logits [rows, vocab], float32. A masked row must allow some token."""
    rows, vocab = logits.shape
    assert ids.shape == (rows,) and logits.is_contiguous() and logits.dtype == torch.float32
    c = choices
    assert c.allowed.shape == (rows, -(-vocab // 32)) and c.allowed.is_contiguous()
    for t in (c.temperature, c.top_p, c.min_p):
        assert t.shape == (rows,) and t.dtype == torch.float32
    for t in (c.top_k, c.positions, c.masked):
        assert t.shape == (rows,) and t.dtype == torch.int32
    assert c.seeds.shape == (rows,) and c.seeds.dtype == torch.int64
    pdl = tiles.pdl(logits)
    block = triton.next_power_of_2(vocab)
    _sample_kernel[(rows,)](
        logits,
        c.temperature,
        c.top_k,
        c.top_p,
        c.min_p,
        c.seeds,
        c.positions,
        c.masked,
        c.allowed,
        ids,
        VOCAB=vocab,
        BLOCK=block,
        PDL=pdl,
        num_warps=min(32, max(4, block // 1024)),
        **tiles.launch(pdl),
    )


def sample_ref(logits: torch.Tensor, choices: Choices, ids: torch.Tensor) -> None:
    c, vocab = choices, logits.shape[1]
    token = torch.arange(vocab, device=logits.device)
    for i, score in enumerate(logits):
        if c.masked[i]:
            kept = (c.allowed[i, token // 32] >> (token % 32)) & 1 != 0
            score = score.masked_fill(~kept, -torch.inf)
        if c.temperature[i] > 0:
            score = score / c.temperature[i]
            ordered, order = score.topk(min(int(c.top_k[i]) or vocab, vocab))
            weight = ordered.softmax(0)
            cut = (weight.cumsum(0) - weight >= c.top_p[i]) | (weight < c.min_p[i] * weight[0])
            cut[0] = False
            noise = noise_ref(int(c.seeds[i]), int(c.positions[i]), token)
            score = torch.full_like(score, -torch.inf)
            score[order] = (ordered + noise[order]).masked_fill(cut, -torch.inf)
        ids[i] = score.argmax()


def noise_ref(seed: int, position: int, token: torch.Tensor) -> torch.Tensor:
    """Philox 4x32-10, as Random123 has it."""
    low = 0xFFFFFFFF
    keys = [seed & low, seed >> 32 & low]
    zero = torch.zeros_like(token)
    a, b, c, d = token.long(), zero + position, zero, zero
    for _ in range(10):
        second, first = c * 0xCD9E8D57, a * 0xD2511F53
        # Products of 64 bits wrap as signed numbers; their high halves are masked back.
        a, c = (second >> 32 & low) ^ b ^ keys[0], (first >> 32 & low) ^ d ^ keys[1]
        b, d = second & low, first & low
        keys = [keys[0] + 0x9E3779B9 & low, keys[1] + 0xBB67AE85 & low]
    return -(-(((a >> 8).double() + 0.5) / 2**24).log()).log().float()
