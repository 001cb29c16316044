"""Messages between our own processes, which are of the same Python."""

import marshal
from typing import IO, Any

SIZE = 4  # bytes of a message's length


def frame(message: tuple[Any, ...]) -> bytes:
    """A message for the other side."""
    body = marshal.dumps(message)
    return len(body).to_bytes(SIZE, "little") + body


def read_frame(stream: IO[bytes]) -> tuple[Any, ...] | None:
    """The next message; None at the end."""
    head = stream.read(SIZE)
    body = stream.read(int.from_bytes(head, "little"))
    return marshal.loads(body) if len(head) == SIZE and body else None
