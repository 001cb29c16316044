"""What the assistant is doing, for a status line: told on each change, to a client that asked.

A client asks with the capability `experimental.clLsp.status: true`.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

METHOD = "cl-lsp/status"
Name = Literal["idle", "thinking", "loading", "error", "off"]
WORDS = {
    "idle": "ready",
    "thinking": "asking the model",
    "loading": "loading the model",
    "error": "there is a problem",
    "off": "off",
}


@dataclass(frozen=True)
class State:
    """`last_ms`: how long the engine's last suggestion took; `reason`: why the last request had
    none."""

    state: Name = "idle"
    message: str = WORDS["idle"]
    model: str | None = None
    last_ms: float | None = None
    reason: str | None = None


class Board:
    """The state, put together from what is going on at once."""

    def __init__(self, send: Callable[[dict[str, Any]], None]):
        self._send = send
        self.wanted = False
        self._asked = self._loading = 0  # at this moment
        self._off = ""
        self._error = ""
        self._title = ""
        self._rest = State()
        self._sent: State | None = None

    @property
    def state(self) -> State:
        name, message = self._now()
        return replace(self._rest, state=name, message=message or WORDS[name])

    def off(self, why: str) -> None:
        """Nothing is suggested; "": it is again."""
        self._off = why
        self.tell()

    @contextlib.contextmanager
    def asking(self, model: str | None) -> Iterator[None]:
        """Somebody waits for the engine's answer."""
        self._asked += 1
        self._rest = replace(self._rest, model=model)
        self.tell()
        try:
            yield
        finally:
            self._asked -= 1
            self.tell()

    def loads(self, title: str) -> None:
        """A model is being loaded; `loaded` follows."""
        self._loading, self._title = self._loading + 1, title
        self.tell()

    def loaded(self) -> None:
        self._loading -= 1
        self.tell()

    def failed(self, error: str) -> None:
        """The engine cannot be asked; "": it can."""
        self._error = error
        self.tell()

    def suggested(self, ms: float) -> None:
        """`ms`: that the engine took; 0 if it was not asked."""
        self._error = ""
        self._rest = replace(self._rest, last_ms=round(ms, 1) or self._rest.last_ms, reason=None)
        self.tell()

    def silent(self, reason: str, error: str = "") -> None:
        """Nothing was suggested; `error`: because something is wrong."""
        self._error = error
        self._rest = replace(self._rest, reason=reason)
        self.tell()

    def tell(self) -> None:
        if self.wanted and (state := self.state) != self._sent:
            self._sent = state
            self._send(asdict(state))

    def _now(self) -> tuple[Name, str]:
        if self._off:
            return "off", self._off
        if self._loading:
            return "loading", self._title
        if self._asked:
            return "thinking", ""
        return ("error", self._error) if self._error else ("idle", "")


def wanted(experimental: Any) -> bool:
    """Whether a client's experimental capabilities ask for it."""
    ours = experimental.get("clLsp") if isinstance(experimental, dict) else None
    return isinstance(ours, dict) and ours.get("status") is True
