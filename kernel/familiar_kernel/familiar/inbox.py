"""What a turn asks of whoever waits for it.

Claude's tools act where the data is, and in the thread that owns it: the one that waits for the
turn. So a wait is not idle. It takes the turn's calls as they come, and word that the turn has
ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .protocol import Call


class Inbox:
    """The calls of one turn, for one waiter. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._listener: Callable[[], object] | None = None

    def put(self, call: Call | None) -> None:
        """Add a call; None only wakes the waiter."""
        self._calls.put(call)
        if self._listener is not None:
            self._listener()

    def get(self, timeout: float) -> Call | None:
        """Return the next call, waiting up to ``timeout`` seconds for it; None where there is
        none."""
        try:
            return self._calls.get(timeout=timeout) if timeout else self._calls.get_nowait()
        except Empty:
            return None

    def drain(self) -> list[Call]:
        """Return all calls that there are."""
        calls = []
        with contextlib.suppress(Empty):
            while True:
                if call := self._calls.get_nowait():
                    calls.append(call)
        return calls

    def listen(self, listener: Callable[[], object]) -> None:
        """Have ``listener`` called with everything that comes from now on, and once now."""
        self._listener = listener
        listener()
