"""The model in our kernels, interpreted, against plain torch: every bucket, and whole answers."""

import numpy
import pytest
import torch

pytest.importorskip("triton", reason="kernels need triton, which comes with PyTorch for CUDA")

from cl_engine import core
from cl_engine.graphs import BUCKETS, GROUP, KernelMachine
from cl_engine.loader import LoadedModel, load_model
from cl_engine.machine import Rows, TorchMachine
from cl_engine.models.llama import KVPool, Llama, Span
from cl_engine.sampling import Choice, Sampler, SamplingParams

from tests.checkpoints import make_checkpoint
from tests.serving.stepping import Bench

CHUNK, SIZE = core.CHUNK["cpu"], 16
GREEDY = SamplingParams()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = make_checkpoint(tmp_path_factory.mktemp("machine"), layers=2, context=128)
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def machine(model: LoadedModel) -> KernelMachine:
    return make(model.llama, model.llama.new_pool(32, SIZE))


def make(llama: Llama, pool: KVPool) -> KernelMachine:
    return KernelMachine(llama, pool, CHUNK)


def filled(llama: Llama, pool: KVPool, seed: int) -> None:
    """Keys and values as if everything had been computed once."""
    make = torch.Generator().manual_seed(seed)
    for t in (pool.keys, pool.values):
        t.copy_(torch.randn(t.shape, generator=make))


