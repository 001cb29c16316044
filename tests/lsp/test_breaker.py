"""Pauses of the circuit breaker, on a clock of its own."""

from cl_lsp.breaker import Breaker


def test_pauses_grow_and_end() -> None:
    now = [0.0]
    one = Breaker(lambda: now[0])
    pauses = []
    for _ in range(12):
        one.failed("no")
        pauses.append(one.pause_s)
        now[0] += one.pause_s
    assert pauses == [0, 0, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert one.succeeded() and not one.succeeded()
    one.failed("no")
    assert one.pause_s == 0
    one.failed("no", 1e9)
    assert one.pause_s == 60
