"""Completion and inspection, where the cursor is in a prompt or a command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .table import COMMANDS, usage_text

if TYPE_CHECKING:
    from familiar_kernel.kernel import FamiliarKernel


MODELS = ("opus", "sonnet", "haiku")
"""The CLI's aliases of models."""
_AT = re.compile(r"(?:^|(?<=[\s(`'\"]))@(?P<named>[^\s@]*|file:\"[^\"\n]*)\Z")
"""The ``@...`` that the cursor is at the end of."""


def complete(kernel: FamiliarKernel, code: str, cursor: int) -> dict[str, Any] | None:
    """Return a complete_reply where the cursor is in a prompt or behind a command's name; else
    None."""
    from familiar_kernel import cells

    span = cells.prompt_at(code, cursor)
    if span is not None and cursor >= span.text_start:
        start, found = _in_prompt(kernel, code[span.text_start : cursor], span.kind == "cell")
        return _matches(found, cursor - start, cursor)
    line_start = code.rfind("\n", 0, cursor) + 1
    name, blank, typed = code[line_start:cursor].lstrip().partition(" ")
    for command in COMMANDS:
        if blank and name == f"%{command.name}":
            word = typed.split(" ")[-1]
            choices = command.all_choices(kernel)
            return _matches([c for c in choices if c.startswith(word)], cursor - len(word), cursor)
    return None


def _in_prompt(kernel: FamiliarKernel, before: str, cell: bool) -> tuple[int, list[str]]:
    """Return how many characters before the cursor the matches replace, and the matches.

    Args:
        kernel: the kernel.
        before: the prompt's text up to the cursor.
        cell: whether it is a ``%%claude`` cell, in whose body prose is left alone.
    """
    from familiar_kernel import cells

    if at := _AT.search(before):
        return _named(kernel, at["named"])
    if cell and "\n" in before:
        return 0, []
    words = before.split(" ")
    word = words[-1]
    options = {option.name: option for option in cells.OPTIONS}
    last = words[-2] if len(words) > 1 else ""
    if last == "--model":
        return len(word), [name for name in _models(kernel) if name.startswith(word)]
    if last in options and options[last].choices:
        return len(word), [c for c in options[last].choices or () if c.startswith(word)]
    if word.startswith("-"):
        return len(word), [name for name in options if name.startswith(word)]
    if cell:
        return 0, []
    # A name of the user's own, as a word of the prompt.
    stem = word.lstrip("`(\"'")
    return len(stem), kernel.place.names(stem) if stem else []


def _models(kernel: FamiliarKernel) -> list[str]:
    seen = [finished.model for finished in kernel.familiar.finished if finished.model]
    return list(dict.fromkeys([*MODELS, kernel.familiar.model or MODELS[0], *seen]))


def _named(kernel: FamiliarKernel, named: str) -> tuple[int, list[str]]:
    """Complete what stands behind an ``@``, as :func:`_in_prompt` does."""
    if named.startswith("file:"):
        path = named.removeprefix("file:").lstrip('"')
        length = len(named) - len("file:")
        return length, kernel.place.files(path, length > len(path))
    if "." in named:
        owner, _, stem = named.rpartition(".")
        return len(stem), [n for n in kernel.place.attributes(owner) if n.startswith(stem)]
    found = kernel.place.names(named)
    return len(named), [*found, "file:"] if "file:".startswith(named) else found


def _matches(matches: list[str], start: int, end: int) -> dict[str, Any]:
    return {
        "status": "ok",
        "matches": matches,
        "cursor_start": start,
        "cursor_end": end,
        "metadata": {},
    }


def inspect(kernel: FamiliarKernel, code: str, cursor: int) -> dict[str, Any] | None:
    """Return an inspect_reply where the cursor is on the name of a command or of ``%claude``; else
    None."""
    line_start = code.rfind("\n", 0, cursor) + 1
    line = code[line_start:].split("\n", 1)[0]
    indent = len(line) - len(line.lstrip())
    name = line.strip().split(" ")[0].lstrip("%")
    if (
        not line.lstrip().startswith("%")
        or not indent <= cursor - line_start <= indent + len(name) + 2
    ):
        return _inspect_prompt(kernel, code, cursor)
    texts = {command.name: command.help for command in COMMANDS}
    text = usage_text() if name == "claude" else texts.get(name)
    if text is None:
        return None
    return _inspected(text)


def _inspect_prompt(kernel: FamiliarKernel, code: str, cursor: int) -> dict[str, Any] | None:
    """Show what would be sent, where the cursor is in the text of a prompt."""
    if "%claude" not in code:
        return None
    from familiar_kernel import cells, context

    span = cells.prompt_at(code, cursor)
    if span is None or cursor < span.text_start:
        return None
    try:
        parsed = cells.parse(span.raw)
    except cells.PromptSyntaxError as err:
        return _inspected(str(err))
    if not parsed.text.strip():
        return None
    with_context = parsed.options.get("context", True)
    added = kernel.shell.familiar.preview(parsed.text) if with_context else ""
    told = (
        f"This would be sent, about {context.tokens(added + parsed.text):,} tokens beside the "
        "conversation so far:\n\n"
    )
    return _inspected(told + "\n\n".join(filter(None, (added, parsed.text))))


def _inspected(text: str) -> dict[str, Any]:
    return {"status": "ok", "found": True, "data": {"text/plain": text}, "metadata": {}}
