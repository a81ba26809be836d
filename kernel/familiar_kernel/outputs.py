"""Where an answer shows: the outputs of the cell that asked, published from any thread.

A growing answer is shown as several outputs, so that each update carries only its end, and stays in
the notebook as one. For that the cell's outputs are cleared when the answer is whole, and nothing
but the answer may be lost by it: so this module also knows whose outputs a cell shows.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .cell_log import CellLog

if TYPE_CHECKING:
    from .kernel import FamiliarKernel

_DELIMITER = b"<IDS|MSG>"
_MSG_ID = re.compile(rb'"msg_id":\s*"([^"]*)"')
_LOGGED = re.compile(
    rb'"msg_type":\s*"'
    rb'(stream|display_data|execute_result|error|execute_input|clear_output)"'
)
_SHOW_NOTHING = (b"execute_input", b"clear_output")
_IDLE = re.compile(rb'"execution_state":\s*"idle"')
_CELLS_KEPT = 64
"""Cells that are over of which it is known whose outputs they show."""
_CELLS_KNOWN = 20_000
"""Cells that are over of which it is known that they show something."""
_SOMEBODY: frozenset[object] = frozenset({None})


class OutputWatch:
    """Knows what the latest cells show (:attr:`log`), and whose outputs these are.

    It looks at everything that the kernel sends on iopub, at the one place where all of it passes.
    What it cannot read (a session may pack its messages otherwise than as JSON) counts as somebody
    else's output in every cell.
    """

    def __init__(self, iopub_thread: Any) -> None:
        self.log = CellLog()
        self._send: Callable[..., None] = iopub_thread.send_multipart
        self._lock = threading.RLock()
        self._sender = threading.local()
        self._owners: dict[bytes, set[object] | frozenset[object]] = {}
        """By the cell's request id: who has shown something in it; None stands for the user's
        code."""
        self._over: deque[bytes] = deque()
        self._unreadable = False
        iopub_thread.send_multipart = self._look_and_send

    def owned(self, cell: str, owner: object) -> bool:
        """Whether a cell, named by its request's id, shows nothing but this owner's outputs."""
        return not self._unreadable and self._owners.get(cell.encode(), set()) <= {owner}

    @contextmanager
    def sending(self, owner: object) -> Iterator[None]:
        """Count what this thread sends as the owner's. Nobody else's output comes in between."""
        with self._lock:
            before = getattr(self._sender, "owner", None)
            self._sender.owner = owner
            try:
                yield
            finally:
                self._sender.owner = before

    def _look_and_send(self, message: Any, *args: Any, **kwargs: Any) -> None:
        with self._lock:
            self._look(message)
            self._send(message, *args, **kwargs)

    def _look(self, message: Any) -> None:
        try:
            start = message.index(_DELIMITER)
            header, parent = message[start + 2], message[start + 3]
            if kind := _LOGGED.search(header):
                cell = _MSG_ID.search(parent)
                if cell is not None:
                    self._note(cell[1], kind[1], message[start + 5])
            elif b'"status"' in header and _IDLE.search(message[start + 5]):
                cell = _MSG_ID.search(parent)
                if cell is not None and cell[1] in self._owners:
                    self._forget(cell[1])
            elif b"msg_type" not in header:
                self._unreadable = True
        except (AttributeError, IndexError, TypeError, ValueError):
            self._unreadable = True

    def _note(self, cell: bytes, kind: bytes, content: bytes) -> None:
        owner = getattr(self._sender, "owner", None)
        if owner is None:
            self.log.note(cell, kind, bytes(content))
        if kind not in _SHOW_NOTHING:
            self._owners[cell] = {owner, *self._owners.get(cell, ())}

    def _forget(self, over: bytes) -> None:
        """Note that a cell is over, and forget who showed what in the oldest that are."""
        self._over.append(over)
        if len(self._over) > _CELLS_KEPT:
            self._owners[self._over[-_CELLS_KEPT - 1]] = _SOMEBODY
        if len(self._over) > _CELLS_KNOWN:
            self._owners.pop(self._over.popleft(), None)


class CellOutputs:
    """The outputs of one answer in its cell: a :class:`familiar_kernel.answer.view.Surface`."""

    def __init__(self, kernel: FamiliarKernel) -> None:
        session = kernel.session
        assert session is not None
        self._session = session
        self._socket = kernel.iopub_socket
        self._topic = kernel._topic
        self.request = kernel.request_in_hand()
        """The front end's identity, and the request in whose cell this shows."""
        self._parent: dict[str, Any] = self.request[1]
        self._cell = str(self._parent.get("header", {}).get("msg_id", ""))
        self._watch = kernel.output_watch
        self._displays: list[str] = []

    def alone(self) -> bool:
        """Whether the cell shows nothing but this answer, so that clearing it loses nothing."""
        return bool(self._cell) and self._watch.owned(self._cell, self)

    def add(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Show one more output, behind those that are there."""
        self._displays.append(f"familiar-{uuid.uuid4().hex[:12]}")
        self._publish("display_data", self._displays[-1], data, metadata)

    def update(self, number: int, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Replace what the ``number``-th output shows, counted from 0."""
        self._publish("update_display_data", self._displays[number], data, metadata)

    def replace_all(self, data: dict[str, Any], metadata: dict[str, Any]) -> bool:
        """Clear the cell and show one output; or, where the answer is not alone, return False."""
        with self._watch.sending(self):
            if not self.alone():
                return False
            self._displays.clear()
            self._send("clear_output", {"wait": True})
            self.add(data, metadata)
        return True

    def aside(self, data: dict[str, Any]) -> str:
        """Show something beside the answer that goes with its growing, and return its display id.

        It is the answer's own: where the cell is cleared for the whole answer, it goes.
        """
        display = f"familiar-{uuid.uuid4().hex[:12]}"
        self._publish("display_data", display, data, {"familiar": {}})
        return display

    def change_aside(self, display: str, data: dict[str, Any]) -> None:
        """Replace what :meth:`aside` shows."""
        self._publish("update_display_data", display, data, {"familiar": {}})

    def fail(self, error: Exception) -> None:
        """Show an error, where no cell is there to raise it."""
        lines = error._render_traceback_() if hasattr(error, "_render_traceback_") else [str(error)]
        content = {"ename": type(error).__name__, "evalue": str(error), "traceback": lines}
        self._send("error", content)

    def _publish(
        self, kind: str, display_id: str, data: dict[str, Any], metadata: dict[str, Any]
    ) -> None:
        content = {"data": data, "metadata": metadata, "transient": {"display_id": display_id}}
        self._send(kind, content)

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        with self._watch.sending(self):
            self._session.send(
                self._socket, kind, content, parent=self._parent, ident=self._topic(kind)
            )


class CapturedOutputs:
    """Keeps what an answer shows, for a cell whose displays somebody captures."""

    def __init__(self) -> None:
        self.bundles: list[tuple[dict[str, Any], dict[str, Any]]] = []
        """Data and metadata of each output."""

    def alone(self) -> bool:
        """Whether there is nothing but the answer."""
        return True

    def add(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Keep one more output."""
        self.bundles.append((data, metadata))

    def update(self, number: int, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Keep this in place of an output."""
        self.bundles[number] = (data, metadata)

    def replace_all(self, data: dict[str, Any], metadata: dict[str, Any]) -> bool:
        """Keep this one output."""
        self.bundles[:] = [(data, metadata)]
        return True
