"""A turn, as the kernel knows it: its prompt, where it shows, and who waits for it."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from .inbox import Inbox
from .protocol import Prompt, TurnEvent, TurnFinished

if TYPE_CHECKING:
    from .link import Link

log = logging.getLogger(__name__)


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

    def __init__(self, prompt: Prompt, view: View, background: bool = False) -> None:
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
        self.background = background
        """Whether the cell that asked goes on without waiting for it."""
        self.thread = threading.current_thread()
        self.stop_by: float | None = None
        self.done: Future[TurnFinished] = Future()


def show(turn: Turn, event: TurnEvent) -> None:
    """Show an event. A view that fails shows no more until the end, and the turn goes on."""
    if not turn.shows and not isinstance(event, TurnFinished):
        return
    try:
        turn.view.on_event(event)
    except Exception:
        turn.shows = False
        log.exception("an answer could not be shown")


def tick(turn: Turn, now: float) -> float | None:
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
