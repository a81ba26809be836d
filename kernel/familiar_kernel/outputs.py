"""Where an answer shows: the outputs of the cell that asked, published from any thread.

A growing answer is shown as several outputs, so that each update carries only its end, and stays in the notebook
as one. For that the cell's outputs are cleared when the answer is whole, and only the answer may be lost by it: so
this module also knows which cells have output of anybody else's.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kernel import FamiliarKernel

_DELIMITER = b"<IDS|MSG>"
_MSG_ID = re.compile(rb'"msg_id":\s*"([^"]*)"')
_SHOWS = re.compile(rb'"msg_type":\s*"(?:stream|display_data|execute_result|error)"')
_CELLS_KEPT = 64


class OutputWatch:
    """Knows which cells have output that is not an answer's.

    It looks at everything that the kernel sends on iopub, at the one place where all of it passes. What it
    cannot read (a session may pack its messages otherwise than as JSON) counts as output of every cell.
    """

    def __init__(self, iopub_thread: Any) -> None:
        self._send: Callable[..., None] = iopub_thread.send_multipart
        self._ours = threading.local()
        self._cells: dict[bytes, None] = {}
        self._unreadable = False
        iopub_thread.send_multipart = self._look_and_send

    def has_others_output(self, cell: str) -> bool:
        """Whether a cell, named by its request's id, has output that is not an answer's."""
        return self._unreadable or cell.encode() in self._cells

    def publish(self, send: Callable[[], object]) -> None:
        """Call ``send``, whose messages are an answer's."""
        self._ours.now = True
        try:
            send()
        finally:
            self._ours.now = False

    def _look_and_send(self, message: Any, *args: Any, **kwargs: Any) -> None:
        if not getattr(self._ours, "now", False):
            self._look(message)
        self._send(message, *args, **kwargs)

    def _look(self, message: Any) -> None:
        try:
            start = message.index(_DELIMITER)
            header, parent = message[start + 2], message[start + 3]
            if _SHOWS.search(header):
                cell = _MSG_ID.search(parent)
                if cell is not None:
                    self._note(cell[1])
            elif b"msg_type" not in header:
                self._unreadable = True
        except (AttributeError, IndexError, TypeError, ValueError):
            self._unreadable = True

    def _note(self, cell: bytes) -> None:
        if cell not in self._cells:
            self._cells[cell] = None
            for old in list(self._cells)[:-_CELLS_KEPT]:
                self._cells.pop(old, None)


class CellOutputs:
    """The outputs of one answer, in the cell that asked. See ``familiar_kernel.answer.view.Surface``."""

    def __init__(self, kernel: FamiliarKernel) -> None:
        session = kernel.session
        assert session is not None
        self._session = session
        self._socket = kernel.iopub_socket
        self._topic = kernel._topic
        self._parent: dict[str, Any] = kernel.get_parent("shell")
        self._cell = str(self._parent.get("header", {}).get("msg_id", ""))
        self._watch = kernel.output_watch
        self._displays: list[str] = []

    def alone(self) -> bool:
        """Whether the cell shows nothing but this answer, so that clearing it loses nothing."""
        return bool(self._cell) and not self._watch.has_others_output(self._cell)

    def add(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Show one more output, behind those that are there."""
        self._displays.append(f"familiar-{uuid.uuid4().hex[:12]}")
        self._publish("display_data", self._displays[-1], data, metadata)

    def update(self, number: int, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Replace what the ``number``-th output shows, counted from 0."""
        self._publish("update_display_data", self._displays[number], data, metadata)

    def replace_all(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Clear the cell and show one output."""
        self._displays.clear()
        self._send("clear_output", {"wait": True})
        self.add(data, metadata)

    def _publish(
        self, kind: str, display_id: str, data: dict[str, Any], metadata: dict[str, Any]
    ) -> None:
        content = {"data": data, "metadata": metadata, "transient": {"display_id": display_id}}
        self._send(kind, content)

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        self._watch.publish(
            lambda: self._session.send(
                self._socket, kind, content, parent=self._parent, ident=self._topic(kind)
            )
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

    def replace_all(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Keep this one output."""
        self.bundles[:] = [(data, metadata)]
