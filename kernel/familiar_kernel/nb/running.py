"""Sends code to a kernel and hears it to its end, or to the end of the time it was given.

The protocol is jupyter_client's, what becomes of the outputs nbclient's. The loop is our own: the
time limit is a cell's, not one between two messages, and the kernel may end.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import zmq

from . import kernels
from .widgets import models_of

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
SWITCH = 0.0003
"""Seconds after which a thread makes way for another, while nbclient is loaded."""
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
        kernels.stop(self._client, self._state)

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

    To load nbclient takes longer than many notebooks take to run. So it is loaded beside that, and
    what is heard meanwhile waits.

    Args:
        document: the notebook.
        kernel: talks to its kernel; a widget that holds outputs is told what it holds.
    """

    def __init__(self, document: Document, kernel: BlockingKernelClient) -> None:
        self._kernel = kernel
        self._cells = [cell.kind for cell in document.cells]
        self._ran: dict[int, Cell] = {}
        self._lock = threading.RLock()
        self._heard: list[tuple[int, Message | None]] = []
        self._client: NotebookClient | None = None
        usual = sys.getswitchinterval()
        # Or each message would wait for the loader to let go, ten times as long as it takes.
        sys.setswitchinterval(SWITCH)
        self._loading = threading.Thread(target=_load, args=(usual,), name="nb-load", daemon=True)
        self._loading.start()

    def begin(self, cell: Cell) -> None:
        """Begin anew with a cell that is going to run."""
        with self._lock:
            self._ran[cell.index] = cell
            self._heard.append((cell.index, None))

    def hear(self, cell: Cell, message: Message) -> None:
        """Take a message that the kernel has published for a cell."""
        with self._lock:
            self._heard.append((cell.index, message))

    def of(self, cell: Cell) -> tuple[list[dict[str, Any]], int | None]:
        """Return what a cell has shown so far, and its number."""
        with self._lock:
            made = self._made().cells[cell.index]
            for output in made.outputs:
                if pieces := output.pop("pieces", None):
                    output.text = output.text + "".join(pieces)
            return list(made.outputs), made.get("execution_count")

    def widgets(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the models of widgets that were made, and what was changed of others; see
        :func:`.widgets.merged`."""
        with self._lock:
            self._made()
            assert self._client is not None
            states = self._client.widget_state
            changed = {id: s for id, s in states.items() if "_model_name" not in s}
            if len(changed) == len(states):
                return {}, changed
            self._client.set_widgets_metadata()
            return models_of(self._client.nb.metadata.widgets), changed

    @property
    def can_tell(self) -> bool:
        """Whether what was heard can be told without a wait."""
        return not self._loading.is_alive()

    def ran(self) -> Sequence[Cell]:
        """Return the cells that have run: a later one may have updated what they show."""
        with self._lock:
            return list(self._ran.values())

    def _made(self) -> Any:
        """Return the notebook with all that was heard."""
        client = self._client
        if client is None:
            self._loading.join()
            from nbclient import NotebookClient
            from nbformat import from_dict

            cells = [{"cell_type": kind, "metadata": {}, "outputs": []} for kind in self._cells]
            notebook = from_dict({"metadata": {}, "cells": cells})
            client = self._client = NotebookClient(notebook, record_timing=False)
            client.kc = self._kernel
        heard, self._heard = self._heard, []
        for index, message in heard:
            made = client.nb.cells[index]
            if message is None:
                made.outputs, made.execution_count = [], None
                client.clear_before_next_output = False
                client.clear_display_id_mapping(index)
            else:
                _take(client, made, index, message)
        return client.nb


def _load(usual: float) -> None:
    try:
        import nbclient  # noqa: F401
    finally:
        sys.setswitchinterval(usual)


def _take(client: NotebookClient, made: Any, index: int, message: Message) -> None:
    """Put a message into a cell's outputs."""
    from nbclient.exceptions import CellExecutionComplete

    if message["msg_type"] == "stream" and not client.clear_before_next_output:
        content = message["content"]
        last = made.outputs[-1] if made.outputs else None
        if last and last.output_type == "stream" and last.name == content.get("name"):
            # Pieces are joined when they are asked for: of 50 MB there are many.
            last.setdefault("pieces", []).append(str(content.get("text", "")))
            return
    with suppress(CellExecutionComplete):
        client.process_message(message, made, index)