@pytest.mark.parametrize(
    "steps",
    [
        [(1, 40)],
        [(3, 0)],
        [(8, 33)],
        [(1, 20), (1, 1), (1, 63)],
        [(2, 30), (5, 0)],
        [(13, 50)],
        [(1, 9 + n) for n in range(10)],
        [(4, 17), (6, 2), (1, 40), (5, 0)],
        [(CHUNK, 0)],
        [(1, 40), (20, 13), (7, 0), (3, 31)],
    ],
    ids=str,
)
def test_logits_are_those_of_plain_torch(
    model: LoadedModel, machine: KernelMachine, steps: list[tuple[int, int]]
) -> None:
    """Steps of sequences with so many new tokens behind so many cached ones."""
    llama, pool = model.llama, machine._pool
    filled(llama, pool, len(steps))
    free = iter(torch.randperm(32, generator=torch.Generator().manual_seed(7)).tolist())
    spans = [
        Span(
            [(31 * i + 17 * n) % 8192 for i in range(n)],
            start,
            [next(free) for _ in range(-(-(start + n) // SIZE))],
            rows=min(n, 1 + n // 2),
        )
        for n, start in steps
    ]
    count = sum(span.rows for span in spans)
    before = pool.keys.clone(), pool.values.clone()
    got = machine.launch(spans, [None] * count)()
    after = pool.keys.clone(), pool.values.clone()
    pool.keys.copy_(before[0])
    pool.values.copy_(before[1])
    want = llama.forward(spans, pool)
    assert len(got) == len(want) == count
    assert close(stacked(got), want)
    # The cache holds the new tokens, and nothing else has changed.
    assert close(after[0], pool.keys) and close(after[1], pool.values)
    unchanged = (pool.keys == before[0]) | ~torch.isclose(after[0], before[0])
    assert unchanged.all()


def stacked(rows: Rows) -> torch.Tensor:
    assert all(isinstance(row, torch.Tensor) for row in rows)
    return torch.stack([row for row in rows if isinstance(row, torch.Tensor)])


def close(got: torch.Tensor, want: torch.Tensor) -> bool:
    return bool((got - want).norm() <= 1e-5 * want.norm())


def test_every_bucket_is_used_and_none_is_too_small(machine: KernelMachine) -> None:
    used = set()
    for rows in range(1, GROUP + 1):
        for sequences in range(1, rows + 1):
            for most in {-(-rows // sequences), rows - sequences + 1}:
                fits = [
                    b
                    for b in BUCKETS
                    if all(a <= b for a, b in zip((rows, sequences, most), b, strict=True))
                ]
                assert fits and fits[0].rows == (1 if rows == 1 else 8 if rows <= 8 else 16)
                used.add(fits[0])
    assert used == set(BUCKETS) <= set(machine._replay)


def test_tokens_are_chosen_as_asked(model: LoadedModel, machine: KernelMachine) -> None:
    llama, pool = model.llama, machine._pool
    span = Span([5, 6, 7, 8], 0, [3], 4)
    logits = llama.forward([span], pool)
    only = numpy.zeros(8192, bool)
    only[[17, 4000, 8191]] = True
    warm = SamplingParams(temperature=0.8, top_k=5)
    choices = [
        Choice(GREEDY, 0, None),
        Choice(GREEDY, 0, only),
        None,
        Choice(warm, 11, None),
    ]
    got = machine.launch([span], choices)()
    assert got[0] == int(logits[0].argmax())
    assert got[1] == [17, 4000, 8191][int(logits[1][[17, 4000, 8191]].argmax())]
    assert isinstance(got[2], torch.Tensor) and close(got[2], logits[2])
    likely = set(logits[3].topk(5).indices.tolist())
    drawn = {machine.launch([span], [*choices[:3], Choice(warm, s, None)])()[3] for s in range(4)}
    assert got[3] in likely and drawn <= likely and len(drawn) > 1
    again = machine.launch([span], choices)()
    assert got[:2] == again[:2] and got[3] == again[3]


def test_any_top_k_and_seed_can_be_asked_for(model: LoadedModel, machine: KernelMachine) -> None:
    """More than fits into the numbers of the kernel: all tokens, and one of its seeds."""
    filled(model.llama, machine._pool, 4)
    span = Span([5], 30, [0, 1], 1)

    def chosen(top_k: int, seed: int) -> Rows:
        params = SamplingParams(temperature=1.0, top_k=top_k, seed=seed)
        return machine.launch([span], [Choice(params, Sampler(params).seed, None)])()

    assert chosen(2**40, 2**63 - 1) == chosen(0, 2**63 - 1)
    assert chosen(0, 2**63) == chosen(0, -(2**63))


def test_answers_are_those_of_plain_torch(model: LoadedModel) -> None:
    """Prompts of several chunks, in company, drafts and healing included."""
    texts = ("x = ", "def f(a, b):\n    return a + b\n\nprint(f(1, 2))\n" * 3, "value = 1\n" * 4)
    answers = []
    for machine in (make, TorchMachine):
        bench = Bench(model, pages=32, machine=machine)
        asked = [bench.ask("inline", text, 4) for text in texts]
        bench.run()
        answers.append([one.ids for one in asked])
    assert answers[0] == answers[1] and all(len(ids) == 4 for ids in answers[0])


def test_a_prompts_scores_are_those_of_plain_torch(model: LoadedModel) -> None:
    """More rows than are chosen for at once, twice over, cached or not, and beside another."""
    told = SamplingParams(logprobs=1)
    scores: list[list[float | None]] = []
    for machine in (make, TorchMachine):
        bench = Bench(model, pages=32, machine=machine)
        for _ in range(2):
            asked = bench.ask("completion", "value = 1\n" * 9, 2, sampling=told, scored=True)
            other = bench.ask("completion", "value = 1\n" * 4, 2)
            bench.run()
            assert len(asked.ids) == 2 and len(other.ids) == 2
            assert len(asked.scores) == len(asked.request.prompt.ids) > 2 * GROUP
            scores.append(asked.scores)
    assert all(own[0] is None and own[1:] == pytest.approx(scores[0][1:]) for own in scores)


def test_wrong_numbers_are_found_at_the_start(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_engine.errors import EngineError
    from cl_engine.models import fused

    monkeypatch.setattr(fused, "project_residual", lambda *a: None)
    with pytest.raises(EngineError, match=r"wrong numbers on cpu.*--kernels torch"):
        make(model.llama, model.llama.new_pool(8, SIZE))
