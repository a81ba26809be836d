"""Sends code to a kernel and hears it to its end, or to the end of the time it was given.

The protocol is jupyter_client's, what becomes of the outputs nbclient's. The loop is our own: the
time limit is a cell's, not one between two messages, and the kernel may end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import zmq

from . import kernels

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient
    from nbclient import NotebookClient

    from .document import Cell, Document

Message = dict[str, Any]
State = Literal["ok", "error", "aborted", "timeout", "died"]

WELCOME_TIMEOUT = 2.0
"""Seconds in which a kernel that welcomes those who listen has done so; others never do."""
INTERRUPT_TIMEOUT = 5.0
"""Seconds that code has to end once it was interrupted."""
_LOOK_EVERY = 0.5
"""Seconds of silence after which the kernel's process is looked for."""


@dataclass
class Ran:
    """What came of one request.

    Attributes:
        state: ``ok``, ``error``, ``aborted`` (not run, as one before it failed), ``timeout`` or
            ``died``.
        reply: the kernel's reply; empty where none came.
        seconds: how long it took.
        unreadable: what was wrong with messages that could not be read.
    """

    state: State = "ok"
    reply: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    unreadable: list[str] = field(default_factory=list)

    @property
    def error(self) -> str:
        """The error in one line, where there was one."""
        name, value = self.reply.get("ename", ""), self.reply.get("evalue", "")
        return f"{name}: {value}".strip(": ") if self.state == "error" else ""

    @property
    def count(self) -> int | None:
        """The number that the cell got."""
        count = self.reply.get("execution_count")
        return count if isinstance(count, int) else None


class Runner:
    """Runs code in one kernel.

    Args:
        client: talks to it.
        state: what is known of the kernel.
        answer: answers a question of the code, given it and whether the answer is a secret; None
            where nobody is there to be asked.
    """

    def __init__(
        self,
        client: BlockingKernelClient,
        state: dict[str, Any],
        answer: Callable[[str, bool], str] | None = None,
    ) -> None:
        self._client = client
        self._state = state
        self._answer = answer
        self._poller = zmq.Poller()
        for channel in (client.iopub_channel, client.shell_channel, client.stdin_channel):
            self._poller.register(channel.socket, zmq.POLLIN)
        self._wait_for_welcome()

    def _wait_for_welcome(self) -> None:
        """Wait until what the kernel publishes arrives here, or the first outputs would be lost."""
        if self._client.iopub_channel.socket.poll(int(WELCOME_TIMEOUT * 1000)):
            return
        # A kernel without a welcome: what a request of ours has it publish does as well.
        until = time.monotonic() + WELCOME_TIMEOUT
        while time.monotonic() < until:
            self._client.kernel_info()
            if self._client.iopub_channel.socket.poll(200):
                return

    def run(
        self,
        code: str,
        heard: Callable[[Message], None],
        *,
        timeout: float | None = None,
        store_history: bool = True,
        stop_on_error: bool = True,
    ) -> Ran:
        """Run code and return what came of it.

        Args:
            code: what to run.
            heard: called with each message that the kernel publishes for it.
            timeout: seconds that it may run; then it is interrupted.
            store_history: whether it counts as a cell.
            stop_on_error: whether an error aborts what waits behind it.

        Raises:
            KeyboardInterrupt: the person has interrupted twice; the code may still run.
        """
        began = time.monotonic()
        request = self._client.execute(
            code,
            store_history=store_history,
            allow_stdin=self._answer is not None,
            stop_on_error=stop_on_error,
        )
        ran = Ran()
        until = None if timeout is None else began + timeout
        idle = replied = interrupted = late = False
        while not (idle and replied):
            try:
                wait = _LOOK_EVERY if until is None else min(_LOOK_EVERY, until - time.monotonic())
                ready = dict(self._poller.poll(max(0, int(wait * 1000))))
                for message in self._messages(self._client.iopub_channel.socket, ready, ran):
                    if message["parent_header"].get("msg_id") != request:
                        continue
                    heard(message)
                    content = message["content"]
                    idle |= message["msg_type"] == "status" and (
                        content.get("execution_state") == "idle"
                    )
                for message in self._messages(self._client.stdin_channel.socket, ready, ran):
                    if message["msg_type"] == "input_request" and self._answer is not None:
                        asked = message["content"]
                        waited = time.monotonic()
                        secret = bool(asked.get("password"))
                        self._client.input(self._answer(str(asked.get("prompt", "")), secret))
                        if until is not None:
                            until += time.monotonic() - waited  # the person's time, not the cell's
                for message in self._messages(self._client.shell_channel.socket, ready, ran):
                    if message["parent_header"].get("msg_id") == request:
                        ran.reply, replied = message["content"], True
                        status = ran.reply.get("status")
                        ran.state = status if status in ("ok", "aborted") else "error"
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                self._interrupt()
            if not ready and kernels.process_of(self._state) is None:
                ran.state = "died"
                break
            if until is not None and time.monotonic() >= until and not (idle and replied):
                if late:
                    break
                late = True
                until = time.monotonic() + INTERRUPT_TIMEOUT
                self._interrupt()
        if late and ran.state != "died":
            ran.state = "timeout"
        ran.seconds = time.monotonic() - began
        return ran

    def _interrupt(self) -> None:
        if self._state.get("interrupt") == "message":
            message = self._client.session.msg("interrupt_request", {})
            self._client.control_channel.send(message)
        elif process := kernels.process_of(self._state):
            process.send_signal(2)

    def _messages(
        self, socket: zmq.Socket[bytes], ready: dict[Any, int], ran: Ran
    ) -> Iterator[Message]:
        """Return what has come on a socket. What is no message is noted, and the next one read."""
        if socket not in ready:
            return
        for _ in range(200):
            try:
                _, message = self._client.session.recv(socket, mode=zmq.NOBLOCK)
            except zmq.ZMQError as err:
                ran.unreadable.append(str(err))
                return
            except (ValueError, TypeError, KeyError, IndexError, AttributeError) as err:
                ran.unreadable.append(f"{type(err).__name__}: {err}")
                continue
            if message is None:
                return
            yield message


