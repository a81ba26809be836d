"""How far the outputs of the inner kernel have come.

What it says over the bridge overtakes what its code has printed. So it marks its outputs, names the
mark, and what depends on it waits until the mark has come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

WAIT = 2.0
"""Seconds after which a mark is taken to be lost, as outputs may be where there are too many."""
MOST = 64
"""Marks that are waited for at once; where more are named, they are nobody's."""


class Marks:
    """The marks of one inner kernel. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reached = 0
        self._waiting: list[_Waiting] = []

    def reach(self, number: int) -> None:
        """Note that a mark has come."""
        with self._lock:
            self._reached = max(self._reached, number)
            due = [one for one in self._waiting if one.number <= self._reached]
        for one in due:
            self._do(one)

    def when(self, number: int, then: Callable[[], None]) -> None:
        """Have something done, once, when a mark has come, or is taken to be lost."""
        one = _Waiting(number, then)
        with self._lock:
            waits = number > self._reached and len(self._waiting) < MOST
            if waits:
                self._waiting.append(one)
        if not waits:
            then()
            return
        one.timer = threading.Timer(WAIT, self._do, (one,))
        one.timer.daemon = True
        one.timer.start()

    def _do(self, one: _Waiting) -> None:
        with self._lock:
            if one not in self._waiting:
                return  # it was done
            self._waiting.remove(one)
        if one.timer is not None:
            one.timer.cancel()
        one.then()


class _Waiting:
    """Something that waits for a mark."""

    def __init__(self, number: int, then: Callable[[], None]) -> None:
        self.number = number
        self.then = then
        self.timer: threading.Timer | None = None
