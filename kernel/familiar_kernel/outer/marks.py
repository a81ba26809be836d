"""How far the outputs of the inner kernel have come.

What it says over the bridge overtakes what its code has printed. So it marks its outputs, names the
mark, and what depends on it waits until the mark has come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

WAIT = 2.0
"""Seconds after which a mark is taken to be lost, as outputs may be where there are too many."""


class Marks:
    """The marks of one inner kernel. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reached = 0
        self._waiting: list[tuple[int, Callable[[], None]]] = []

    def reach(self, number: int) -> None:
        """Note that a mark has come."""
        with self._lock:
            self._reached = max(self._reached, number)
            due = [then for wanted, then in self._waiting if wanted <= self._reached]
            self._waiting = [one for one in self._waiting if one[0] > self._reached]
        for then in due:
            then()

    def when(self, number: int, then: Callable[[], None]) -> None:
        """Have something done, once, when a mark has come, or is taken to be lost."""
        once = _Once(then)
        with self._lock:
            waits = number > self._reached
            if waits:
                self._waiting.append((number, once))
        if not waits:
            once()
            return
        timer = threading.Timer(WAIT, once)
        timer.daemon = True
        once.timer = timer
        timer.start()


class _Once:
    def __init__(self, then: Callable[[], None]) -> None:
        self._then: Callable[[], None] | None = then
        self._lock = threading.Lock()
        self.timer: threading.Timer | None = None

    def __call__(self) -> None:
        with self._lock:
            then, self._then = self._then, None
        if self.timer is not None:
            self.timer.cancel()
        if then is not None:
            then()
