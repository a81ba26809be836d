"""The ways to talk: what a cell's prompts call, and ``ask``.

Each of them begins a turn, shows it where its cell's output goes, and waits. They differ in how
they wait. A prompt that is the whole cell is awaited, so that widgets and background tasks go on;
``ask`` and a prompt among code block, as any function does, so that an interrupt can reach the code
around them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from jupyter_core.paths import jupyter_data_dir

from . import notebook_place
from .asking import Asker
from .background import BackgroundTurn, BackgroundTurns
from .calls import CallServer
from .exceptions import FamiliarError, TurnStopped, wrapped
from .familiar.errors import CLAUDES_OWN, NO_START, Trouble, TroubleError
from .familiar.familiar import Familiar
from .familiar.inbox import Inbox
from .familiar.protocol import Notice, ToolUsed, TurnFinished
from .familiar.turns import Turn, show
from .namespace.execution import CodeStopped
from .outputs import CapturedOutputs, CellOutputs
from .session_register import SessionRegister
from .waiting import SIGNAL_POLL
from .ways import Ways

if TYPE_CHECKING:
    from . import cells
    from .answer.record import Answer
    from .kernel import FamiliarKernel


log = logging.getLogger(__name__)

HELD = Trouble(
    "held",
    "Another kernel goes on with this session.",
    "Copy it with %claude_fork, or begin a fresh one with %claude_reset.",
)
EXPLAIN = "{failure}. Explain what went wrong and how to mend it."
"""The prompt that a bare %claude after an error becomes, if the person agrees."""


class Prompts(Ways):
    """The ways to talk to one kernel's familiar; the shell knows it as
    ``get_ipython().familiar``."""

    def __init__(self, kernel: FamiliarKernel, familiar: Familiar) -> None:
        self._kernel = kernel
        self._familiar = familiar
        self._calls = CallServer(kernel)
        self.background = BackgroundTurns(kernel, self._calls)
        self.notes: list[str] = []
        """What Claude is to be told with the next prompt, beside what happened in the notebook."""
        self.sessions: set[str] = set()
        """The sessions that this kernel has talked in."""
        self.register = SessionRegister(Path(jupyter_data_dir()) / "familiar" / "sessions")

    def enter_namespace(self) -> None:
        """Put ``ask`` and ``CLAUDE_SESSION_ID`` into the user's namespace, where ``%who`` does not
        list them."""
        shell = self._kernel.shell
        names = {"ask": self.ask, "CLAUDE_SESSION_ID": self._familiar.session_id}
        shell.user_ns.update(names)
        shell.user_ns_hidden.update(names)

    def begin_session(self, *notes: str) -> None:
        """Note that the familiar holds another session: what was allowed "always" was for the
        last.

        Args:
            notes: what Claude is to be told with its first prompt.
        """
        self.enter_namespace()
        self.notes[:] = notes
        self.background.forget()
        self.register.release()
        self._kernel.permissions.always.clear()

    @property
    def serving(self) -> bool:
        """Whether the code that runs here is Claude's own."""
        return self._calls.serving

    @property
    def notebook(self) -> str:
        """The notebook's path, as far as its server has told; else empty."""
        return notebook_place.notebook()

    # -- the ways to talk --

    def prompt_line(self, raw: str) -> Answer | BackgroundTurn | None:
        """Run a prompt of a cell, given as it was typed after ``%claude``; None where only usage
        was shown."""
        parsed = self._parse(raw)
        if parsed is None:
            return None
        if parsed.options.pop("background", False):
            return self._begin_in_background(parsed.text, parsed.options)
        return self._ask(parsed.text, parsed.options)

    async def prompt_cell(self, raw: str) -> None:
        """Run the prompt that a whole cell is, given as it was typed after ``%claude`` or
        ``%%claude``."""
        parsed = self._parse(raw)
        if parsed is None:
            return
        if parsed.options.pop("background", False):
            self._begin_in_background(parsed.text, parsed.options)
            return
        with self._showing(parsed.text, parsed.options) as (turn, outputs):
            try:
                await self._serve_until_done(turn, outputs)
            except (asyncio.CancelledError, CodeStopped):
                self._familiar.stop(turn)
                done = asyncio.wrap_future(turn.done)
                while not done.done():  # it is within STOP_GRACE, however often Stop is pressed
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait({done})
                raise TurnStopped(self._answer(turn)) from None
        self._conclude(turn)

    async def _serve_until_done(self, turn: Turn, outputs: CellOutputs | None) -> None:
        """Wait for the end of a turn, and serve what its tools ask meanwhile."""
        loop, come = asyncio.get_running_loop(), asyncio.Event()
        turn.inbox.listen(lambda: loop.call_soon_threadsafe(come.set))
        with self.background.served_by(turn.inbox):
            while not turn.done.done():
                await come.wait()
                come.clear()
                for call in turn.inbox.drain():
                    if self.background.is_void(call, turn):
                        continue
                    with self.background.serving(call, turn, outputs) as (whose, shown):
                        await self._calls.serve_awaiting(whose, call, shown)

    def command(self, text: str) -> Answer:
        """Have the CLI run one of its own commands, such as ``/compact``, as a turn."""
        return self._ask(text, {"command": True, "context": False})

    def note_use(self, used: ToolUsed) -> None:
        """Record that Claude used a tool without asking. Called in any thread."""
        self._calls.note_use(used)

    def preview(self, text: str) -> str:
        """Return what would go with a prompt by itself, if it were sent now."""
        return self._calls.context(text, self.notes)

    def stop_outside_main_thread(self) -> None:
        """Stop the turns of subshells, for any thread to call. Those of the user's own threads go
        on, as whatever else such a thread does."""
        for turn in self._familiar.turns():
            if turn.thread.name.startswith("subshell-") and not turn.background:
                self._familiar.stop(turn)

    # -- one turn --

    def _parse(self, raw: str) -> cells.ParsedPrompt | None:
        from . import cells

        try:
            parsed = cells.parse(raw)
        except cells.PromptSyntaxError as err:
            raise UsageError("\n".join(wrapped(str(err)))) from None
        if parsed.text.strip() and not parsed.help:
            return parsed
        failure = "" if parsed.help else self._calls.last_failure()
        if failure and self._wants_it_explained(failure):
            return cells.ParsedPrompt(parsed.options, EXPLAIN.format(failure=failure), help=False)
        if not failure:
            from .commands.helping import show_usage

            show_usage(self._kernel)
        return None

    def _wants_it_explained(self, failure: str) -> bool:
        """Offer to explain the latest error; without stdin, say how to ask for it."""
        asker = Asker(self._kernel)
        if not asker.possible:
            self._kernel.say(f"{failure}. To have it explained: %claude explain the error")
            return False
        return asker.yes(f"{failure}. Shall Claude explain it? [Y/n] ")

    def _begin_in_background(self, text: str, options: dict[str, Any]) -> BackgroundTurn:
        """Begin a turn that nobody waits for; its answer grows in this cell."""
        if self._calls.serving:
            raise FamiliarError(CLAUDES_OWN)
        outputs = CellOutputs(self._kernel)
        moment = self._calls.moment()
        turn = self._begin(text, options, outputs, live=True, background=True)
        return self.background.add(
            turn, outputs, moment, lambda: self._answer(turn, kept=True), self._wait_for
        )

    def _wait_for(self, turn: Turn, timeout: float | None) -> None:
        """Wait for a turn of the background, and serve what such turns ask meanwhile.

        Raises:
            KeyboardInterrupt: it was interrupted; the turn goes on.
        """
        outputs, inbox = CellOutputs(self._kernel), Inbox()
        until = None if timeout is None else time.monotonic() + timeout
        with self.background.served_by(inbox):
            while not turn.done.done() and (until is None or time.monotonic() < until):
                call = inbox.get(SIGNAL_POLL)
                if call and not self.background.is_void(call, None):
                    try:
                        with self.background.serving(call, None, outputs) as (whose, shown):
                            self._calls.serve(whose, call, shown)
                    except CodeStopped:
                        raise KeyboardInterrupt from None

    def _ask(self, text: str, options: dict[str, Any]) -> Answer:
        with (
            self._kernel.interrupts_taken() as interrupts,
            self._showing(text, options) as (turn, outputs),
            self.background.served_by(turn.inbox),
        ):
            interrupts.call(lambda: self._familiar.stop(turn))
            while not turn.done.done():
                # Not for ever at once: a signal that comes just before the wait does not end it,
                # and its handler runs only when Python does.
                call = turn.inbox.get(SIGNAL_POLL)
                if call and not interrupts.came and not self.background.is_void(call, turn):
                    try:
                        with self.background.serving(call, turn, outputs) as (whose, shown):
                            self._calls.serve(whose, call, shown)
                    except CodeStopped:
                        interrupts.take()
        answer = self._conclude(turn)
        if interrupts.came:  # too late to stop this turn, but a loop around it is to end
            raise TurnStopped(answer)
        return answer

    @contextlib.contextmanager
    def _showing(
        self, text: str, options: dict[str, Any]
    ) -> Iterator[tuple[Turn, CellOutputs | None]]:
        """Begin a turn whose answer shows as output of the cell that calls this; give also the
        cell's outputs, where it shows there.

        Where displays are captured (``%%capture``, a display hook) the answer is handed to whoever
        captures, once and whole, in the thread that asked.
        """
        if self._calls.serving:
            raise FamiliarError(CLAUDES_OWN)
        captured = self._kernel.displays_captured()
        surface = CapturedOutputs() if captured else CellOutputs(self._kernel)
        turn = self._begin(text, options, surface, live=not captured)
        try:
            yield turn, None if isinstance(surface, CapturedOutputs) else surface
        finally:
            if turn.done.done() and turn.done.result().outcome != "failed":
                self._calls.told()
            if isinstance(surface, CapturedOutputs):
                for data, metadata in surface.bundles:
                    self._kernel.display(data, metadata)

    def _begin(
        self,
        text: str,
        options: dict[str, Any],
        surface: CapturedOutputs | CellOutputs,
        *,
        live: bool,
        background: bool = False,
    ) -> Turn:
        """Begin a turn.

        Raises:
            FamiliarError: it cannot begin.
        """
        from .answer.view import AnswerView  # not at boot: most cells ask nothing

        view = AnswerView(surface, live=live, rehearsal=self._familiar.rehearsal)
        _flush_output()
        options = dict(options)
        notes = list(self.notes)
        self._hold_session()
        try:
            context = self._calls.context(text, notes) if options.pop("context", True) else ""
            ahead = self._familiar.turns()
            turn = self._familiar.begin(text, options, view, context, background)
        except TroubleError as err:
            raise FamiliarError(err.trouble) from None
        except OSError as err:
            raise FamiliarError(NO_START.with_details(str(err))) from err
        if context:
            del self.notes[: len(notes)]
        if not self._familiar.ready:
            show(turn, Notice(turn.id, "Waking up…"))
        elif ahead:
            numbers = ", ".join(str(other.prompt.number) for other in ahead)
            show(turn, Notice(turn.id, f"Waits for turn {numbers} to end…"))
        return turn

    def _hold_session(self) -> None:
        """Keep other kernels from going on with this session.

        Raises:
            FamiliarError: another one does already.
        """
        session_id = self._familiar.session_id
        try:
            held = self.register.hold(session_id, {"notebook": self.notebook})
        except OSError:
            # Without a register the session is still of use.
            log.warning("the session could not be registered", exc_info=True)
            held = True
        if not held:
            raise FamiliarError(HELD)
        self.sessions.add(session_id)

    def _conclude(self, turn: Turn) -> Answer:
        """Return the answer of a turn that has ended, or raise what it ended with."""
        finished: TurnFinished = turn.done.result()
        answer = self._answer(turn)
        if finished.outcome == "failed":
            raise FamiliarError(Trouble.from_dict(finished.error or {}), answer)
        if finished.outcome == "stopped":
            raise TurnStopped(answer)
        return answer

    def _answer(self, turn: Turn, *, kept: bool = False) -> Answer:
        """Return the answer of a turn that has ended; ``kept``: it is shown by a later cell."""
        from .answer.record import Answer
        from .answer.view import AnswerView

        view = turn.view
        assert isinstance(view, AnswerView)
        view.close()  # nothing to do but where the view has failed
        kernel = self._kernel
        asked_in = kernel.cell
        return Answer.from_transcript(
            view.transcript, None if kept else lambda: kernel.cell == asked_in
        )


def _flush_output() -> None:
    """Send what the cell has printed so far, so that it stands above the answer."""
    for stream in (sys.stdout, sys.stderr):
        # The user's code may have closed or replaced the streams; that is no reason not to ask.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
