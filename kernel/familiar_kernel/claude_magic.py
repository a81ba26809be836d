"""``%claude`` and ``%%claude`` as magics, for Tab, for ``?`` and for code that runs magics by
name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Claude:
    """The magic. An object, whose help is made when it is asked for.

    Args:
        shell: the shell; its ``familiar`` runs the prompt.
        usage: returns the help.
    """

    def __init__(self, shell: Any, usage: Callable[[], str]) -> None:
        self._shell = shell
        self._usage = usage

    def __call__(self, line: str, cell: str | None = None) -> object:
        return self._shell.familiar.prompt_line(line if cell is None else f"{line}\n{cell}")

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self._usage()
