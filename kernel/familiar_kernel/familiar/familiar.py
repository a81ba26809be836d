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
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any, Protocol

from jupyter_core.paths import jupyter_data_dir
from traitlets import Bool, Dict, Enum, Float, Integer, Unicode, default
from traitlets.config import Configurable

from . import errors
from .errors import Trouble
from .inbox import Inbox
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
    TurnEvent,
    TurnFinished,
)

log = logging.getLogger(__name__)

STOP_GRACE = 0.5
"""Seconds that the host has to end a stopped turn itself (it needs 0.02 to 0.1), before the kernel
ends it."""
HOST_GRACE = 15.0
"""Seconds, beyond ``start_timeout``, that a host has from its start to its Ready."""

EFFORTS = ("low", "medium", "high", "xhigh", "max")


class View(Protocol):
    """Where a turn shows. Its methods are called from any thread, so a view has a lock."""

    def on_event(self, event: TurnEvent) -> None:
        """Take in an event; after TurnFinished no other call comes."""

    def next_due(self) -> float | None:
        """Return the monotonic time of the next call of :meth:`tick` that it wants, or None."""

    def tick(self) -> None:
        """Do what was due."""


class Turn:
    """A turn that has begun: wait for ``done``, or stop it with :meth:`Familiar.stop`."""

    def __init__(self, prompt: Prompt, view: View) -> None:
        self.id = prompt.turn
        self.prompt = prompt
        self.view = view
        self.at = time.monotonic()
        self.begun = False
        """Whether anything of it has come from a host."""
        self.shows = True
        """Whether its view works."""
        self.link: Link | None = None
        """The link to the host that runs it."""
        self.inbox = Inbox()
        """What Claude's tools ask of whoever waits for it."""
        self.thread = threading.current_thread()
        self.stop_by: float | None = None
        self.done: Future[TurnFinished] = Future()


