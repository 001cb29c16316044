"""Fair shares of the engine: who has been served least goes first.

Start-time fair queuing (Goyal, Vin and Cheng, 1996): a client that was away has no credit from it.
"""

from collections.abc import Collection


class Shares:
    """What each client with work has been given, in tokens computed for it."""

    def __init__(self) -> None:
        self._served: dict[str, float] = {}
        self._clock = 0.0  # what the least served client with work has had

    def of(self, client: str) -> float:
        return self._served.get(client, self._clock)

    def charge(self, client: str, tokens: int) -> None:
        self._served[client] = self.of(client) + tokens

    def settle(self, clients: Collection[str]) -> None:
        """`clients` are those that have work now; the others are forgotten once they are level."""
        if clients:
            self._clock = max(self._clock, min(map(self.of, clients)))
        self._served = {
            client: served
            for client, served in self._served.items()
            if client in clients or served > self._clock
        }
