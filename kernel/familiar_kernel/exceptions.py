"""What a prompt raises, so that a cell fails as any cell does: Run All stops, nbclient reports it.

Both show themselves in the notebook as a few plain lines, without a traceback: where in this
package a turn failed is of no use to the person who asked.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from .familiar.errors import Trouble

if TYPE_CHECKING:
    from .answer.record import Answer

DETAIL_LINES = 12
"""How many lines of details a failed cell shows; ``error.trouble.details`` has them all."""

WIDTH = 78
"""Columns after which a line breaks: front ends break long lines of an error inside words."""

# No colour: the box is red already, and red on red is hard to read in dark themes.
_BOLD, _OFF = "\x1b[1m", "\x1b[0m"


def wrapped(text: str) -> list[str]:
    """Return a text as lines of at most :data:`WIDTH` columns."""
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


class FamiliarError(Exception):
    """A turn that failed.

    Attributes:
        trouble: what happened and what to do next; ``trouble.kind`` is a stable name for programs.
        answer: what there is of the answer, or None where it never began.
    """

    def __init__(self, trouble: Trouble, answer: Answer | None = None) -> None:
        super().__init__(f"{trouble.message} {trouble.advice}".strip())
        self.trouble = trouble
        self.answer = answer

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: the lines that the notebook shows in place of a traceback."""
        lines = [f"{_BOLD}{line}{_OFF}" for line in wrapped(self.trouble.message)]
        lines += wrapped(self.trouble.advice)
        details = self.trouble.details.strip().splitlines()
        if details:
            lines += ["", *details[-DETAIL_LINES:]]
        return lines


class TurnStopped(KeyboardInterrupt):
    """A turn that was stopped by an interrupt. ``answer`` holds the text so far."""

    def __init__(self, answer: Answer | None = None) -> None:
        super().__init__("Stopped. The text so far is kept, and so is the conversation.")
        self.answer = answer

    def _render_traceback_(self) -> list[str]:
        return [f"{_BOLD}Stopped.{_OFF} The text so far is kept, and so is the conversation."]


class _Plain(Exception):
    def _render_traceback_(self) -> list[str]:
        return [f"{_BOLD}{line}{_OFF}" for line in wrapped(str(self))]


class AskTypeError(_Plain, TypeError):
    """``ask`` was given an argument of a type that it does not take."""


class AskValueError(_Plain, ValueError):
    """``ask`` was given a value that it does not take, such as an empty prompt."""
