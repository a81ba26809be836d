"""When a growing answer may be shown again: often while it is short, seldom when it is long.

Every update of a Jupyter display is a message of its own, with most of a kilobyte around what it
carries, so showing every piece that arrives would cost many times the answer. Two rules keep that
in bounds. An update waits until the answer has grown by a share of its length, so that there are
about as many updates for each doubling. And a purse pays for every update in full: it starts with a
fixed sum and earns a share of every byte that arrives, so that whatever the pace at which pieces
come, what is spent never exceeds the sum plus the share.

The sums are such that an answer of 100 KB costs less than four times its length on iopub: twice for
what stays (Markdown and plain text), the rest for its growing.
"""

from __future__ import annotations

MIN_PAUSE = 0.08
"""Seconds between two updates: 12.5 a second looks continuous, and front ends can do that."""
MAX_PAUSE = 3.0
"""Seconds after which an update is due however little has come, if it can be paid."""
GROWTH = 1 / 12
"""The share of its length by which an answer has grown when it is shown again."""
MAX_GROWTH = 1600
"""Bytes of growth that are always enough for an update."""
FULL = 48 * 1024
"""Bytes in a new purse."""
SHARE = 1.4
"""Bytes earned for each byte received."""
RICH = 0.35
"""The share of a full purse above which an update may show what the next one shows again."""
OVERHEAD = 700
"""Bytes of an update besides its Markdown: header, parent header, signature, identities."""


class Purse:
    """Pays for the updates of one answer. Times are seconds of any steady clock, sizes bytes."""

    def __init__(
        self, full: float = FULL, share: float = SHARE, overhead: float = OVERHEAD
    ) -> None:
        self.full = full
        self._share = share
        self._overhead = overhead
        self._level = full
        self._received = 0
        self._unseen = 0
        self._last: float | None = None
        self._at_once = 1
        """Updates that were published at the last moment: the pause after two is twice as long."""

    def earn(self, size: int) -> None:
        """Note that ``size`` bytes of answer have arrived."""
        self._level += self._share * size
        self._received += size
        self._unseen += size

    def grant(self, size: int) -> None:
        """Add what an update of ``size`` bytes costs that brings no text."""
        self._level += size + self._overhead

    def affords(self, size: int, reserve: float = 0.0) -> bool:
        """Return whether an update can be paid, with a share of a full purse kept for later."""
        return self._level >= size + self._overhead + reserve * self.full

    def due(self, size: int, reserve: float = 0.0) -> float | None:
        """Return the time from which an update of ``size`` bytes may be published.

        None means: not before more of the answer has arrived. Nothing published yet means: at once.
        """
        if not self.affords(size, reserve):
            return None
        if self._last is None:
            return float("-inf")
        enough = self._unseen >= min(self._received * GROWTH, MAX_GROWTH)
        return self._last + (MIN_PAUSE * self._at_once if enough else MAX_PAUSE)

    @property
    def rich(self) -> bool:
        """Whether there is enough left to show also what will be shown again."""
        return self._level > RICH * self.full

    def wait(self, now: float) -> None:
        """Begin a pause ``now`` without an update: there was nothing that would be worth its
        price."""
        self._last = now

    def spend(self, size: int, now: float) -> None:
        """Pay for an update that is published ``now``."""
        self._level -= size + self._overhead
        self._unseen = 0
        self._at_once = self._at_once + 1 if now == self._last else 1
        self._last = now