class Familiar(Configurable):
    """The familiar of one kernel."""

    model = Unicode(
        "", help="Claude's model, by name or alias; empty means the CLI's own default."
    ).tag(config=True)
    effort = Enum(
        ("", *EFFORTS),
        "",
        help="How much effort Claude puts into answers; empty means its default.",
    ).tag(config=True)
    thinking = Bool(True, help="Whether Claude thinks before it answers, and shows it.").tag(
        config=True
    )
    context = Enum(
        ("full", "errors", "off"),
        "full",
        help="What a prompt carries by itself of what happened in the notebook since the last one:"
        " cells, outputs and changed variables; errors only; nothing.",
    ).tag(config=True)
    context_tokens = Integer(
        4000, min=0, help="About how many tokens of that a prompt carries at most."
    ).tag(config=True)
    max_budget_usd = Float(
        0.0, min=0.0, help="US dollars that one CLI process may spend; 0: no limit."
    ).tag(config=True)
    max_prompt_bytes = Integer(
        600_000,
        min=1,
        help="Bytes (UTF-8) of the longest prompt that is sent; a longer one is refused.",
    ).tag(config=True)
    start_timeout = Float(
        90.0, min=1.0, help="Seconds that the CLI has to start before a turn fails."
    ).tag(config=True)
    hibernate_after = Float(
        1800.0,
        min=0.0,
        help="Seconds without a prompt after which the host is let go, to free memory; 0: never.",
    ).tag(config=True)
    start_at_boot = Bool(
        True,
        help="Start the session when the kernel boots, not with the first prompt.",
    ).tag(config=True)
    cli_path = Unicode(
        "", help="The Claude Code CLI; empty means the one that claude-agent-sdk brings."
    ).tag(config=True)
    host_python = Unicode(
        "",
        help="Interpreter that runs the host, if it lives in another environment than the kernel.",
    ).tag(config=True)
    env = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="Environment variables for the CLI, over the kernel's own.",
    ).tag(config=True)
    rehearsal = Bool(
        help="Talk to the embedded rehearsal, a script, and not to Claude; every answer says so."
    ).tag(config=True)
    rehearsal_script = Unicode(
        help="The rehearsal's script (YAML); empty means the built-in one."
    ).tag(config=True)

    @default("rehearsal")
    def _rehearsal_from_environment(self) -> bool:
        return os.environ.get("FAMILIAR_REHEARSAL", "").lower() in ("1", "true", "yes", "on")

    @default("rehearsal_script")
    def _script_from_environment(self) -> str:
        return os.environ.get("FAMILIAR_REHEARSAL_SCRIPT", "")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session_id = str(uuid.uuid4())
        self.permission_mode = "default"
        """What the CLI may do without asking, in its own terms."""
        self.number = 0
        """Turns that the session has had, the one under way included."""
        self.finished: list[TurnFinished] = []
        """How each turn of this kernel ended, oldest first; what the status adds up."""
        self.facts: dict[str, Any] = {}
        """What the host told of itself when it was ready; empty before."""
        self.trouble: Trouble | None = None
        """Why the host could not connect, until it can."""
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
                self._link_started = time.monotonic()
                self._idle_since = self._link_started
                self._link = Link(
                    Start(self.session_id, self._settings(), resume=self.number > 0),
                    on_message=self._on_message,
                    on_end=self._on_end,
                    on_wake=self._on_wake,
                    python=self.host_python or sys.executable,
                    cwd=_existing_directory(),
                )
            return self._link

    def _settings(self) -> dict[str, Any]:
        settings = {
            name: getattr(self, name)
            for name in (
                "model",
                "effort",
                "thinking",
                "permission_mode",
                "max_budget_usd",
                "start_timeout",
                "cli_path",
                "env",
            )
        }
        if self.rehearsal:
            state = Path(jupyter_data_dir()) / "familiar-rehearsal"
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            settings |= {
                "rehearsal": True,
                "rehearsal_script": self.rehearsal_script,
                "state_dir": str(state),
            }
        return settings

    # -- turns --

    def begin(self, text: str, options: dict[str, Any], view: View, context: str = "") -> Turn:
        """Begin a turn and return at once.

        Args:
            text: the prompt, literally as it is to arrive.
            options: ``model``, ``effort``, ``thinking`` for this turn only.
            view: where the answer shows.
            context: what has happened in the notebook, for Claude to know.

        Raises:
            OSError: no host could be started.
            errors.TroubleError: the prompt is longer than ``max_prompt_bytes``, or this process was
            forked off
                the kernel's.
        """
        if os.getpid() != self._pid:
            raise errors.TroubleError(
                Trouble(
                    "forked",
                    "The familiar belongs to the kernel's own process; this one was forked off it.",
                    "Ask from a cell, or from a thread of the kernel.",
                )
            )
        text = whole_characters(text)
        size = len(text.encode())
        if size > self.max_prompt_bytes:
            raise errors.TroubleError(
                Trouble(
                    errors.PROMPT_TOO_LONG.kind,
                    f"The prompt has {size:,} bytes; at most {self.max_prompt_bytes:,} are sent.",
                    "Put the text into a file and name it, or raise `Familiar.max_prompt_bytes`.",
                )
            )
        with self._lock:
            link = self._linked()
            self.number += 1
            identifier = str(uuid.uuid4())
            context = whole_characters(context)
            turn = Turn(Prompt(identifier, text, options, context, self.number), view)
            turn.link = link
            self._turns[turn.id] = turn
            link.send(turn.prompt)
        return turn

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
        self.show(turn, finished)
        turn.done.set_result(finished)
        turn.inbox.put(None)

    @staticmethod
    def show(turn: Turn, event: TurnEvent) -> None:
        """Show an event. A view that fails shows no more until the end, and the turn goes on."""
        if not turn.shows and not isinstance(event, TurnFinished):
            return
        try:
            turn.view.on_event(event)
        except Exception:
            turn.shows = False
            log.exception("an answer could not be shown")

    @staticmethod
    def _tick(turn: Turn, now: float) -> float | None:
        """Have a view do what is due, and return when it is to be called next."""
        if not turn.shows:
            return None
        try:
            due = turn.view.next_due()
            if due is not None and due <= now:
                turn.view.tick()
                due = turn.view.next_due()
        except Exception:
            turn.shows = False
            log.exception("an answer could not be shown")
            return None
        return due

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
        """Change ``model``, ``effort``, ``thinking`` or ``permission_mode`` from the next turn on.

        Raises:
            traitlets.TraitError: a value that the trait does not take.
        """
        for name, value in settings.items():
            setattr(self, name, value)
        with self._lock:
            if self._link is not None and self._link.alive:
                self._link.send(Configure(settings))

    def reset(self) -> str:
        """Forget the conversation and return the new session's UUID. Turns under way are
        stopped."""
        for turn in self.turns():
            self.stop(turn)
        with self._lock:
            self.session_id = str(uuid.uuid4())
            self.number = 0
            if self._link is not None and self._link.alive:
                self._link.send(Reset(self.session_id))
            return self.session_id

    def reconnect(self) -> None:
        """Have the host start its CLI anew, so that it sees a new sign-in."""
        with self._lock:
            self.trouble = None
            if self._link is not None and self._link.alive:
                self._link.send(Reconnect())

    def question(self, what: str, timeout: float) -> dict[str, Any]:
        """Ask the host about itself: ``status`` or ``auth``. ``error`` in the answer says why there
        is none.

        Blocks for up to ``timeout`` seconds.
        """
        reply: Future[dict[str, Any]] = Future()
        identifier = str(uuid.uuid4())
        try:
            with self._lock:
                link = self._linked()
                self._replies[identifier] = (link, reply)
                link.send(Ask(identifier, what))  # type: ignore[arg-type]
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
                    self.show(turn, message)  # type: ignore[arg-type]

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
            view_due = self._tick(turn, now)
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


def whole_characters(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair, as any text file would have
    it."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _existing_directory() -> str:
    """Return the kernel's working directory, or the home where it has been deleted under the
    kernel."""
    try:
        return os.getcwd()
    except OSError:
        return str(Path.home())
