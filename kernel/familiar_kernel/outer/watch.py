"""Bounds the memory that a sandbox can make the outer kernel take.

ZeroMQ bounds a part of a message and the number of whole ones, but neither the parts nor the
connections: who speaks its protocol by hand can have it keep what never becomes a message. So the
process is looked at while a sandbox runs, and one that makes it grow too far is ended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

GROWTH = 768 << 20
"""Bytes that the process may grow while a sandbox runs. A client that reads nothing costs 80 MB."""
EVERY = 0.1
"""Seconds between two looks."""
WHY = "it sent more than can be held outside"
_STATM = Path("/proc/self/statm")


def resident() -> int:
    """Return the bytes of memory that this process has, or 0 where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class Watch:
    """Looks until it is ended.

    Args:
        too_much: called once, in a thread of its own, where the process has grown too far.
    """

    def __init__(self, too_much: Callable[[], None]) -> None:
        self._too_much = too_much
        self._end = threading.Event()
        self._most = resident() + GROWTH
        threading.Thread(target=self._look, name="sandbox-watch", daemon=True).start()

    def end(self) -> None:
        """Look no longer."""
        self._end.set()

    def _look(self) -> None:
        while not self._end.wait(EVERY):
            if resident() > self._most:
                self._too_much()
                return
