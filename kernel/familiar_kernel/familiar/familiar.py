"""A kernel's familiar, as the kernel sees it: one conversation, whichever host serves it just now.

What lasts as long as the kernel lives here: the session's UUID, how many turns it has had, the
settings. What comes and goes is the host: it is started when the kernel boots, again when a prompt
finds none, and it is let go after a long silence; each new one resumes the session. Whatever
happens to a host, every turn that was begun ends exactly once, with its answer, as stopped, or with
a :class:`~.errors.Trouble`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any

from ..proxy import without
from ..text import whole
from . import errors
from .configuration import Chosen
from .errors import Trouble
from .link import Link
from .protocol import (
    Ask,
    Call,
    CallResult,
    Configure,
    HostFailed,
    Interrupt,
    Message,
    Prompt,
    Ready,
    Reconnect,
    Reply,
    Reset,
    Start,
    ToolUsed,
    TurnFinished,
)
from .turns import Turn, View, show, tick

log = logging.getLogger(__name__)

STOP_GRACE = 0.5
"""Seconds that the host has to end a stopped turn itself (it needs 0.02 to 0.1), before the kernel
ends it."""
HOST_GRACE = 15.0
"""Seconds, beyond ``start_timeout``, that a host has from its start to its Ready."""


class Familiar(Chosen):
    """The familiar of one kernel."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session_id = str(uuid.uuid4())
        self.number = 0
        """Turns that the session has had, the one under way included."""
        self._exists = False
        """Whether the session is on disk: a prompt has been sent, or it was resumed."""
        self.finished: list[TurnFinished] = []
        """How each turn of this kernel ended, oldest first; what the status adds up."""
        self.facts: dict[str, Any] = {}
        """What the host told of itself when it was ready; empty before."""
        self.trouble: Trouble | None = None
        """Why the host could not connect, until it can."""
        self.on_tool_used: Callable[[ToolUsed], None] = lambda used: None
        """Called in the link's thread with each use of a tool that nobody was asked about."""
        self.on_finished: Callable[[Turn, TurnFinished], None] = lambda turn, finished: None
        """Called with each turn that has ended, in whichever thread ended it."""
        self._directory = _existing_directory()
        """Where hosts run, the same for all: the CLI keeps sessions, and reads settings, by
        directory, and an os.chdir() of the user's is not meant for it."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._link_started = 0.0
        self._turns: dict[str, Turn] = {}
        self._replies: dict[str, tuple[Link, Future[dict[str, Any]]]] = {}
        self._idle_since = time.monotonic()
        self._closed = False

    # -- the host's life --

    @property
    def state(self) -> str:
        """Return ``asleep`` (no host), ``starting``, ``ready`` or ``working``."""
        if self._link is None or not self._link.alive:
            return "asleep"
        if self._turns:
            return "working"
        return "ready" if self.ready else "starting"

    @property
    def closed(self) -> bool:
        """Whether the host has been let go for good."""
        return self._closed

    @property
    def ready(self) -> bool:
        """Whether a host serves, so that a prompt goes straight to Claude."""
        return self._link is not None and self._link.ready

    def boot(self) -> None:
        """Start the session in the background. Called once, when the kernel is ready to serve."""
        if self.start_at_boot:
            self._linked()

    def close(self) -> None:
        """Let the host go, for good. Returns at once; the host takes the CLI with it."""
        with self._lock:
            self._closed = True
            if self._link is not None:
                self._link.close()
            replies = list(self._replies.values())
        for turn in self.turns():
            self._finish_here(turn, None)
        for _, reply in replies:
            _answer(reply, {"error": "the kernel is shutting down"})

    def _linked(self) -> Link:
        with self._lock:
            if self._closed:
                raise errors.TroubleError(Trouble("closed", "The kernel is shutting down."))
            if self._link is None or not self._link.alive:
                if not os.path.isdir(self._directory):
                    self._directory = _existing_directory()
                self._link_started = time.monotonic()
                self._idle_since = self._link_started
                self._link = Link(
                    Start(
                        self.session_id,
                        self._settings() | {"budget_left": self.budget_left},
                        resume=self._exists,
                    ),
                    on_message=self._on_message,
                    on_end=self._on_end,
                    on_wake=self._on_wake,
                    python=self.host_python or sys.executable,
                    # The proxy that a person has chosen is for their code.
                    env=without(os.environ),
                    cwd=self._directory,
                )
            return self._link

    # -- turns --

    @property
    def spent(self) -> float:
        """US dollars that this kernel's turns have cost, as far as costs are known."""
        return sum(finished.cost_usd or 0.0 for finished in self.finished)

    @property
    def budget_left(self) -> float | None:
        """US dollars that may still be spent; None without a budget."""
        return max(0.0, self.max_budget_usd - self.spent) if self.max_budget_usd else None

    def begin(
        self,
        text: str,
        options: dict[str, Any],
        view: View,
        context: str = "",
        background: bool = False,
    ) -> Turn:
        """Begin a turn and return at once.

        Args:
            text: the prompt, literally as it is to arrive.
            options: ``model``, ``effort``, ``thinking`` for this turn only.
            view: where the answer shows.
            context: what has happened in the notebook, for Claude to know.
            background: whether the cell that asks goes on without waiting for it.

        Raises:
            OSError: no host could be started.
            errors.TroubleError: the prompt is longer than ``max_prompt_bytes``, the budget does not
                allow it, or this process was forked off the kernel's.
        """
        if os.getpid() != self._pid:
            raise errors.TroubleError(errors.FORKED)
        text = whole(text)
        size = len(text.encode())
        if size > self.max_prompt_bytes:
            raise errors.TroubleError(
                Trouble(
                    errors.PROMPT_TOO_LONG.kind,
                    f"The prompt has {size:,} bytes; at most {self.max_prompt_bytes:,} are sent.",
                    "Put the text into a file and name it, or raise `Familiar.max_prompt_bytes`.",
                )
            )
        self._check_budget()
        with self._lock:
            link = self._linked()
            self.number += 1
            self._exists = True
            identifier = str(uuid.uuid4())
            context = whole(context)
            prompt = Prompt(identifier, text, options, context, self.number)
            turn = Turn(prompt, view, background)
            turn.link = link
            self._turns[turn.id] = turn
            link.send(turn.prompt)
        return turn

    def _check_budget(self) -> None:
        """Refuse a turn that would pass the budget: no turn so far has cost less than is left."""
        left = self.budget_left
        if left is None or (self.endpoint and "claude" not in self.model):
            return  # what another model costs is not known, and counts as nothing
        cheapest = min((f.cost_usd for f in self.finished if f.cost_usd), default=0.0)
        if 0.0 < left >= cheapest:
            return
        told = (
            f"Of the budget of ${self.max_budget_usd:.2f}, ${left:.4f} is left, and the cheapest "
            f"turn so far cost ${cheapest:.4f}."
            if left
            else f"The budget of ${self.max_budget_usd:.2f} for this kernel is used up."
        )
        raise errors.TroubleError(
            Trouble(errors.BUDGET_REACHED.kind, told, errors.BUDGET_REACHED.advice)
        )

    def stop(self, turn: Turn) -> None:
        """End a turn; its ``done`` comes within :data:`STOP_GRACE`, whether the host answers or
        not."""
        with self._lock:
            if turn.id not in self._turns or turn.stop_by is not None:
                return
            turn.stop_by = time.monotonic() + STOP_GRACE
            if self._link is not None and self._link.alive:
                self._link.send(Interrupt(turn.id))

    def answer_call(self, turn: Turn, result: CallResult) -> None:
        """Send what came of a call, if the turn that it belongs to still goes on."""
        with self._lock:
            link = turn.link
            if turn.id in self._turns and link is not None and link.alive:
                link.send(result)

    def turns(self) -> list[Turn]:
        """Return the turns that have begun and not ended."""
        with self._lock:
            return list(self._turns.values())

    def _finish(self, finished: TurnFinished) -> None:
        with self._lock:
            turn = self._turns.pop(finished.turn, None)
            self._idle_since = time.monotonic()
            if turn is None:
                return  # it was ended here already, because the host was late
            self.finished.append(finished)
        show(turn, finished)
        try:
            self.on_finished(turn, finished)
        except Exception:
            log.exception("the end of a turn could not be told")
        turn.done.set_result(finished)
        turn.inbox.put(None)

    def _finish_here(self, turn: Turn, trouble: Trouble | None) -> None:
        """End a turn without the host: as failed with this trouble, or as stopped."""
        self._finish(
            TurnFinished(
                turn.id,
                "failed" if trouble else "stopped",
                error=trouble.as_dict() if trouble else None,
                number=turn.prompt.number,
                session_id=self.session_id,
                seconds=round(time.monotonic() - turn.at, 3),
                rehearsal=self.rehearsal,
            )
        )

    # -- settings and questions --

    def configure(self, **settings: Any) -> None:
        """Change settings from the next turn on: ``model``, ``effort``, ``thinking``,
        ``permission_mode``, ``max_budget_usd``, ``endpoint``, ``endpoint_key_env``.

        Raises:
            traitlets.TraitError: a value that the trait does not take.
        """
        for name, value in settings.items():
            setattr(self, name, value)
        if settings.pop("max_budget_usd", None) is not None:
            settings["budget_left"] = self.budget_left
        if "endpoint_key_env" in settings:
            # Its value: the host has the environment of when it was started.
            settings["endpoint_key"] = os.environ.get(settings.pop("endpoint_key_env"), "")
        with self._lock:
            if self._link is not None and self._link.alive:
                self._link.send(Configure(settings))

    def reset(self) -> str:
        """Forget the conversation and return the new session's UUID. Turns under way are
        stopped."""
        return self._hold(str(uuid.uuid4()), 0, exists=False)

    def resume(self, session_id: str, number: int) -> None:
        """Go on with another session that exists. Turns under way are stopped.

        Args:
            session_id: its UUID.
            number: how many turns it has had.
        """
        self._hold(session_id, number, exists=True)

    def _hold(self, session_id: str, number: int, *, exists: bool) -> str:
        for turn in self.turns():
            self.stop(turn)
        with self._lock:
            self.session_id = session_id
            self.number = number
            self._exists = exists
            if self._link is not None and self._link.alive:
                # Its CLI counts anew; the kernel's budget does not.
                self._link.send(Configure({"budget_left": self.budget_left}))
                self._link.send(Reset(session_id, resume=exists))
        return session_id

    def reconnect(self) -> None:
        """Have the host start its CLI anew, so that it sees a new sign-in."""
        with self._lock:
            self.trouble = None
            if self._link is not None and self._link.alive:
                self._link.send(Reconnect())

    def question(self, what: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        """Ask the host something; see :class:`.protocol.Ask`. ``error`` in the answer says why
        there is none.

        Blocks for up to ``timeout`` seconds.
        """
        reply: Future[dict[str, Any]] = Future()
        identifier = str(uuid.uuid4())
        try:
            with self._lock:
                link = self._linked()
                self._replies[identifier] = (link, reply)
                link.send(Ask(identifier, what, arguments))  # type: ignore[arg-type]
        except (OSError, errors.TroubleError) as err:
            return {"error": str(err)}
        try:
            return reply.result(timeout)
        except FutureTimeoutError:
            return {"error": f"the host did not answer within {timeout:.0f} s"}
        finally:
            with self._lock:
                self._replies.pop(identifier, None)
                self._idle_since = time.monotonic()
            link.wake()

    # -- called in the link's thread --

    def _on_message(self, message: Message) -> None:
        match message:
            case TurnFinished():
                self._finish(message)
            case Ready(facts=facts):
                self.facts = facts
                if self._link is not None:
                    self._link.ready = True
                if facts.get("connected"):
                    self.trouble = None
            case HostFailed(error=error):
                self.trouble = Trouble.from_dict(error)
                log.info("the familiar: %s %s", self.trouble.message, self.trouble.details)
            case ToolUsed():
                self.on_tool_used(message)
            case Call():
                called = self._turns.get(message.turn)
                if called is not None and called.stop_by is None:
                    called.begun = True
                    called.inbox.put(message)
            case Reply(id=identifier, value=value):
                with self._lock:
                    asked = self._replies.get(identifier)
                if asked is not None:
                    _answer(asked[1], value)
            case _:
                turn = self._turns.get(getattr(message, "turn", ""))
                if turn is not None and turn.stop_by is None:
                    turn.begun = True
                    show(turn, message)  # type: ignore[arg-type]

    def _on_end(self, link: Link, stderr: str) -> None:
        trouble = (errors.HOST_DIED if link.ready else errors.NO_HOST).with_details(stderr)
        with self._lock:
            # Another host may have been started meanwhile; what it runs is none of this one's.
            turns = [turn for turn in self.turns() if turn.link is link]
            replies = [reply for asked, reply in self._replies.values() if asked is link]
            if self._link is link:
                self._link = None
        # A turn of which nothing had come was not begun by anybody: another host may.
        for turn in turns:
            again = link.ready and not turn.begun and turn.stop_by is None
            if not (again and self._begin_again(turn)):
                self._finish_here(turn, None if turn.stop_by is not None else trouble)
        for reply in replies:
            _answer(reply, {"error": trouble.message})
        log.info("the familiar's host ended: %s", stderr[-500:] or "(nothing on stderr)")

    def _begin_again(self, turn: Turn) -> bool:
        """Send a turn to another host, once; return whether it was."""
        turn.begun = True
        try:
            with self._lock:
                turn.link = self._linked()
                turn.link.send(turn.prompt)
        except (OSError, errors.TroubleError):
            log.exception("no other host could be started")
            return False
        return True

    def _on_wake(self) -> float | None:
        """Do what is due; return when the next thing is."""
        now = time.monotonic()
        turns = self.turns()
        due: list[float] = []
        start_by = self._link_started + self.start_timeout + HOST_GRACE
        for turn in turns:
            if turn.stop_by is not None:
                if now >= turn.stop_by:
                    self._finish_here(turn, None)
                else:
                    due.append(turn.stop_by)
                continue
            if not self.ready:
                if now >= start_by:
                    self._finish_here(turn, errors.LATE)
                    continue
                due.append(start_by)
            view_due = tick(turn, now)
            if view_due is not None:
                due.append(view_due)
        if not (turns or self._replies) and self.hibernate_after and self.ready:
            sleep_at = self._idle_since + self.hibernate_after
            if now >= sleep_at:
                self._hibernate()
            else:
                due.append(sleep_at)
        return min(due, default=None)

    def _hibernate(self) -> None:
        with self._lock:
            if self._turns or self._replies or self._link is None:
                return
            log.info("the familiar hibernates after %.0f s without a prompt", self.hibernate_after)
            self._link.close()
            self._link = None


def _answer(reply: Future[dict[str, Any]], value: dict[str, Any]) -> None:
    """Give a question its answer, unless it has one."""
    with contextlib.suppress(InvalidStateError):
        reply.set_result(value)


def _existing_directory() -> str:
    """Return the kernel's working directory, or the home where it has been deleted under the
    kernel."""
    try:
        return os.getcwd()
    except OSError:
        return str(Path.home())
