"""The kernel: ipykernel's, with a familiar bound to its life.

It boots the familiar once it serves, gives it what belongs to a kernel (where a cell's output goes,
who waits for what, what an interrupt means), and lets it go at the end. Everything else is
ipykernel's own.
"""

from __future__ import annotations

import functools
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from IPython.core.displaypub import CapturingDisplayPublisher
from traitlets import Bool, Instance, List, Unicode, default

from . import commands
from .alerts import Alerts
from .cell_kernel import CellKernel
from .familiar.errors import TroubleError
from .familiar.familiar import Familiar
from .notifications import Notifications
from .outputs import OutputWatch
from .permissions import Permissions
from .prompts import Prompts
from .waiting import Interrupts, interrupts_taken

if TYPE_CHECKING:
    from .namespace.place import Place

BOOT_DELAY = 0.05
"""Seconds from serving to the familiar's boot: a cell that waits already is served before it."""


class FamiliarKernel(CellKernel):
    """A Python kernel with a familiar."""

    familiar = Instance(Familiar)
    permissions = Instance(Permissions)
    notifications = Instance(Notifications)
    configuration_faults = List(
        Unicode(), help="What was wrong in the configuration and is not used."
    )
    prompts_class: type[Prompts] = Prompts
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
        self.shell.familiar = self.prompts_class(self, self.familiar)
        self.shell.familiar.enter_namespace()
        self.alerts = Alerts(self)
        self.familiar.on_finished = self.alerts.ended
        self.familiar.on_tool_used = self.shell.familiar.note_use
        self.register_commands()

    def register_commands(self) -> None:
        """Make the commands magics of the shell."""
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
    def closing(self) -> bool:
        """Whether the kernel shuts down."""
        return self.familiar.closed

    @property
    def banner(self) -> str:  # type: ignore[override]
        """IPython's banner and, unless ``quiet_banner``, who is here and how to talk to it."""
        lines = ""
        if not self.quiet_banner:
            from .commands.status import banner

            lines = banner(self)
        return f"{super().banner or ''}{lines}"

    # -- cells --

    @functools.cached_property
    def place(self) -> Place:
        """Where the variables are."""
        from .namespace.local import LocalPlace  # not at boot: most cells ask nothing

        return LocalPlace(self.shell)

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

    def display(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Show something as output of the cell that is being executed."""
        self.shell.display_pub.publish(data, metadata)

    def say(self, line: str) -> None:
        """Print a line as output of the cell that is being executed."""
        print(line)

    def displays_captured(self) -> bool:
        """Whether somebody captures what this cell shows."""
        publisher = self.shell.display_pub
        return isinstance(publisher, CapturingDisplayPublisher) or bool(
            getattr(publisher, "_hooks", None)
        )

    @property
    def can_act(self) -> bool:
        """Whether this thread runs cells: only there code may run and a person be asked."""
        thread = threading.current_thread()
        return thread is threading.main_thread() or thread.name.startswith("subshell-")

    @property
    def serves_background(self) -> bool:
        """Whether a prompt that waits in this thread keeps the kernel from being idle, so that it
        serves the turns in the background too."""
        return threading.current_thread() is threading.main_thread()

    # -- interrupts --

    def interrupts_taken(self) -> AbstractContextManager[Interrupts]:
        """Have interrupts stop the turn that begins inside, and raise nothing."""
        return interrupts_taken(came=self.interrupted)

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Interrupt the main thread's cell, and the turns of subshells, which no signal reaches."""
        self.shell.familiar.stop_outside_main_thread()
        await super().interrupt_request(stream, ident, parent)
