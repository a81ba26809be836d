"""The answer on its way to the front end: takes events, decides when to show, and shows.

It lives on the thread that reads the link. It owns no thread and no timer: it says when it wants to be called
again (:meth:`AnswerView.next_due`), and whoever waits for the link's next line waits no longer than that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from familiar_kernel.answer.pace import Purse
from familiar_kernel.answer.render import Bundle, final, live
from familiar_kernel.answer.transcript import Text, Thinking, Transcript
from familiar_kernel.familiar.protocol import Outcome, TurnEvent

_COUNT = 1.0
"""Seconds after which a wait or a thought shows its length anew."""
_COUNT_COST = 1 / 40
"""The share of a full purse that such a recount may cost; a long thought is not sent again to count a second."""


class Publish(Protocol):
    """Shows a bundle: with ``update`` false as a new output, with true in place of the one before."""

    def __call__(self, data: dict[str, Any], metadata: dict[str, Any], update: bool) -> None: ...


class AnswerView:
    """Shows one turn's answer as it grows, and once more when it is whole.

    Args:
        publish: called with data, metadata and whether it replaces what was shown before. It is called under the
            view's lock, so never by two threads at once.
        clock: gives the time in seconds; any steady clock.
        live: with False only the finished answer is shown, once.
        rehearsal: whether the rehearsal answers; labels the answer from its first update on.
        purse: pays for the updates.
    """

    def __init__(
        self,
        publish: Publish,
        clock: Callable[[], float] = time.monotonic,
        *,
        live: bool = True,
        rehearsal: bool = False,
        purse: Purse | None = None,
    ) -> None:
        self.transcript = Transcript(clock, rehearsal)
        self._publish = publish
        self._clock = clock
        self._live = live
        self._purse = purse or Purse()
        self._lock = threading.Lock()
        self._shown = False
        self._words_shown = False
        self._shown_at = 0.0
        self._dirty = False
        self._bundle: Bundle | None = None

    def on_event(self, event: TurnEvent) -> None:
        """Take an event in and show what is due. Events after the end are ignored."""
        with self._lock:
            if self.transcript.finished:
                return
            self._purse.earn(self.transcript.add(event))
            if self.transcript.finished:
                self._show_final()
                return
            self._dirty = True
            self._show_if_due()

    def next_due(self) -> float | None:
        """Return the time on the clock at which :meth:`tick` should be called, or None for no call."""
        with self._lock:
            return self._next_due()

    def tick(self) -> None:
        """Show what has become due since the last event; harmless at any time."""
        with self._lock:
            if not self.transcript.finished:
                self._show_if_due()

    def close(self, outcome: Outcome = "stopped") -> None:
        """End the answer here if it has not ended, for a host that does not answer in time."""
        with self._lock:
            if not self.transcript.finished:
                self.transcript.stop(outcome)
                self._show_final()

    @property
    def bundle(self) -> Bundle | None:
        """What stays in the notebook, once the turn has ended."""
        return self._bundle

    def _next_due(self) -> float | None:
        if not self._live or self.transcript.finished:
            return None
        size = self._size()
        due = self._purse.due(size)
        if due is None:
            return None
        if self._dirty:
            return due
        if self._counts() and size <= self._purse.full * _COUNT_COST:
            return max(due, self._shown_at + _COUNT)
        return None

    def _show_if_due(self) -> None:
        now = self._clock()
        if self._live and self._dirty and not self._words_shown and self._has_words():
            due: float | None = now if self._purse.affords(self._size()) else None
        else:
            due = self._next_due()
        if due is None or due > now:
            return
        data, metadata = live(self.transcript, now)
        self._purse.spend(_wire_size(data), now)
        self._words_shown = self._words_shown or self._has_words()
        self._shown_at = now
        self._dirty = False
        self._publish(data, metadata, update=self._shown)
        self._shown = True

    def _show_final(self) -> None:
        self._bundle = final(self.transcript)
        self._publish(*self._bundle, update=self._shown)
        self._shown = True

    def _has_words(self) -> bool:
        return any(isinstance(part, Text) for part in self.transcript.parts)

    def _counts(self) -> bool:
        parts = self.transcript.parts
        return bool(parts) and isinstance(parts[-1], Thinking)

    def _size(self) -> int:
        return self.transcript.received + 200


def _wire_size(data: dict[str, Any]) -> int:
    return sum(
        len(value.encode()) + value.count("\n") + value.count('"') for value in data.values()
    )
