"""The answer on its way to the front end: takes events, decides when to show, and shows.

It lives on the thread that reads the link. It owns no thread and no timer: it says when it wants to
be called again (:meth:`AnswerView.next_due`), and whoever waits for the link's next line waits no
longer than that.

While the answer grows it is several outputs, of which only the last is updated (:mod:`.live`); in
the end it is one. Where the cell has output of anybody else's, which clearing it would lose, the
answer is one output from the beginning.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from familiar_kernel.answer.live import THOUGHT_SHOWN, Growth, Place, growth
from familiar_kernel.answer.pace import Purse
from familiar_kernel.answer.render import final
from familiar_kernel.answer.transcript import Text, Thinking, Transcript
from familiar_kernel.familiar.protocol import MessageBegan, Outcome, TurnEvent

_SILENCE = 0.25
"""Seconds after which a turn that has brought nothing says that it waits: most have words by then,
and one update less is before them."""
_COUNT = 1.0
"""Seconds after which a thought shows its length anew."""
_HEARTBEAT = 5.0
"""Seconds after which a wait for the first words, or for a tool, shows its length anew; a sixth of
the wait where that is longer, but at most:"""
_SLOWEST_HEARTBEAT = 60.0
"""Seconds. An hour costs some 50 KB."""
_THOUGHT_RESERVE = 0.6
"""The share of a full purse that thinking leaves for the answer."""
_SETTLE = 500
"""Bytes that an output has at least before another one begins behind it."""
_GROWING: dict[str, Any] = {"familiar": {}}
"""Metadata of an output that does not stay: an answer's, and nothing is known of it yet."""
_ENOUGH = 1200
"""Bytes of finished paragraphs that are enough for one update, without the one that is being
written."""


