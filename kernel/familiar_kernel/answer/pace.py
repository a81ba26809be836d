"""When a growing answer may be shown again: often while it is short, seldom when it is long.

Every update of a Jupyter display carries the whole text so far, so showing every piece that arrives costs bytes
with the square of the answer's length. A purse keeps that linear. It starts with a fixed sum, earns a share of
every byte that arrives, and pays for every update in full: whatever the pace at which pieces come, what is spent
never exceeds the sum plus the share. The emptier the purse, the longer the pause before the next update, so it is
spent evenly and never runs dry at once.
"""

from __future__ import annotations

MIN_PAUSE = 0.08
"""Seconds between two updates: 12.5 a second, which looks continuous and is what front ends can render."""
FULL = 96 * 1024
"""Bytes in a new purse."""
SHARE = 0.9
"""Bytes earned for each byte received."""
OVERHEAD = 900
"""Bytes of an update besides its Markdown: header, parent header, signature, identities."""


class Purse:
    """Pays for updates of one answer. Times are seconds of any steady clock, sizes are bytes."""

    def __init__(
        self,
        full: float = FULL,
        share: float = SHARE,
        min_pause: float = MIN_PAUSE,
        overhead: float = OVERHEAD,
    ) -> None:
        self.full = full
        self._share = share
        self._min_pause = min_pause
        self._overhead = overhead
        self._level = full
        self._last: float | None = None

    def earn(self, size: int) -> None:
        """Note that ``size`` bytes of answer have arrived."""
        self._level = min(self.full, self._level + self._share * size)

    def due(self, size: int) -> float | None:
        """Return the time from which an update of ``size`` bytes may be published.

        None means: not before more of the answer has arrived. Nothing published yet means: at once.
        """
        if self._level < size + self._overhead:
            return None
        if self._last is None:
            return float("-inf")
        return self._last + self._min_pause * self.full / self._level

    def affords(self, size: int) -> bool:
        """Return whether an update of ``size`` bytes can be paid, however short ago the last one was."""
        return self._level >= size + self._overhead

    def spend(self, size: int, now: float) -> None:
        """Pay for an update that is published ``now``."""
        self._level -= size + self._overhead
        self._last = now
