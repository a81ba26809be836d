"""Sends code to a kernel and hears it to its end, or to the end of the time it was given.

The protocol is jupyter_client's, what becomes of the outputs nbclient's. The loop is our own: the
time limit is a cell's, not one between two messages, and the kernel may end.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
_LOOK_EVERY = 0.2
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
        interrupted: whether it was stopped from here.
        outputs: what it shows, where that was kept.
    """

    state: State = "ok"
    reply: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    unreadable: list[str] = field(default_factory=list)
    interrupted: bool = False
    outputs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def was_stopped(self) -> bool:
        """Whether a person has stopped it, here or elsewhere: nothing behind it is to begin."""
        return self.interrupted or self.reply.get("ename") == "KeyboardInterrupt"

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
        stop: when it is set, what runs is interrupted.
    """

    def __init__(
        self,
        client: BlockingKernelClient,
        state: dict[str, Any],
        answer: Callable[[str, bool], str] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._stop = stop or threading.Event()
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
            timeout: seconds that it may run, once it has begun; then it is interrupted.
            store_history: whether it counts as a cell.
            stop_on_error: whether an error aborts what waits behind it.

        Raises:
            KeyboardInterrupt: the person has interrupted twice, or wants nb to end; the code may
                still run.
        """
        request = self._client.execute(
            code,
            store_history=store_history,
            allow_stdin=self._answer is not None,
            stop_on_error=stop_on_error,
        )
        ran = Ran()
        clock = _Clock(timeout)
        idle = replied = asked = late = False
        with _Signals(self._stop) as signals:
            while not (idle and replied):
                ready = dict(self._poller.poll(int(1000 * min(_LOOK_EVERY, clock.left))))
                for message in self._messages(self._client.iopub_channel.socket, ready, ran):
                    if message["parent_header"].get("msg_id") != request:
                        continue
                    if message["msg_type"] == "status":
                        state = message["content"].get("execution_state")
                        idle |= state == "idle"
                        if state == "busy":
                            clock.start()
                    heard(message)
                for message in self._messages(self._client.stdin_channel.socket, ready, ran):
                    if message["msg_type"] == "input_request" and self._answer is not None:
                        with clock.paused(), signals.usual():
                            self._reply(message["content"])
                for message in self._messages(self._client.shell_channel.socket, ready, ran):
                    if message["parent_header"].get("msg_id") == request:
                        ran.reply, replied = message["content"], True
                        status = ran.reply.get("status")
                        ran.state = status if status in ("ok", "aborted") else "error"
                if signals.count > 1:
                    raise KeyboardInterrupt
                if not ready and kernels.process_of(self._state) is None:
                    ran.state = "died"
                    break
                # What has not begun is not interrupted: that would stop what runs before it.
                if clock.runs and self._stop.is_set() and not asked and not (idle and replied):
                    asked = ran.interrupted = True
                    self._interrupt()
                if clock.left <= 0 and not (idle and replied):
                    if late:
                        break
                    late = True
                    clock.set(INTERRUPT_TIMEOUT)
                    self._interrupt()
        if late and ran.state != "died":
            ran.state = "timeout"
        ran.interrupted |= signals.count > 0
        ran.seconds = clock.passed
        return ran

    def _reply(self, asked: dict[str, Any]) -> None:
        """Answer a question of the code."""
        assert self._answer is not None
        try:
            told = self._answer(str(asked.get("prompt", "")), bool(asked.get("password")))
        except KeyboardInterrupt:
            self._stop.set()
            return
        self._client.input(told)

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


class _Clock:
    """A cell's own time: from its start, without what a person took for an answer.

    Args:
        limit: seconds that it has; None: as many as it takes.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit = float("inf") if limit is None else limit
        self._began: float | None = None

    @property
    def runs(self) -> bool:
        return self._began is not None

    @property
    def passed(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def left(self) -> float:
        return max(0.0, self._limit - self.passed)

    def start(self) -> None:
        if self._began is None:
            self._began = time.monotonic()

    def set(self, left: float) -> None:
        """Give it some seconds from now."""
        self._limit = self.passed + left

    @contextmanager
    def paused(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._limit += time.monotonic() - began


class _Signals:
    """Ctrl-C as a wish to stop that is looked at between two messages: an exception could come
    while one is handled, and lose it. To be told to end (SIGTERM, a terminal that closes) counts
    twice: the code is left, and what it has shown so far is saved.

    Args:
        stop: is set by it.
    """

    def __init__(self, stop: threading.Event) -> None:
        self.count = 0
        self._set = stop
        self._before: dict[int, Any] = {}

    def _take(self, number: int, _: object) -> None:
        self.count += 1 if number == signal.SIGINT else 2
        self._set.set()

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @contextmanager
    def usual(self) -> Iterator[None]:
        """Have Ctrl-C raise its exception inside, for what waits for a person."""
        if signal.SIGINT not in self._before:
            yield
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, self._take)


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
        self.faults: list[str] = []
        """What was wrong with outputs that were left out."""
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

    def forget(self, cell: Cell) -> None:
        """Know nothing of a cell that has not run after all."""
        with self._lock:
            self._ran.pop(cell.index, None)

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
                try:
                    _take(client, made, index, message)
                except Exception as err:
                    # A message without what the protocol wants in it costs that one output.
                    self.faults.append(f"{message['msg_type']}: {err!r}")
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