class Surface(Protocol):
    """The outputs of one cell. Numbers count this answer's outputs from 0, in order."""

    def alone(self) -> bool:
        """Whether the cell shows nothing but this answer."""

    def add(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Show one more output, behind those that are there."""

    def update(self, number: int, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Replace what an output shows."""

    def replace_all(self, data: dict[str, Any], metadata: dict[str, Any]) -> bool:
        """Clear the cell and show one output; where the answer is not alone, return False."""


class AnswerView:
    """Shows one turn's answer as it grows, and once more when it is whole.

    Args:
        surface: where it shows. It is called under the view's lock, so never by two threads at
            once.
        clock: gives the time in seconds; any steady clock.
        live: with False only the finished answer is shown, once.
        rehearsal: whether the rehearsal answers; labels the answer from its first update on.
        purse: pays for the updates.
    """

    def __init__(
        self,
        surface: Surface,
        clock: Callable[[], float] = time.monotonic,
        *,
        live: bool = True,
        rehearsal: bool = False,
        purse: Purse | None = None,
    ) -> None:
        self.transcript = Transcript(clock, rehearsal)
        self._surface = surface
        self._clock = clock
        self._live = live
        self._purse = purse or Purse()
        self._lock = threading.Lock()
        self._outputs: list[str] = []
        """What each output shows, the last one's Markdown last."""
        self._start = Place()
        """Where the last output begins."""
        self._unseen = 0
        """Bytes that have come since the last update."""
        self._words_shown = False
        self._shown_at = 0.0
        self._dirty = False

    def on_event(self, event: TurnEvent) -> None:
        """Take an event in and show what is due. Events after the end are ignored."""
        with self._lock:
            if self.transcript.finished:
                return
            brought = self.transcript.add(event)
            self._purse.earn(brought)
            self._unseen += brought
            if self.transcript.finished:
                self._show_final()
                return
            if isinstance(event, MessageBegan) and event.again:
                self._start_again()
            self._dirty = True
            self._show_if_due()

    def next_due(self) -> float | None:
        """Return the time on the clock at which :meth:`tick` should be called, or None."""
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

    # -- when --

    def _next_due(self) -> float | None:
        if not self._live or self.transcript.finished:
            return None
        if not (self._outputs or self.transcript.parts or self.transcript.notice):
            return self.transcript.began + _SILENCE
        thinks = self._thinks()
        size = min(self._size(), THOUGHT_SHOWN) if thinks else self._size()
        reserve = _THOUGHT_RESERVE if thinks else 0.0
        if self._dirty:
            return self._purse.due(size, reserve)
        if thinks:
            return self._shown_at + _COUNT if self._purse.affords(size, reserve) else None
        since = self.transcript.waits_since()
        if since is None:
            return None
        pause = max(_HEARTBEAT, (self._shown_at - since) / 6)
        return self._shown_at + min(pause, _SLOWEST_HEARTBEAT)

    def _show_if_due(self) -> None:
        now = self._clock()
        if self._live and self._dirty and not self._words_shown and self._has_words():
            # The first words never wait for a pause to end.
            due: float | None = now if self._purse.affords(self._size()) else None
        else:
            due = self._next_due()
        if due is not None and due <= now:
            self._show(now)

    def _has_words(self) -> bool:
        return any(isinstance(part, Text) for part in self.transcript.parts)

    def _thinks(self) -> bool:
        parts = self.transcript.parts
        return bool(parts) and isinstance(parts[-1], Thinking)

    def _size(self) -> int:
        """Return about how many bytes the next update has: what shows last, and what has come
        since."""
        return len(self._outputs[-1]) + self._unseen if self._outputs else self._unseen + 100

    # -- what --

    def _show(self, now: float) -> None:
        grown = growth(self.transcript, self._start, now)
        if not self._dirty and not self._thinks():
            # A heartbeat: so few that text need not pay for them.
            self._purse.grant(_wire_size(grown.rest))
        rich = self._purse.rich
        if len(grown.settled) >= _SETTLE and self._surface.alone():
            self._put(grown.settled, now)
            self._start = grown.place
            self._outputs.append("")
            if grown.rest and rich and len(grown.settled) < _ENOUGH:
                self._put(grown.rest, now)
        elif rich or len(grown.rest) > _ENOUGH or not self._outputs:
            self._put(_whole(grown), now)
        else:
            # A paragraph that is not finished would have to be paid for again when it is.
            self._purse.wait(now)
            return
        self._words_shown = self._words_shown or self._has_words()
        self._shown_at = now
        self._unseen = 0
        self._dirty = False

    def _put(self, markdown: str, now: float) -> None:
        """Show this in the last output, if it does not stand there already."""
        if not markdown or (self._outputs and self._outputs[-1] == markdown):
            return
        data = {"text/markdown": markdown + "\n"}
        self._purse.spend(_wire_size(markdown), now)
        if not self._outputs or not self._outputs[-1]:
            self._surface.add(data, _GROWING)
        else:
            self._surface.update(len(self._outputs) - 1, data, _GROWING)
        self._outputs[-1:] = [markdown]

    def _start_again(self) -> None:
        """Lay the answer out from its beginning, after some of what is shown has become void."""
        if len(self._outputs) < 2:
            return
        self._start = Place()
        markdown = _whole(growth(self.transcript, self._start, self._clock()))
        self._one_output({"text/markdown": markdown + "\n"}, _GROWING)
        self._outputs = [markdown]

    def _show_final(self) -> None:
        self._one_output(*final(self.transcript))
        self._outputs = self._outputs[:1]

    def _one_output(self, data: dict[str, Any], facts: dict[str, Any]) -> None:
        """Make this the only output of the answer.

        Where it may, the cell is cleared for it and shows a new output: also because some front
        ends (the terminal's) know no updates, and show what comes new only.
        """
        if not self._live or not self._outputs:
            self._surface.add(data, facts)
        elif not self._surface.replace_all(data, facts):
            self._surface.update(0, data, facts)
            for number in range(1, len(self._outputs)):
                self._surface.update(number, {}, {})


def _whole(grown: Growth) -> str:
    return "\n\n".join(filter(None, (grown.settled, grown.rest)))


def _wire_size(markdown: str) -> int:
    return len(markdown.encode()) + markdown.count("\n") + markdown.count('"')
