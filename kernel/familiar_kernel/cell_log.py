"""What the cells of this kernel held and showed, as it went out on iopub.

A kernel does not keep what its cells print. Front ends do, but a kernel cannot ask them. So the log
keeps the messages themselves, packed as they were sent and bounded in number and size, and reads
them only when somebody asks. Answers of the familiar's own are not in it.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from typing import Any, NamedTuple

CELLS_KEPT = 500
"""Cells, beyond which the oldest are forgotten."""
CELL_SIZE = 1 << 20
"""Bytes of one cell's output that are kept, half of them from its beginning."""
TOTAL_SIZE = 32 << 20
"""Bytes of all output that is kept."""


class Output(NamedTuple):
    """One output message: its type (``stream``, ``display_data``, ...) and its content."""

    kind: str
    content: dict[str, Any]


class LoggedCell:
    """One cell: what it held, and what it has shown so far."""

    def __init__(self, source: bytes, serial: int) -> None:
        self._source = source
        self.serial = serial
        """How many cells had begun when it did; grows from cell to cell."""
        self._head: list[tuple[bytes, bytes]] = []
        self._tail: deque[tuple[bytes, bytes]] = deque()
        self._head_size = self._tail_size = 0
        self.dropped = 0
        """Messages of output that were not kept, between the first and the last."""
        self.seen = 0
        """Messages of output so far."""

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._head_size + self._tail_size

    def add(self, kind: bytes, content: bytes) -> None:
        """Keep an output, or so many of the newest as there is room for."""
        self.seen += 1
        if not self._tail and self._head_size + len(content) <= CELL_SIZE // 2:
            self._head.append((kind, content))
            self._head_size += len(content)
            return
        self._tail.append((kind, content))
        self._tail_size += len(content)
        while self._tail_size > CELL_SIZE // 2:
            _, old = self._tail.popleft()
            self._tail_size -= len(old)
            self.dropped += 1

    def clear(self) -> None:
        """Forget the outputs: the cell was cleared."""
        self._head.clear()
        self._tail.clear()
        self._head_size = self._tail_size = self.dropped = 0

    @property
    def code(self) -> str:
        """What the cell held."""
        return str(json.loads(self._source).get("code", ""))

    @property
    def number(self) -> int:
        """Its execution count, as in ``In [7]``."""
        return int(json.loads(self._source).get("execution_count") or 0)

    def outputs(self, since: int = 0) -> list[Output]:
        """Return what it showed, without the first ``since`` messages."""
        kept = [*self._head, *[None] * self.dropped, *self._tail]
        first = self.seen - len(kept)  # what came before it was cleared
        wanted = kept[max(0, since - first) :]
        return [Output(item[0].decode(), json.loads(item[1])) for item in wanted if item]


class CellLog:
    """The latest cells, by their requests' ids. Fed by whoever sees all that goes to iopub."""

    def __init__(self) -> None:
        self._cells: OrderedDict[bytes, LoggedCell] = OrderedDict()
        self._size = 0
        self.begun = 0
        """Cells that have begun so far."""
        self._clear: set[bytes] = set()

    def note(self, cell: bytes, kind: bytes, content: bytes) -> None:
        """Note a message: that a cell begins, or that it shows or clears something."""
        if kind == b"execute_input":
            self.begun += 1
            self._cells[cell] = LoggedCell(content, self.begun)
            self._forget_old()
            return
        logged = self._cells.get(cell)
        if logged is None:
            return
        before = logged.size
        if kind == b"clear_output":
            if b"true" in content:
                self._clear.add(cell)  # with the next output
            else:
                logged.clear()
        else:
            if cell in self._clear:
                self._clear.discard(cell)
                logged.clear()
            logged.add(kind, content)
        self._size += logged.size - before
        self._forget_old()

    def _forget_old(self) -> None:
        while len(self._cells) > 1 and (len(self._cells) > CELLS_KEPT or self._size > TOTAL_SIZE):
            cell, oldest = self._cells.popitem(last=False)
            self._size -= oldest.size
            self._clear.discard(cell)

    def get(self, cell: str) -> LoggedCell | None:
        """Return a cell by its request's id."""
        return self._cells.get(cell.encode())

    def cells(self) -> list[LoggedCell]:
        """Return all cells that are known, oldest first."""
        return list(self._cells.values())
