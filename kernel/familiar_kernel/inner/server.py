"""Serves the outer kernel's calls: looks at variables, runs Claude's code, completes names.

A call that belongs to a prompt is served by the thread that waits for that prompt: it ran the cell,
so the output is the cell's and an interrupt reaches the code. Where the main thread waits for
another prompt, that one serves it; where it is idle, it is served between two cells.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from familiar_kernel.familiar.inbox import Inbox
from familiar_kernel.namespace.errors import ProbeError
from familiar_kernel.namespace.execution import CodeStopped

if TYPE_CHECKING:
    from familiar_kernel.namespace.local import LocalPlace

    from .bridge import Bridge, Message
    from .kernel import InnerKernel

_serving: ContextVar[bool] = ContextVar("familiar_serving", default=False)

AT_ONCE = ("has", "names", "attributes", "files", "file")
"""What runs none of the person's code, and does not need their thread."""
MOMENTS = 64
"""Moments that are kept for a later mark."""


class Server:
    """Serves the calls that come over one bridge."""

    def __init__(self, kernel: InnerKernel, bridge: Bridge) -> None:
        self._kernel = kernel
        self._bridge = bridge
        self._made: LocalPlace | None = None
        self._moments: dict[int, Any] = {}
        self._numbers = itertools.count(1)
        self._marks = itertools.count(1)
        self._lock = threading.Lock()
        self._waiters: dict[int, Inbox] = {}
        self._begun: dict[int, Callable[[bool], object]] = {}
        self._main: list[int] = []
        """The asks that the main thread waits for, the latest last."""

    @property
    def serving(self) -> bool:
        """Whether the code that runs here is Claude's own."""
        return _serving.get()

    def mark(self) -> int:
        """Mark what has been shown so far, in the stream of outputs; return the mark's number.

        The bridge is faster than the outputs: the outer kernel waits for the mark, so that what a
        cell printed before a prompt stands above its answer.
        """
        for stream in (sys.stdout, sys.stderr):
            # The code may have closed or replaced them.
            with suppress(AttributeError, ValueError, OSError):
                stream.flush()
        number = next(self._marks)
        kernel = self._kernel
        assert kernel.session is not None
        kernel.session.send(kernel.iopub_socket, "familiar_mark", {"number": number})
        return number

    # -- who serves --

    @contextmanager
    def waiting(self, ask: int, inbox: Inbox) -> Iterator[None]:
        """Have the calls of an ask put into this inbox; whoever takes one serves it."""
        main = threading.current_thread() is threading.main_thread()
        with self._lock:
            self._waiters[ask] = inbox
            if main:
                self._main.append(ask)
        try:
            yield
        finally:
            with self._lock:
                del self._waiters[ask]
                if main:
                    self._main.remove(ask)
                left = inbox.drain()
            for call in left:
                self.take(call)  # type: ignore[arg-type]

    def take(self, call: Message) -> None:
        """Hand a call to whoever can serve it. Called in any thread."""
        if call["name"] in AT_ONCE:
            self.serve(call)
            return
        with self._lock:
            inbox = self._waiters.get(call.get("ask") or 0)
            if inbox is None and self._main:
                inbox = self._waiters[self._main[-1]]
            if inbox is not None:
                inbox.put(call)  # type: ignore[arg-type]
                return
        self._kernel.io_loop.add_callback(self._between_cells, call)

    async def _between_cells(self, call: Message) -> None:
        kernel = self._kernel
        async with kernel._main_asyncio_lock:
            if not await self._may_begin(call):
                self._answer(call, error={"kind": "stopped"})
                return
            serving = asyncio.ensure_future(self.serve_awaiting(call))
            try:
                with kernel._cancel_on_sigint(serving):
                    await serving
            except (CodeStopped, asyncio.CancelledError):
                self._answer(call, error={"kind": "stopped"})

    async def _may_begin(self, call: Message) -> bool:
        """Ask whether a call that has waited is still wanted: its turn may have been stopped."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._begun[call["call"]] = lambda on: loop.call_soon_threadsafe(answer.set_result, on)
        self._bridge.send({"type": "begin", "call": call["call"]})
        return await answer

    def go(self, number: int, on: bool) -> None:
        """Take the answer to :meth:`_may_begin`. Called in the bridge's thread."""
        told = self._begun.pop(number, None)
        if told is not None:
            told(on)

    # -- serving --

    def serve(self, call: Message) -> None:
        """Serve a call, blocking.

        Raises:
            CodeStopped: the person interrupted it.
        """
        with self._for(call):
            self._do(call, lambda: self._operation(call))

    async def serve_awaiting(self, call: Message) -> None:
        """Serve a call as :meth:`serve` does, on the kernel's loop.

        Raises:
            CodeStopped: the person interrupted it.
        """
        if call["name"] != "run":
            self.serve(call)
            return
        with self._for(call):
            try:
                value = await self._place.run_awaiting(**call["arguments"])
            except ProbeError as err:
                self._answer(call, error={"kind": "probe", "text": str(err)})
            except CodeStopped:
                self._answer(call, error={"kind": "stopped"})
                raise
            else:
                self._answer(call, value)

    def _do(self, call: Message, operation: Callable[[], Any]) -> None:
        try:
            value = operation()
        except ProbeError as err:
            self._answer(call, error={"kind": "probe", "text": str(err)})
        except CodeStopped:
            self._answer(call, error={"kind": "stopped"})
            raise
        except TypeError as err:
            self._answer(call, error={"kind": "arguments", "text": str(err)})
        except Exception as err:
            # Whoever asked must not wait for ever, whatever the person's objects raise.
            self._answer(call, error={"kind": "probe", "text": f"It cannot be had: {err!r:.500}"})
        else:
            self._answer(call, value)

    def _operation(self, call: Message) -> Any:
        name, arguments = call["name"], call["arguments"]
        if name == "moment":
            number = next(self._numbers)
            self._moments[number] = self._place.moment()
            while len(self._moments) > MOMENTS:
                del self._moments[next(iter(self._moments))]
            return number
        if name == "mark":
            wanted = arguments["moment"]
            if wanted is None or wanted in self._moments:
                self._place.mark(self._moments.get(wanted))
            return None
        if name == "fit":
            arguments = {**arguments, "data": base64.b64decode(arguments["data"])}
        value = getattr(self._place, name)(**arguments)
        if name in ("fit", "picture"):
            return {"mime": value.mime, "data": value.base64, "told": value.told}
        return value

    def _answer(self, call: Message, value: Any = None, error: Message | None = None) -> None:
        message = {"type": "result", "call": call["call"], "value": value, "error": error}
        if call["name"] == "run":
            message["mark"] = self.mark()
        self._bridge.send(message)

    @contextmanager
    def _for(self, call: Message) -> Iterator[None]:
        """Have what runs be Claude's own, and show in the cell that the call is for."""
        kernel = self._kernel
        before = kernel.request_in_hand()
        parent = call.get("parent")
        mine = not parent or parent["header"].get("msg_id") == kernel.cell
        other = not mine and call["name"] not in AT_ONCE
        if other and parent:
            kernel.take_in_hand((before[0], parent))
        token = _serving.set(True)
        try:
            yield
        finally:
            _serving.reset(token)
            if other:
                kernel.take_in_hand(before)

    @property
    def _place(self) -> LocalPlace:
        if self._made is None:
            from familiar_kernel.namespace.local import LocalPlace  # not at boot

            self._made = LocalPlace(self._kernel.shell)
        return self._made
