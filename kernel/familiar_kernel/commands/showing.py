"""What the commands show: a text in two forms, or rows of names and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from familiar_kernel.exceptions import wrapped

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel

STATUS_TIMEOUT = 20.0
"""Seconds that a command waits for the host; what the kernel knows itself it shows in any case."""


def usage_error(text: str) -> UsageError:
    """Return the error of a command that was written wrongly, its sentence broken into lines."""
    return UsageError("\n".join(wrapped(text)))


def dollars(amount: float) -> str:
    """Return an amount of US dollars, to the cent, or more exactly where it is less than some."""
    return f"${amount:.2f}" if amount >= 0.1 or not amount else f"${amount:.5f}"


def no_arguments(name: str, rest: str) -> None:
    """Refuse arguments.

    Raises:
        UsageError: there are some.
    """
    if rest:
        raise usage_error(f"%{name} takes no arguments, but got {rest!r}")


def show(kernel: FamiliarKernel, plain: str, markdown: str) -> None:
    """Display a text in both its forms."""
    kernel.display({"text/plain": plain, "text/markdown": markdown}, {})


def show_text(kernel: FamiliarKernel, text: str) -> None:
    """Display a text that may hold anything: as Markdown it means nothing."""
    show(kernel, text, cell(text))


def table(
    rows: Sequence[tuple[str, str]], heading: tuple[str, str] = ("Familiar", "")
) -> tuple[str, str]:
    """Return rows of name and value as aligned text and as a Markdown table."""
    width = max(len(name) for name, _ in rows)
    plain = "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
    return plain, markdown_table(heading, rows)


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table, whatever they hold."""
    lines = [f"| {' | '.join(heading)} |", "| " + " | ".join([":---"] * len(heading)) + " |"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return "\n".join(lines)


def plain_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned text."""
    lines = [heading, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(heading))]
    return "\n".join(
        "  ".join(f"{value:<{width}}" for value, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def cell(value: str) -> str:
    """Return a text so that as Markdown, also in a table, it means nothing but itself."""
    for special in "\\`*_{}[]<>|$":
        value = value.replace(special, "\\" + special)
    return value.replace("\n", " ")
