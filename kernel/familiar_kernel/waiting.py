"""Interrupts, while somebody waits for a turn.

A KeyboardInterrupt could hit anywhere, also between a turn's begin and the wait for it, and leave
the turn to itself. So while a turn is waited for an interrupt raises nothing: it stops the turn.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

SIGNAL_POLL = 0.1
"""Seconds after which a signal that did not wake the main thread is seen all the same."""


class Interrupts:
    """The interrupts that come while a turn is waited for.

    Attributes:
        came: whether there was one.
    """

    def __init__(self, came: bool = False) -> None:
        self.came = came
        self._stop: Callable[[], None] | None = None

    def call(self, stop: Callable[[], None]) -> None:
        """Say what an interrupt is to do; one that has come already does it now."""
        self._stop = stop
        if self.came:
            stop()

    def take(self, *_: object) -> None:
        """Take one: the signal's handler."""
        self.came = True
        if self._stop is not None:
            self._stop()


@contextlib.contextmanager
def interrupts_taken(came: bool) -> Iterator[Interrupts]:
    """Have this thread's interrupts taken, where it is the one that gets them.

    Args:
        came: whether one has come already.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    interrupts = Interrupts(came)
    before = signal.signal(signal.SIGINT, interrupts.take)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
