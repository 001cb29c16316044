"""What a user of Neovim sees, frame by frame: a screen that is attached to it as a terminal is."""

import socket
import threading
from pathlib import Path
from types import TracebackType

import msgpack

COLUMNS, ROWS = 80, 24


class Frames:
    """While open, `seen` gets the row that begins so, as each finished frame has it."""

    def __init__(self, address: Path, beginning: str):
        self.seen: list[str] = []
        self._beginning = beginning
        self._cells = [[" "] * COLUMNS for _ in range(ROWS)]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(address))
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> "Frames":
        options = {"ext_linegrid": True}
        attach = [0, 0, "nvim_ui_attach", [COLUMNS, ROWS, options]]
        self._socket.sendall(msgpack.packb(attach) or b"")
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        messages = msgpack.Unpacker()
        while data := self._socket.recv(1 << 16):
            messages.feed(data)
            for message in messages:
                if message[0] == 2:  # a notification: events of one kind each, with their arguments
                    for name, *calls in message[2]:
                        for arguments in calls:
                            getattr(self, f"_{name}", lambda *_: None)(*arguments)

    def _grid_line(self, grid: int, row: int, column: int, cells: list, *wrap: object) -> None:
        for text, *more in cells:
            for _ in range(more[1] if len(more) > 1 else 1):
                self._cells[row][column] = text
                column += 1

    def _grid_clear(self, grid: int) -> None:
        self._cells = [[" "] * COLUMNS for _ in range(ROWS)]

    def _flush(self) -> None:
        for cells in self._cells:
            if (row := "".join(cells).rstrip()).startswith(self._beginning):
                self.seen.append(row)
