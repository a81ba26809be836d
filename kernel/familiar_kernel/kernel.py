"""The kernel: ipykernel's, with a familiar bound to its life.

It boots the familiar once it serves, gives it what belongs to a kernel (where a cell's output goes,
who waits for what, what an interrupt means), and lets it go at the end. Everything else is
ipykernel's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel
from traitlets import Bool, Instance, List, Type, Unicode, default

from . import commands
from .alerts import Alerts
from .familiar.errors import TroubleError
from .familiar.familiar import Familiar, whole_characters
from .notifications import Notifications
from .outputs import OutputWatch
from .permissions import Permissions
from .prompts import Prompts
from .shell import FamiliarShell

BOOT_DELAY = 0.05
"""Seconds from serving to the familiar's boot: a cell that waits already is served before it."""


class FamiliarKernel(IPythonKernel):
    """A Python kernel with a familiar."""

    if TYPE_CHECKING:
        shell: FamiliarShell

    shell_class = Type(FamiliarShell)
    familiar = Instance(Familiar)
    permissions = Instance(Permissions)
    notifications = Instance(Notifications)
    configuration_faults = List(
        Unicode(), help="What was wrong in the configuration and is not used."
    )
    interrupted = False
    """An interrupt of an awaiting cell has come, and its loop has not seen it yet."""
    _interrupts_asked = 0
    _asked_at_busy = 0
    """How many interrupts had been asked for when the latest request became "busy"."""
    quiet_banner = Bool(False, help="Leave the familiar's lines out of the banner.").tag(
        config=True
    )

    @default("familiar")
    def _default_familiar(self) -> Familiar:
        return Familiar(parent=self)

    @default("notifications")
    def _default_notifications(self) -> Notifications:
        return Notifications(parent=self)

    @default("permissions")
    def _default_permissions(self) -> Permissions:
        return Permissions(parent=self)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_watch = OutputWatch(self.iopub_thread)
        self.familiar.permission_mode = self.permissions.cli_mode
        self.shell.familiar = Prompts(self, self.familiar)
        self.shell.familiar.enter_namespace()
        self.alerts = Alerts(self)
        self.familiar.on_finished = self.alerts.ended
        self.familiar.on_tool_used = self.shell.familiar.note_use
        commands.register(self)

    # -- life --

    def start(self) -> None:
        """Start serving; the familiar boots beside the first cells, not before them."""
        super().start()
        self.io_loop.call_later(BOOT_DELAY, self._boot_familiar)

    def _boot_familiar(self) -> None:
        try:
            self.familiar.boot()
        except (OSError, TroubleError):
            # No process or descriptor to be had: the kernel is of use without a familiar, and the
            # first prompt tries again and says what is wrong.
            self.log.exception("the familiar's host could not be started")

    def do_shutdown(self, restart: bool) -> dict[str, Any]:  # type: ignore[override]
        """Let the familiar go, then shut down as any kernel."""
        self.familiar.close()
        self.notifications.close()
        reply: dict[str, Any] = super().do_shutdown(restart)
        return reply

    @property
    def banner(self) -> str:  # type: ignore[override]
        """IPython's banner and, unless ``quiet_banner``, who is here and how to talk to it."""
        lines = ""
        if not self.quiet_banner:
            from .commands.status import banner

            lines = banner(self)
        return f"{super().banner or ''}{lines}"

    # -- cells --

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
            content["code"] = whole_characters(code)
        with self._interrupts_noted():
            try:
                await super().execute_request(stream, ident, parent)
            except Exception:
                if not self.familiar.closed:
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

    def do_complete(  # type: ignore[override]
        self, code: str, cursor_pos: int | None
    ) -> dict[str, Any]:
        """Complete inside prompts and commands; everything else is IPython's."""
        position = len(code) if cursor_pos is None else cursor_pos
        reply: dict[str, Any] = commands.complete(self, code, position) or super().do_complete(
            code, cursor_pos
        )
        return reply

    def do_inspect(  # type: ignore[override]
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """Show a command's help where the cursor is on one; everything else is IPython's."""
        reply: dict[str, Any] = commands.inspect(self, code, cursor_pos) or super().do_inspect(
            code, cursor_pos, detail_level, omit_sections
        )
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
        """Interrupt the main thread's cell, and the turns of subshells, which no signal reaches."""
        self._interrupts_asked += 1
        self.shell.familiar.stop_outside_main_thread()
        await super().interrupt_request(stream, ident, parent)
