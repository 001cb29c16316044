"""Draws against the distribution that transformers' processors define."""

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from cl_engine.sampling import GREEDY, Sampler, SamplingParams
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

VOCAB, DRAWS = 40, 20_000
LOGITS = torch.randn(VOCAB, generator=torch.Generator().manual_seed(7)) * 2
SEEN = [3, 5, 5, 11]


def reference(*processors: LogitsProcessor) -> torch.Tensor:
    seen: Any = torch.tensor([SEEN])
    scores: Any = LogitsProcessorList(processors)(seen, LOGITS[None].clone())
    return scores[0].softmax(-1)


@pytest.mark.parametrize(
    ("params", "processors"),
    [
        ({"temperature": 0.7}, [TemperatureLogitsWarper(0.7)]),
        ({"temperature": 1.6}, [TemperatureLogitsWarper(1.6)]),
        ({"top_k": 5}, [TopKLogitsWarper(5)]),
        ({"top_k": 1000}, [TopKLogitsWarper(1000)]),
        ({"top_p": 0.8}, [TopPLogitsWarper(0.8)]),
        ({"top_p": 0.01}, [TopPLogitsWarper(0.01)]),
        ({"min_p": 0.1}, [MinPLogitsWarper(0.1)]),
        (
            {"temperature": 0.9, "top_k": 12, "top_p": 0.9, "min_p": 0.05},
            [
                TemperatureLogitsWarper(0.9),
                TopKLogitsWarper(12),
                TopPLogitsWarper(0.9),
                MinPLogitsWarper(0.05),
            ],
        ),
        ({"repetition_penalty": 1.8}, [RepetitionPenaltyLogitsProcessor(1.8)]),
        ({"repetition_penalty": 0.6}, [RepetitionPenaltyLogitsProcessor(0.6)]),
        (
            {"bad": ((2,), (11, 4), (5, 7), (5, 11, 8))},
            [NoBadWordsLogitsProcessor([[2], [11, 4], [5, 7], [5, 11, 8]])],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_draws_follow_the_reference_distribution(params: dict, processors: list) -> None:
    expected = reference(*processors)
    sampler = Sampler(SamplingParams(**{"temperature": 1.0, "seed": 3} | params))
    counts = Counter(sampler.pick(LOGITS, SEEN).token for _ in range(DRAWS))
    assert all(expected[token] > 0 for token in counts)
    # Cells of at least five expected draws, as the test wants them; the rest are one cell.
    cells = [i for i in range(VOCAB) if expected[i] * DRAWS >= 5]
    rest = DRAWS * (1 - float(expected[cells].sum()))
    pairs = [(counts[i], float(expected[i]) * DRAWS) for i in cells]
    if rest >= 5:
        pairs.append((DRAWS - sum(counts[i] for i in cells), rest))
    chi_square = sum((seen - wanted) ** 2 / wanted for seen, wanted in pairs)
    if len(pairs) > 1:
        freedom = torch.tensor((len(pairs) - 1) / 2, dtype=torch.float64)
        half = torch.tensor(chi_square / 2, dtype=torch.float64)
        assert torch.special.gammaincc(freedom, half) > 1e-6  # of the chi-square distribution


def test_a_wrong_distribution_is_noticed() -> None:
    with pytest.raises(AssertionError):
        test_draws_follow_the_reference_distribution(
            {"temperature": 0.9}, [TemperatureLogitsWarper(0.7)]
        )


@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_no_temperature_is_greedy(temperature: float) -> None:
    sampler = Sampler(SamplingParams(temperature=temperature, top_k=3, top_p=0.5))
    assert {sampler.pick(LOGITS, SEEN).token for _ in range(5)} == {int(LOGITS.argmax())}


def test_equal_seeds_draw_equal_tokens_and_no_seed_does_not() -> None:
    def draws(seed: int | None) -> list[int]:
        sampler = Sampler(SamplingParams(temperature=2.0, seed=seed))
        return [sampler.pick(LOGITS, SEEN).token for _ in range(40)]

    assert draws(5) == draws(5)
    assert draws(5) != draws(6)
    assert draws(None) != draws(None)


def test_allowed_and_forbidden_tokens_bound_the_choice() -> None:
    sampler = Sampler(SamplingParams(temperature=2.0, seed=1))
    allowed, forbidden = [4, 9, 30], frozenset({9})
    picked = {sampler.pick(LOGITS, SEEN, allowed, forbidden).token for _ in range(200)}
    assert picked == {4, 30}
    best = int(LOGITS.argmax())
    second = int(LOGITS.topk(2).indices[1])
    greedy = Sampler(SamplingParams())
    assert greedy.pick(LOGITS, SEEN, forbidden=frozenset({best})).token == second
    # Nothing left: what must be re-emitted comes before what is unwanted.
    assert greedy.pick(LOGITS, SEEN, [9], forbidden).token == 9


def test_logits_are_not_changed_by_a_choice() -> None:
    before = LOGITS.clone()
    params = SamplingParams(temperature=1.0, repetition_penalty=2.0, bad=((2,),), logprobs=3)
    Sampler(params).pick(LOGITS, SEEN, forbidden=frozenset({1}))
    assert torch.equal(LOGITS, before)


def test_logprobs_are_the_models_own() -> None:
    params = SamplingParams(temperature=1.5, top_k=2, repetition_penalty=3.0, logprobs=3, seed=2)
    pick = Sampler(params).pick(LOGITS, SEEN)
    logs = LOGITS.log_softmax(-1)
    assert pick.logprobs is not None
    assert next(iter(pick.logprobs)) == pick.token
    assert {*LOGITS.topk(3).indices.tolist(), pick.token} == pick.logprobs.keys()
    for token, value in pick.logprobs.items():
        assert value == pytest.approx(float(logs[token]))
    pairs = itertools.pairwise(list(pick.logprobs.values())[-2:])
    assert all(a >= b for a, b in pairs)


@pytest.mark.parametrize("penalty", [5e-324, 1e-30, 1e300])
def test_no_penalty_is_too_much(penalty: float) -> None:
    params = SamplingParams(temperature=GREEDY, repetition_penalty=penalty, bad=((2,),), seed=1)
    pick = Sampler(params).pick(LOGITS, SEEN)
    assert 0 <= pick.token < len(LOGITS) and pick.token != 2
