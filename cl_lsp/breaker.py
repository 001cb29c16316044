"""Not asking for a while what keeps failing: a circuit breaker, for engines here and elsewhere."""

import time
from collections.abc import Callable

FAILURES = 3  # in a row, before the first pause
FIRST_S, LONGEST_S = 2.0, 60.0  # a pause is twice the one before


class Breaker:
    """Calls go through until several in a row have failed; then one after each pause."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self.reason = ""

    @property
    def pause_s(self) -> float:
        """How long nothing should be asked from now on; 0: ask."""
        return max(0.0, self._until - self._clock())

    def failed(self, reason: str, pause_s: float | None = None) -> None:
        """A call has failed; `pause_s` if it is known how long others would."""
        self._failures += 1
        self.reason = reason
        over = self._failures - FAILURES
        if pause_s is None and over >= 0:
            pause_s = min(FIRST_S * 2**over, LONGEST_S)
        if pause_s is not None:
            self._until = self._clock() + min(pause_s, LONGEST_S)

    def succeeded(self) -> bool:
        """Whether that is news: calls had failed before."""
        again, self._failures, self._until = self._failures > 0, 0, 0.0
        return again
