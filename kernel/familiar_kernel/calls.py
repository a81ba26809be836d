"""Serves what Claude's tools ask of the kernel, in the thread that waits for the turn.

That thread is the one whose cell asked: the data is its own, an interrupt reaches it, and what the
tools show belongs to its cell.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .asking import NO_ANSWER, NOBODY, Asker
from .familiar.protocol import PERMISSION, QUESTION, Call, CallResult, ToolUsed
from .familiar.turns import Turn
from .namespace.execution import CodeStopped
from .outputs import CellOutputs
from .permissions import Decision, Request, how_unasked
from .questions import Questions

if TYPE_CHECKING:
    from .kernel import FamiliarKernel
    from .namespace.reading import Content
    from .namespace.tools import Moment, Namespace

_serving: ContextVar[bool] = ContextVar("familiar_serving", default=False)

ASKING = (PERMISSION, QUESTION)
"""The calls that need a person, and not the data."""


class CallServer:
    """Serves the calls of one kernel's turns."""

    def __init__(self, kernel: FamiliarKernel) -> None:
        self._kernel = kernel
        self._asker = Asker(kernel)
        self._made: Namespace | None = None

    @property
    def serving(self) -> bool:
        """Whether the code that runs here is Claude's own."""
        return _serving.get()

    # -- what a turn is told --

    def moment(self) -> Moment:
        """Return what there is now, for :meth:`told`."""
        return self._namespace.moment()

    def told(self, moment: Moment | None = None) -> None:
        """Remember that Claude has seen, or could have, what there was at a moment; None is now."""
        self._namespace.mark(moment)

    def context(self, prompt: str, notes: Sequence[str] = ()) -> str:
        """Return what goes with a prompt by itself; see :mod:`familiar_kernel.context`."""
        familiar = self._kernel.familiar
        return self._namespace.context(prompt, familiar.context, familiar.context_tokens, notes)

    def last_failure(self) -> str:
        """Return how the latest cell failed, in one line; empty where it did not."""
        return self._namespace.last_failure()

    # -- tools --

    def serve(self, turn: Turn, call: Call, outputs: CellOutputs | None) -> None:
        """Serve a call, blocking.

        Args:
            turn: whose call it is.
            call: the call.
            outputs: where a question to the person shows.

        Raises:
            CodeStopped: the person interrupted it; the turn is to be stopped.
        """
        with self._served():
            content, failed = (
                self._namespace.run(call.arguments.get("code", ""))
                if call.name == "run_python" and self._kernel.can_act
                else self._other(turn, call, outputs)
            )
        self._answer(turn, call, content, failed)

    async def serve_awaiting(self, turn: Turn, call: Call, outputs: CellOutputs | None) -> None:
        """Serve a call as :meth:`serve` does, on the kernel's loop.

        Raises:
            CodeStopped: the person interrupted it; the turn is to be stopped.
        """
        if call.name != "run_python":
            self.serve(turn, call, outputs)
            return
        with self._served():
            content, failed = await self._namespace.run_awaiting(call.arguments.get("code", ""))
        self._answer(turn, call, content, failed)

    @staticmethod
    @contextlib.contextmanager
    def _served() -> Iterator[None]:
        token = _serving.set(True)
        try:
            yield
        finally:
            _serving.reset(token)

    @property
    def _namespace(self) -> Namespace:
        if self._made is None:
            from .namespace.tools import Namespace  # not at boot: most cells ask nothing

            kernel = self._kernel
            self._made = Namespace(kernel.place, kernel.output_watch.log, lambda: kernel.cell)
        return self._made

    def _other(self, turn: Turn, call: Call, outputs: CellOutputs | None) -> tuple[Content, bool]:
        if call.name == PERMISSION:
            return self._permission(turn, Request.of(call), outputs)
        if call.name == QUESTION:
            return self._question(turn, Questions(call.arguments.get("questions")), outputs)
        if call.name == "run_python":
            told = "Code runs only for a prompt in a cell, not for one in a thread of its own."
            return _text(told), True
        if call.name == "propose_cell" and turn.background:
            told = "There is no cell to put it below: the person works on. Put it into the answer."
            return _text(told), True
        return self._namespace.look(call.name, call.arguments)

    def _answer(self, turn: Turn, call: Call, content: Content, failed: bool) -> None:
        self._kernel.familiar.answer_call(turn, CallResult(call.id, content, failed))

    # -- the person --

    def _permission(
        self, turn: Turn, request: Request, outputs: CellOutputs | None
    ) -> tuple[Content, bool]:
        decision = self.decided_already(request)
        if decision is None and not self._asker.possible:
            decision = Decision(False, "nobody to ask")
        if decision is None:
            try:
                decision = self._asker.permission(turn, request, outputs)
            except CodeStopped:
                self._record(request, Decision(False, "interrupted"))
                raise
        return self._conclude(request, decision)

    def decided_already(self, request: Request) -> Decision | None:
        """Return the decision on a request that needs nobody, because of the mode or of an earlier
        one; else None."""
        permissions = self._kernel.permissions
        if not permissions.is_free(request.tool):
            return None
        return Decision(True, "always" if request.tool in permissions.always else permissions.mode)

    def decide(self, turn: Turn, call: Call, decision: Decision) -> None:
        """Answer a request for permission with this decision."""
        self._answer(turn, call, *self._conclude(Request.of(call), decision))

    def _conclude(self, request: Request, decision: Decision) -> tuple[Content, bool]:
        """Record a decision; return what Claude is told: nothing for yes, or why not."""
        if decision.how == "always" and request.tool not in self._kernel.permissions.always:
            self._kernel.permissions.always.append(request.tool)
        self._record(request, decision)
        if decision.allowed:
            return _text(""), False
        if decision.how == "nobody to ask":
            return _text(NOBODY), True
        return _text(f"The person said no{decision.why and ': '}{decision.why or '.'}"), True

    def _record(self, request: Request, decision: Decision) -> None:
        session = self._kernel.familiar.session_id
        self._kernel.permissions.record(session, request.tool, request.what, decision)

    def note_use(self, used: ToolUsed) -> None:
        """Record that a tool was used without asking. Called in any thread."""
        request = Request(used.tool, used.input)
        self._record(request, Decision(True, how_unasked(used.tool, used.mode)))

    def _question(
        self, turn: Turn, questions: Questions, outputs: CellOutputs | None
    ) -> tuple[Content, bool]:
        if not questions.questions:
            return _text("There was no question in it."), True
        if not self._asker.possible:
            return _text(NOBODY), True
        answers = self._asker.answers(turn, questions, outputs)
        if not answers:
            return _text(NO_ANSWER), True
        return _text(json.dumps(answers)), False

    def give_up(self, turn: Turn, call: Call) -> None:
        """Answer a call that could not be served."""
        self._answer(turn, call, _text("The kernel failed to serve it."), True)

    def decline(self, turn: Turn, call: Call, why: str) -> None:
        """Answer a question of Claude's with none."""
        told = f"The person does not answer: {why}" if why else NO_ANSWER
        self._answer(turn, call, _text(told), True)


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]
