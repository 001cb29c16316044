"""Every op against its reference, interpreted."""

import pytest
import torch

pytest.importorskip("triton", reason="kernels need triton, which comes with PyTorch for CUDA")

from tests.ops import checks
from tests.ops.cases import TINY, Maker, Shape

MHA = Shape(48, 3, 3, 16, 40, 33)


def maker(seed: int, dtype: torch.dtype = torch.float32) -> Maker:
    return Maker("cpu", dtype, seed)


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 16])
@pytest.mark.parametrize("shape", [TINY, MHA], ids=["gqa", "mha"])
def test_products(shape: Shape, rows: int) -> None:
    checks.check_all(maker(rows), shape, rows)


@pytest.mark.parametrize("rows", [1, 5])
def test_half_precision(rows: int) -> None:
    """Not bfloat16, which the interpreter rounds wrongly: kernels/bench.py checks it on a GPU."""
    checks.check_all(maker(7, torch.float16), TINY, rows)
    checks.check_attention(maker(7, torch.float16), TINY, [70 + rows], [rows])


@pytest.mark.parametrize(
    ("lengths", "counts"),
    [
        ([1], [1]),
        ([15], [1]),
        ([16], [1]),
        ([17], [1]),
        ([200], [1]),
        ([8], [8]),
        ([131], [8]),
        ([65], [3]),
        ([1, 90, 17, 64], [1, 1, 1, 1]),
        ([70, 0, 16, 0], [1, 0, 1, 0]),
        ([130, 9, 66], [8, 1, 7]),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [TINY, MHA], ids=["gqa", "mha"])
def test_attention(shape: Shape, lengths: list[int], counts: list[int]) -> None:
    checks.check_attention(maker(len(lengths)), shape, lengths, counts, size=16)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_attention_over_larger_pages(seed: int) -> None:
    checks.check_attention(maker(seed), TINY, [190, 65], [1, 2], size=64)


@pytest.mark.parametrize("rows", [1, 17])
@pytest.mark.parametrize("shape", [TINY, MHA], ids=["gqa", "mha"])
def test_many_rows(shape: Shape, rows: int) -> None:
    checks.check_many(maker(rows), shape, rows)
    checks.check_many(maker(rows, torch.float16), shape, rows)


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize(
    ("lengths", "counts"),
    [([1], [1]), ([70], [70]), ([150], [65]), ([17, 90, 33], [17, 1, 2])],
    ids=str,
)
@pytest.mark.parametrize("shape", [TINY, MHA], ids=["gqa", "mha"])
def test_prefill(shape: Shape, lengths: list[int], counts: list[int], in_order: bool) -> None:
    checks.check_prefill(maker(7), shape, lengths, counts, in_order)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("vocab", [33, 75, 1000])
def test_sampling(vocab: int, seed: int) -> None:
    checks.check_sample(maker(seed), vocab)


def test_draws_come_as_often_as_they_should() -> None:
    """Over many seeds, against the probabilities of what is left."""
    make, rows, vocab = maker(3), 16, 5
    logits = torch.tensor([[1.0, 0.5, 2.0, -1.0, 0.0]]).repeat(rows, 1)
    choices = make.choices(rows, vocab)
    for t, value in ((choices.temperature, 0.9), (choices.top_k, 0), (choices.top_p, 1.0)):
        t.fill_(value)
    choices.min_p.zero_()
    choices.masked.zero_()
    want = (logits[0] / 0.9).softmax(0)
    counts, draws = torch.zeros(vocab), 30
    for seed in range(draws):
        choices.seeds.copy_(torch.arange(rows) + 1000 * seed)
        ids = torch.full((rows,), -1)
        checks.sample(logits, choices, ids)
        counts += torch.bincount(ids, minlength=vocab)
    expected = want * rows * draws
    assert ((counts - expected).square() / expected).sum() < 18.5  # χ², 4 degrees, p = 0.001


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_program_past_the_last_row_leaves_the_rest_alone(seed: int) -> None:
    """Rows of no sequence keep what they had."""
    make = maker(seed)
    keys, values, known, scratch = make.cache(MHA, [20], [1], 16, 1)
    q, out = make.normal(3, 3, 16), make.nan(3, 3, 16)
    checks.paged_attention(q, keys, values, known, scratch, out)
    assert not out[0].isnan().any() and out[1:].isnan().all()
