"""The commands: ``%claude_status`` and its kin.

:mod:`.table` names them all, with help and completion; what one does is in a module of its own,
imported when somebody uses it: most kernels use few. They are line magics of IPython's, so that
Tab, ``?`` and ``%lsmagic`` know them as any other magic. ``%claude`` and ``%%claude`` are
registered as well, for the same reasons and for code that runs magics by name; a prompt in a cell
has been taken out of it before IPython sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from familiar_kernel.claude_magic import Claude

from .table import COMMANDS, Command, usage_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from familiar_kernel.kernel import FamiliarKernel

__all__ = ["COMMANDS", "Command", "complete", "inspect", "register", "usage_text"]

_BEGINNINGS = ("%claude", "%proxy")
"""One of them is in every cell that a prompt or a command with arguments is in."""


def register(kernel: FamiliarKernel) -> None:
    """Make the commands, and ``%claude`` itself, magics of the kernel's shell."""
    shell: Any = kernel.shell

    def magic(command: Command) -> Callable[[str], None]:
        def run(line: str) -> None:
            if shell.familiar.serving:
                # Least of all may it allow what it asks for itself.
                raise UsageError(f"Claude's own code cannot use %{command.name}")
            command.action(kernel, line.strip())

        run.__doc__ = command.help
        return run

    for command in COMMANDS:
        shell.register_magic_function(magic(command), "line", command.name)

    shell.register_magic_function(Claude(shell, usage_text), "line_cell", "claude")


def complete(kernel: FamiliarKernel, code: str, cursor: int) -> dict[str, Any] | None:
    """Return a complete_reply where the cursor is in a prompt or behind a command's name; else
    None."""
    if not any(beginning in code for beginning in _BEGINNINGS):
        return None
    from . import completion

    return completion.complete(kernel, code, cursor)


def inspect(kernel: FamiliarKernel, code: str, cursor: int) -> dict[str, Any] | None:
    """Return an inspect_reply where the cursor is in a prompt or on the name of a command; else
    None."""
    if not any(beginning in code for beginning in _BEGINNINGS):
        return None
    from . import completion

    return completion.inspect(kernel, code, cursor)
