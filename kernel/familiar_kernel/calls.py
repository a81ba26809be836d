"""Serves what Claude's tools ask of the kernel, in the thread that waits for the turn.

That thread is the one whose cell asked: the data is its own, an interrupt reaches it, and what the
tools show belongs to its cell.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from IPython.core.error import StdinNotImplementedError

from .familiar.familiar import Turn
from .familiar.protocol import PERMISSION, Call, CallResult
from .namespace.execution import CodeStopped, interrupts_raised
from .outputs import CellOutputs
from .permissions import QUESTION, Decision, Request, decision_of

if TYPE_CHECKING:
    from .kernel import FamiliarKernel
    from .namespace.local import LocalNamespace
    from .namespace.reading import Content

_serving: ContextVar[bool] = ContextVar("familiar_serving", default=False)

NOBODY = (
    "Nobody can be asked: this front end answers no questions. The person can run the notebook in "
    "JupyterLab, or allow the tool in Claude's settings or with %claude_permissions."
)


class CallServer:
    """Serves the calls of one kernel's turns."""

    def __init__(self, kernel: FamiliarKernel) -> None:
        self._kernel = kernel
        self._made: LocalNamespace | None = None

    @property
    def serving(self) -> bool:
        """Whether the code that runs here is Claude's own."""
        return _serving.get()

    def turn_over(self) -> None:
        """Remember what there is, now that Claude has seen it or could have."""
        self._namespace.mark()

    def context(self, prompt: str) -> str:
        """Return what goes with a prompt by itself; see :mod:`familiar_kernel.context`."""
        familiar = self._kernel.familiar
        return self._namespace.context(prompt, familiar.context, familiar.context_tokens)

    def serve(self, turn: Turn, call: Call, outputs: CellOutputs | None) -> None:
        """Serve a call, blocking.

        Raises:
            CodeStopped: the person interrupted it; the turn is to be stopped.
        """
        with self._served():
            content, failed = (
                self._namespace.run(call.arguments.get("code", ""))
                if call.name == "run_python" and self._may_run
                else self._other(call, outputs)
            )
        self._kernel.familiar.answer_call(turn, CallResult(call.id, content, failed))

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
        self._kernel.familiar.answer_call(turn, CallResult(call.id, content, failed))

    @staticmethod
    @contextlib.contextmanager
    def _served() -> Iterator[None]:
        token = _serving.set(True)
        try:
            yield
        finally:
            _serving.reset(token)

    @property
    def _may_run(self) -> bool:
        return _can_act()

    @property
    def _namespace(self) -> LocalNamespace:
        if self._made is None:
            from .namespace.local import LocalNamespace  # not at boot: most cells ask nothing

            kernel = self._kernel
            self._made = LocalNamespace(kernel.shell, kernel.output_watch.log, lambda: kernel.cell)
        return self._made

    def _other(self, call: Call, outputs: CellOutputs | None) -> tuple[Content, bool]:
        if call.name == PERMISSION:
            request = Request(call.arguments.get("tool", ""), call.arguments.get("input", {}))
            why_not = self._permit(request, outputs)
            return [{"type": "text", "text": why_not}], bool(why_not)
        if call.name == "run_python":
            text = "Code runs only for a prompt in a cell, not for one in a thread of its own."
            return [{"type": "text", "text": text}], True
        return self._namespace.look(call.name, call.arguments)

    # -- permission --

    def _permit(self, request: Request, outputs: CellOutputs | None) -> str:
        """Return why a tool may not be used, or nothing where it may."""
        permissions = self._kernel.permissions
        why_not = ""
        if permissions.is_free(request.tool):
            how = "always" if request.tool in permissions.always else permissions.mode
            decision = Decision(True, how)
        elif not self._kernel._allow_stdin or not _can_act():
            decision, why_not = Decision(False, "nobody to ask"), NOBODY
        else:
            try:
                decision = self._ask_person(request, outputs)
            except CodeStopped:
                self._record(request, Decision(False, "interrupted"))
                raise
            if decision.how == "always":
                permissions.always.append(request.tool)
            if not decision.allowed:
                why_not = f"The person said no{decision.why and ': '}{decision.why or '.'}"
        self._record(request, decision)
        return why_not

    def _record(self, request: Request, decision: Decision) -> None:
        session = self._kernel.familiar.session_id
        self._kernel.permissions.record(session, request.tool, request.what, decision)

    def _ask_person(self, request: Request, outputs: CellOutputs | None) -> Decision:
        """Ask the person.

        Raises:
            CodeStopped: they interrupted the question, which is a no, and stops the turn.
        """
        question = QUESTION.format(name=request.name)
        shown = outputs.aside(request.bundle()) if outputs else ""
        decided = "was refused"
        try:
            with interrupts_raised():
                asked = question if outputs else f"{request.plain()}\n\n{question}"
                answer: str = self._kernel.raw_input(asked)  # type: ignore[no-untyped-call]
            decision = decision_of(answer)
            decided = "was allowed" if decision.allowed else "was refused"
        except (KeyboardInterrupt, EOFError, StdinNotImplementedError) as err:
            raise CodeStopped from err
        finally:
            if outputs:
                outputs.change_aside(shown, request.decided(decided))
        return decision


def _can_act() -> bool:
    """Whether this thread runs cells: only there code may run and a person be asked."""
    thread = threading.current_thread()
    return thread is threading.main_thread() or thread.name.startswith("subshell-")
