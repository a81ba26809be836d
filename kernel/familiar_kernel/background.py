"""Turns that nobody waits for: their cell has ended, and their answers grow in it all the same.

What such a turn needs of the kernel it gets when the main thread is free: its tools run between
cells, with the outputs of the cell that asked. Where a later prompt waits for its own turn in the
main thread, that one serves them, since turns of one session queue and it would wait for ever. What
it needs of the person waits, in sight, until a cell answers it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .calls import ASKING, CallServer
from .exceptions import FamiliarError
from .familiar.errors import Trouble
from .familiar.inbox import Inbox
from .familiar.protocol import PERMISSION, Call, Notice, TurnFinished
from .familiar.turns import Turn, show
from .namespace.execution import CodeStopped
from .outputs import CellOutputs
from .permissions import Decision, Request
from .questions import Questions

if TYPE_CHECKING:
    from .answer.record import Answer
    from .kernel import FamiliarKernel
    from .namespace.tools import Moment

log = logging.getLogger(__name__)

KEPT = 50
"""Turns that are over and can still be shown."""
acting_for: ContextVar[BackgroundTurn | None] = ContextVar("familiar_acting_for", default=None)
"""Whose tool runs here, where it is that of a turn in the background."""
BUSY = "Waits until the cell that runs is done…"


class BackgroundTurn:
    """A turn that runs in the background; what ``x = %claude --bg ...`` gives.

    Attributes:
        number: which turn of the session it is.
    """

    def __init__(
        self,
        turn: Turn,
        outputs: CellOutputs,
        moment: Moment,
        answer: Callable[[], Answer],
        stop: Callable[[], None],
        wait: Callable[[Turn, float | None], None],
    ) -> None:
        self._wait = wait
        self.number = turn.prompt.number
        self._turn = turn
        self._outputs = outputs
        self._moment = moment
        self._answer = answer
        self._stop = stop

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._turn.done.done()

    @property
    def goes_on(self) -> bool:
        """Whether it has neither ended nor been stopped."""
        return not self.done and self._turn.stop_by is None

    @property
    def answer(self) -> Answer | None:
        """The answer, or None as long as the turn goes on."""
        return self._answer() if self.done else None

    @property
    def state(self) -> str:
        """How it stands, in a few words."""
        if self.done:
            return self._turn.done.result().outcome
        if not self._turn.begun:
            return "queued"
        return f"working for {time.monotonic() - self._turn.at:.0f} s"

    @property
    def prompt(self) -> str:
        """What was asked."""
        return self._turn.prompt.text

    @property
    def cost_usd(self) -> float | None:
        """What it cost, as far as known."""
        return self._turn.done.result().cost_usd if self.done else None

    @property
    def error(self) -> str | None:
        """Why it failed and what to do, or None."""
        if not self.done or not (error := self._turn.done.result().error):
            return None
        return f"{error.get('message', '')} {error.get('advice', '')}".strip()

    def wait(self, timeout: float | None = None) -> Answer | None:
        """Wait for it, serving what it needs of this cell; return the answer.

        A loop that looks at :attr:`done` would wait for ever for a turn that needs the main thread.

        Args:
            timeout: seconds after which None is returned; None: as long as it takes.
        """
        self._wait(self._turn, timeout)
        return self.answer

    def stop(self) -> None:
        """End it; the text so far is kept."""
        self._stop()

    def __repr__(self) -> str:
        words = " ".join(self.prompt.split())
        words = words if len(words) <= 60 else words[:59] + "…"
        return f"<BackgroundTurn {self.number}: {words!r}, {self.state}>"


class Waiting:
    """Something that a turn needs of the person.

    Attributes:
        number: by which a person names it.
        task: whose it is.
        call: the call that waits for an answer.
        what: what is asked.
        answered: calls off that the person is told of it.
        display: the display id under which it shows.
    """

    def __init__(
        self,
        number: int,
        task: BackgroundTurn,
        call: Call,
        what: Request | Questions,
        answered: Callable[[], None],
    ) -> None:
        self.number = number
        self.task = task
        self.call = call
        self.what = what
        self.answered = answered
        self.display = ""


class BackgroundTurns:
    """The background turns of one kernel.

    Args:
        kernel: the kernel.
        calls: serves what their tools ask.
    """

    def __init__(self, kernel: FamiliarKernel, calls: CallServer) -> None:
        self._kernel = kernel
        self._calls = calls
        self._lock = threading.RLock()
        self._tasks: list[BackgroundTurn] = []
        self._waiting: list[Waiting] = []
        # Not from 1: a request that a restarted kernel's notebook still shows must not be taken for
        # a new one.
        self._asked = secrets.randbelow(900) + 99
        self._jobs: deque[tuple[BackgroundTurn, Call]] = deque()
        self._waiter: Inbox | None = None
        self._handed: set[str] = set()
        """The calls that need the person and lie in the waiter's inbox, by id."""

    # -- what people see --

    def all(self) -> list[BackgroundTurn]:
        """Return the turns, oldest first."""
        with self._lock:
            return list(self._tasks)

    def waiting(self) -> list[Waiting]:
        """Return what waits for the person, oldest first."""
        with self._lock:
            return list(self._waiting)

    def forget(self) -> None:
        """Forget the turns: the numbers of another session begin anew."""
        with self._lock:
            self._tasks.clear()

    # -- a turn's life --

    def add(
        self,
        turn: Turn,
        outputs: CellOutputs,
        moment: Moment,
        answer: Callable[[], Answer],
        wait: Callable[[Turn, float | None], None],
    ) -> BackgroundTurn:
        """Take a turn that has begun.

        Args:
            turn: the turn.
            outputs: where it shows.
            moment: what it has been told; see :meth:`.calls.CallServer.moment`.
            answer: returns its answer once it has ended.
            wait: waits for a turn of the background, at most so many seconds.
        """
        stop = self._kernel.familiar.stop
        task = BackgroundTurn(turn, outputs, moment, answer, lambda: stop(turn), wait)
        with self._lock:
            over = [task for task in self._tasks if task.done]
            for old in over[: max(0, len(over) - KEPT)]:
                self._tasks.remove(old)
            self._tasks.append(task)
        turn.inbox.listen(lambda: self._arrived(task))
        turn.done.add_done_callback(lambda _: self._ended(task))
        return task

    def _arrived(self, task: BackgroundTurn) -> None:
        for call in task._turn.inbox.drain():
            self._take(task, call)

    def _take(self, task: BackgroundTurn, call: Call) -> None:
        """Hand a call to whoever can serve it. Called in any thread."""
        with self._lock:
            if call.name in ASKING:
                if not self._wait_for_person(task, call):
                    return
            else:
                self._jobs.append((task, call))
            if self._waiter is not None:
                self._hand_over(self._waiter)
                return
        if call.name not in ASKING:
            if self._kernel._main_asyncio_lock.locked():
                show(task._turn, Notice(task._turn.id, BUSY))
            self._kernel.io_loop.add_callback(self._work)

    def _ended(self, task: BackgroundTurn) -> None:
        """See to what is left when a turn has ended. Called in any thread."""
        finished: TurnFinished = task._turn.done.result()
        for waiting in self.waiting():
            if waiting.task is task:
                self._settle(waiting, "is no longer needed")
        if finished.outcome == "failed":
            error = FamiliarError(Trouble.from_dict(finished.error or {}))
            task._outputs.fail(error)
        elif not self._kernel.familiar.closed:
            self._kernel.io_loop.add_callback(self._calls.told, task._moment)

    # -- tools --

    async def _work(self) -> None:
        """Serve what waits for the main thread, between cells."""
        async with self._kernel._main_asyncio_lock:
            while job := self._next_job():
                await self._serve(*job)

    def _next_job(self) -> tuple[BackgroundTurn, Call] | None:
        with self._lock:
            return self._jobs.popleft() if self._jobs else None

    async def _serve(self, task: BackgroundTurn, call: Call) -> None:
        if not task.goes_on:
            return  # it was stopped while its call waited: nothing of it may run any more
        with self._acting_for(task):
            self._kernel._publish_status("busy", "shell")
            serving = asyncio.ensure_future(
                self._calls.serve_awaiting(task._turn, call, task._outputs)
            )
            try:
                with self._kernel._cancel_on_sigint(serving):
                    await serving
            except CodeStopped:
                task.stop()
            except Exception:
                # Its turn must not wait for ever, nor what comes behind it.
                log.exception("a tool of a background turn could not be served")
                self._calls.give_up(task._turn, call)
            except asyncio.CancelledError:
                task.stop()
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise
            finally:
                self._kernel._publish_status("idle", "shell")

    @contextmanager
    def _acting_for(self, task: BackgroundTurn) -> Iterator[None]:
        """Have what runs show its output in the cell of a turn."""
        show(task._turn, Notice(task._turn.id, ""))
        kernel = self._kernel
        before = kernel.request_in_hand()
        kernel.take_in_hand(task._outputs.request)
        token = acting_for.set(task)
        try:
            yield
        finally:
            acting_for.reset(token)
            kernel.take_in_hand(before)

    # -- a prompt that waits serves them too --

    @contextmanager
    def served_by(self, inbox: Inbox) -> Iterator[None]:
        """Put all calls of background turns into this inbox, for the main thread waits at it.

        Whoever takes one from there serves it inside :meth:`serving`.
        """
        if not self._kernel.serves_background:
            yield
            return
        with self._lock:
            before, self._waiter = self._waiter, inbox
            self._hand_over(inbox)
        try:
            yield
        finally:
            with self._lock:
                self._waiter = before
                for call in inbox.drain():
                    self._return(call)
            if self._jobs:
                self._kernel.io_loop.add_callback(self._work)

    def _hand_over(self, inbox: Inbox) -> None:
        while self._jobs:
            inbox.put(self._jobs.popleft()[1])
        for waiting in self._waiting:
            if waiting.call.id not in self._handed:
                self._handed.add(waiting.call.id)
                inbox.put(waiting.call)

    def _return(self, call: Call) -> None:
        """Take a call back that nobody has served."""
        self._handed.discard(call.id)
        task = self._task(call)
        if task is not None and call.name not in ASKING:
            self._jobs.append((task, call))

    def _task(self, call: Call) -> BackgroundTurn | None:
        return next((task for task in self.all() if task._turn.id == call.turn), None)

    def is_void(self, call: Call, turn: Turn | None) -> bool:
        """Whether a call in the inbox of whoever waits, for a turn of their own or for none, is of
        one that was stopped."""
        if turn is not None and call.turn == turn.id:
            return False
        task = self._task(call)
        return task is None or not task.goes_on

    @contextmanager
    def serving(self, call: Call, turn: Turn | None, outputs: CellOutputs | None) -> Iterator[Any]:
        """Give the turn that a call belongs to, and the outputs for questions, to serve it with.
        The call is not void.

        Args:
            call: the call, of the turn that is waited for or of one in the background.
            turn: the turn that is waited for.
            outputs: the outputs of its cell.
        """
        task = None if turn is not None and call.turn == turn.id else self._task(call)
        if task is None:
            yield turn, outputs
        elif call.name in ASKING:
            try:
                yield task._turn, outputs
            finally:
                self._handed.discard(call.id)
            # Not where the question was interrupted: then it waits on.
            for waiting in self.waiting():
                if waiting.call.id == call.id:
                    self._settle(waiting, "was answered in a later cell")
        else:
            try:
                with self._acting_for(task):
                    yield task._turn, task._outputs
            except (CodeStopped, asyncio.CancelledError):
                task.stop()
                raise

    # -- the person --

    def _wait_for_person(self, task: BackgroundTurn, call: Call) -> bool:
        """Put a request in sight; return False where it needs nobody and has been answered."""
        what: Request | Questions
        if call.name == PERMISSION:
            what = Request.of(call)
            decision = self._calls.decided_already(what)
            if decision is not None:
                self._calls.decide(task._turn, call, decision)
                return False
        else:
            what = Questions(call.arguments.get("questions"))
        self._asked += 1
        answered = self._kernel.alerts.asked(task._turn, what, call.id)
        waiting = Waiting(self._asked, task, call, what, answered)
        waiting.display = task._outputs.aside(_with_advice(what, self._asked))
        self._waiting.append(waiting)
        return True

    def _settle(self, waiting: Waiting, how: str) -> bool:
        """Take a request out of sight; return False where somebody has done so before."""
        with self._lock:
            if waiting not in self._waiting:
                return False
            self._waiting.remove(waiting)
        waiting.answered()
        waiting.task._outputs.change_aside(waiting.display, waiting.what.decided(how))
        return True

    def decide(self, waiting: Waiting, decision: Decision) -> None:
        """Answer a request for permission."""
        how = "was allowed" if decision.allowed else "was refused"
        if self._settle(waiting, how):
            self._calls.decide(waiting.task._turn, waiting.call, decision)

    def answer(self, waiting: Waiting, outputs: CellOutputs) -> None:
        """Have the person answer Claude's questions, in the cell that runs.

        Raises:
            CodeStopped: they interrupted it; the questions wait on.
        """
        self._calls.serve(waiting.task._turn, waiting.call, outputs)
        self._settle(waiting, "was answered")

    def decline(self, waiting: Waiting, why: str) -> None:
        """Answer Claude's questions with none."""
        if self._settle(waiting, "was not answered"):
            self._calls.decline(waiting.task._turn, waiting.call, why)


def _with_advice(what: Request | Questions, number: int) -> dict[str, Any]:
    """Return how something looks that waits for the person in a cell that has ended."""
    bundle = dict(what.bundle())
    if isinstance(what, Request):
        markdown = f"It waits for you: `%claude_allow {number}` or `%claude_deny {number}`."
    else:
        markdown = f"It waits for you: answer with `%claude_allow {number}`."
    bundle["text/markdown"] += f"\n\n{markdown}"
    bundle["text/plain"] += "\n\n" + markdown.replace("`", "")
    return bundle