class Outputs:
    """What cells of one notebook show, as nbclient has it: with displays that later ones update.

    Args:
        document: the notebook.
    """

    def __init__(self, document: Document) -> None:
        from nbclient import NotebookClient
        from nbformat import NotebookNode, from_dict

        cells = [{"cell_type": cell.kind, "metadata": {}, "outputs": []} for cell in document.cells]
        self._notebook: NotebookNode = from_dict({"metadata": {}, "cells": cells})
        self._client: NotebookClient = NotebookClient(self._notebook, record_timing=False)
        self._ran: dict[int, Cell] = {}
        self._written: dict[int, str] = {}

    def begin(self, cell: Cell) -> None:
        """Begin anew with a cell that is going to run."""
        self._ran[cell.index] = cell
        self._of(cell.index).outputs = []
        self._of(cell.index).execution_count = None
        self._client.clear_before_next_output = False
        self._client.clear_display_id_mapping(cell.index)

    def hear(self, cell: Cell, message: Message) -> None:
        """Take a message that the kernel has published for a cell."""
        from nbclient.exceptions import CellExecutionComplete

        made = self._of(cell.index)
        outputs = made.outputs
        if message["msg_type"] == "stream" and not self._client.clear_before_next_output:
            content = message["content"]
            last = outputs[-1] if outputs else None
            if last and last.output_type == "stream" and last.name == content.get("name"):
                # Pieces are joined when they are asked for: of 50 MB there are many.
                last.setdefault("pieces", []).append(str(content.get("text", "")))
                return
        try:
            self._client.process_message(message, made, cell.index)
        except CellExecutionComplete:
            return

    def of(self, cell: Cell) -> tuple[list[dict[str, Any]], int | None]:
        """Return what a cell has shown so far, and its number."""
        made = self._of(cell.index)
        for output in made.outputs:
            if pieces := output.pop("pieces", None):
                output.text = output.text + "".join(pieces)
        return list(made.outputs), made.get("execution_count")

    def ran(self) -> Sequence[Cell]:
        """Return the cells that have run: a later one may have updated what they show."""
        return list(self._ran.values())

    def _of(self, index: int) -> Any:
        return self._notebook.cells[index]
