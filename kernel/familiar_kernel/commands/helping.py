"""How to talk to the familiar, as the output of a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .showing import no_arguments, show
from .table import sections, usage_text

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel


def show_help(kernel: FamiliarKernel, rest: str) -> None:
    """Run ``%claude_help``."""
    no_arguments("claude_help", rest)
    show_usage(kernel)


def show_usage(kernel: FamiliarKernel) -> None:
    """Show how to talk to the familiar as the output of the cell."""
    parts = []
    for title, rows in sections():
        lines = [f"**{title}**", "", "| You write | What it does |", "| :--- | :--- |"]
        lines += [
            "| `{}` | {} |".format(written.replace("|", "\\|"), told) for written, told in rows
        ]
        parts.append("\n".join(lines))
    show(kernel, usage_text(), "\n\n".join(parts))
