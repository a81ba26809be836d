"""What ipykernel does around a cell, made fit for prompts: no interrupt is lost, no cell waits for
ever.

It knows nothing of a familiar, so the inner kernel of a sandbox is one as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel
from traitlets import Type

from .shell import FamiliarShell
from .text import whole


class CellKernel(IPythonKernel):
    """A Python kernel whose cells may hold prompts."""

    if TYPE_CHECKING:
        shell: FamiliarShell

    shell_class = Type(FamiliarShell)
    interrupted = False
    """An interrupt of an awaiting cell has come, and its loop has not seen it yet."""
    _interrupts_asked = 0
    _asked_at_busy = 0
    """How many interrupts had been asked for when the latest request became "busy"."""

    @property
    def closing(self) -> bool:
        """Whether the kernel shuts down, so that a reply may find its sockets closed."""
        return False

    @property
    def cell(self) -> str:
        """The cell that is being executed, as its request's id; empty where there is none."""
        return str(self.get_parent("shell").get("header", {}).get("msg_id", ""))

    def request_in_hand(self) -> tuple[Any, dict[str, Any]]:
        """Return the front end's identity and the request that is being served."""
        identity = self._get_shell_context_var(self._shell_parent_ident)
        return identity, self.get_parent("shell")

    def take_in_hand(self, request: tuple[Any, dict[str, Any]]) -> None:
        """Have what runs from now on belong to a request; see :meth:`request_in_hand`."""
        self.set_parent(*request, channel="shell")

    async def execute_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Execute a cell; half a surrogate pair in it becomes U+FFFD first.

        Such a cell cannot be echoed, since no message can carry it, and ipykernel would never
        answer.
        """
        content = parent.get("content", {})
        code = content.get("code")
        if isinstance(code, str):
            content["code"] = whole(code)
        with self._interrupts_noted():
            try:
                await super().execute_request(stream, ident, parent)
            except Exception:
                if not self.closing:
                    raise
                # Its sockets are closed already: nobody is there to reply to.
                self.log.debug("a cell ended while the kernel shut down", exc_info=True)

    async def do_execute(self, code: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Execute a cell as ipykernel does, having marked it as the loop's own."""
        reply: dict[str, Any]
        try:
            with self.shell.executing(code), self._interrupts_raised():
                reply = await super().do_execute(code, *args, **kwargs)
        except KeyboardInterrupt:
            # It hit ipykernel's code around the user's, which would end without a reply.
            reply = {
                "status": "error",
                "execution_count": max(0, self.shell.execution_count - 1),
                "ename": "KeyboardInterrupt",
                "evalue": "",
                "traceback": ["KeyboardInterrupt"],
                "user_expressions": {},
                "payload": [],
            }
            error = {name: reply[name] for name in ("ename", "evalue", "traceback")}
            self.send_response(self.iopub_socket, "error", error)
        return reply

    def do_is_complete(self, code: str) -> dict[str, Any]:  # type: ignore[override]
        """Tell whether a cell is complete; a prompt on a line always is, whatever quotes it leaves
        open."""
        if "%claude" in code and not code.lstrip().startswith("%%"):
            from . import cells

            code = cells.transform(code, awaitable=True) or code
        reply: dict[str, Any] = super().do_is_complete(code)
        return reply

    # -- interrupts --

    def _publish_status(self, status: str, channel: str, parent: Any = None) -> None:
        """Publish a status; from "busy" on, an interrupt is meant for the request."""
        if status == "busy" and channel == "shell" and self._in_main_thread():
            self._asked_at_busy = self._interrupts_asked
        super()._publish_status(status, channel, parent)

    @staticmethod
    def _in_main_thread() -> bool:
        return threading.current_thread() is threading.main_thread()

    @contextlib.contextmanager
    def _interrupts_noted(self) -> Iterator[None]:
        """Note interrupts while ipykernel prepares a cell or sends its reply.

        One that is raised there ends the request without a reply, and the cell waits for ever.
        """
        if not self._in_main_thread():
            yield
            return

        def note(*_: object) -> None:
            self.interrupted = True

        # One that came since the request is "busy" was ignored by the idle kernel's handler.
        self.interrupted = self._interrupts_asked > self._asked_at_busy
        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self.interrupted = False

    @contextlib.contextmanager
    def _interrupts_raised(self) -> Iterator[None]:
        """Raise interrupts as KeyboardInterrupt, also one that was noted just before."""
        if not self._in_main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if self.interrupted:
                raise KeyboardInterrupt
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextlib.contextmanager
    def _cancel_on_sigint(self, future: asyncio.Future[Any]) -> Iterator[None]:
        """Cancel an awaiting cell at once when it is interrupted.

        ipykernel's own version schedules the cancellation without waking the loop, so a cell in one
        long ``await`` would go on until something else happens (ipykernel issue 881).
        """
        loop = asyncio.get_running_loop()

        self.interrupted = False

        def cancel(*_: object) -> None:
            self.interrupted = True
            loop.call_soon_threadsafe(future.cancel)

        before = signal.signal(signal.SIGINT, cancel)
        try:
            yield
        finally:
            self.interrupted = False
            signal.signal(signal.SIGINT, before)

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Interrupt the main thread's cell."""
        self._interrupts_asked += 1
        await super().interrupt_request(stream, ident, parent)
