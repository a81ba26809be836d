"""The inner kernel: ipykernel's, whose prompts and commands are the outer kernel's business."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from familiar_kernel.cell_kernel import CellKernel
from familiar_kernel.claude_magic import Claude

from .prompts import InnerPrompts
from .server import Server
from .streams import leave_out_large

if TYPE_CHECKING:
    from .bridge import Bridge, Message


class InnerKernel(CellKernel):
    """The kernel that runs the user's code in a sandbox."""

    def connect(self, bridge: Bridge, start: Message) -> None:
        """Have prompts and commands go over the bridge.

        Args:
            bridge: not open yet.
            start: what the outer kernel said at the start: ``session_id``, ``banner``, ``usage``
                (the text of ``%claude?``) and ``commands``, pairs of name and help.
        """
        leave_out_large(self.iopub_thread, self.session)
        self.server = Server(self, bridge)
        self.told_banner = str(start["banner"])
        prompts = InnerPrompts(self, bridge, self.server, str(start["session_id"]))
        shell: Any = self.shell
        shell.familiar = prompts
        prompts.enter_namespace()
        for name, told in start["commands"]:
            shell.register_magic_function(_command(prompts, name, told), "line", name)

        shell.register_magic_function(Claude(shell, lambda: start["usage"]), "line_cell", "claude")
        self._prompts = prompts

    def take(self, message: Message) -> None:
        """Take a message of the outer kernel's. Called in the bridge's thread."""
        kind = message["type"]
        if kind == "call":
            self.server.take(message)
        elif kind == "go":
            self.server.go(message["call"], message["on"])
        elif kind == "done":
            self._prompts.finish(message)
        elif kind == "session":
            self.io_loop.add_callback(self._prompts.enter_namespace, message["id"])

    @property
    def banner(self) -> str:  # type: ignore[override]
        """IPython's banner, and the outer kernel's lines."""
        return f"{super().banner or ''}{self.told_banner}"


def _command(prompts: InnerPrompts, name: str, told: str) -> Callable[[str], None]:
    def run(line: str) -> None:
        if prompts.serving:
            # Least of all may it allow what it asks for itself.
            raise UsageError(f"Claude's own code cannot use %{name}")
        prompts.command(name, line.strip())

    run.__doc__ = told
    return run
