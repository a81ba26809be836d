"""Asks the person, in the cell that runs: through Jupyter's stdin.

A front end that has none means no. So does an interrupt, which stops the turn as well.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from IPython.core.error import StdinNotImplementedError

from .namespace.execution import CodeStopped, interrupts_raised
from .permissions import QUESTION, Decision, Request, decision_of
from .questions import Questions

if TYPE_CHECKING:
    from .familiar.turns import Turn
    from .kernel import FamiliarKernel
    from .outputs import CellOutputs

NOBODY = (
    "Nobody can be asked: this front end answers no questions. The person can run the notebook in "
    "JupyterLab, or allow the tool in Claude's settings or with %claude_permissions."
)
NO_ANSWER = "The person gave no answer. Go on as you think best, or say what you need to know."


class Shown(Protocol):
    """Something that is asked, and how it looks."""

    def bundle(self) -> dict[str, Any]:
        """As MIME data."""

    def plain(self) -> str:
        """As plain text."""

    def decided(self, decision: str) -> dict[str, Any]:
        """What stays of it, as MIME data."""


class Asker:
    """Asks the person of one kernel."""

    def __init__(self, kernel: FamiliarKernel) -> None:
        self._kernel = kernel

    @property
    def possible(self) -> bool:
        """Whether somebody can be asked here and now."""
        return bool(self._kernel._allow_stdin) and self._kernel.can_act

    def permission(self, turn: Turn, request: Request, outputs: CellOutputs | None) -> Decision:
        """Ask whether a tool may be used.

        Args:
            turn: who asks.
            request: the tool, and on what.
            outputs: where the request shows; with None it stands before the question.

        Raises:
            CodeStopped: they interrupted the question.
        """
        question = QUESTION.format(name=request.name)
        with self._showing(request, outputs) as shown:
            asked = question if outputs else f"{request.plain()}\n\n{question}"
            decision = decision_of(self._awaited(turn, request, _for_whom(turn) + asked))
            shown.decided = "was allowed" if decision.allowed else "was refused"
        return decision

    def answers(
        self, turn: Turn, questions: Questions, outputs: CellOutputs | None
    ) -> dict[str, str]:
        """Ask what Claude wants to know, and return the answers by question; what was left empty is
        left out.

        Raises:
            CodeStopped: they interrupted a question.
        """
        answers = {}
        for question in questions.questions:
            one = Questions.of(question)
            with self._showing(one, outputs) as shown:
                before = _for_whom(turn) + ("" if outputs else f"{one.plain()}\n\n")
                written = question.answer(self._awaited(turn, one, before + question.prompt))
                if written:
                    answers[question.text] = written
                    shown.decided = f"was answered: {written}"
        return answers

    def yes(self, question: str) -> bool:
        """Ask something that an empty line agrees to; an interrupt does not.

        Raises:
            KeyboardInterrupt: they interrupted it.
        """
        try:
            return self._input(question).strip().lower() in ("", "y", "yes")
        except (EOFError, StdinNotImplementedError):
            return False

    def _awaited(self, turn: Turn, what: Request | Questions, prompt: str) -> str:
        """Return what the person writes; where that takes long, they are told that they are
        asked."""
        answered = self._kernel.alerts.asked(turn, what, str(uuid.uuid4()))
        try:
            return self._input(prompt)
        finally:
            answered()

    def _input(self, prompt: str) -> str:
        with interrupts_raised():
            written: str = self._kernel.raw_input(prompt)  # type: ignore[no-untyped-call]
        return written

    @staticmethod
    @contextmanager
    def _showing(what: Shown, outputs: CellOutputs | None) -> Iterator[_Outcome]:
        outcome = _Outcome("was not answered" if isinstance(what, Questions) else "was refused")
        display = outputs.aside(what.bundle()) if outputs else ""
        try:
            yield outcome
        except (KeyboardInterrupt, EOFError, StdinNotImplementedError) as err:
            raise CodeStopped from err
        finally:
            if outputs:
                outputs.change_aside(display, what.decided(outcome.decided))


def _for_whom(turn: Turn) -> str:
    """Return whose question it is, where it is not that of the cell's own prompt."""
    return f"For turn {turn.prompt.number}, in the background. " if turn.background else ""


class _Outcome:
    """What becomes of something that is asked."""

    def __init__(self, decided: str) -> None:
        self.decided = decided
