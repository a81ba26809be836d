"""stdout and stderr that do not run ahead of whoever reads them.

ipykernel collects what is printed for a fifth of a second and sends it as one message, however
large. A loop that prints much makes messages of hundreds of megabytes so, which the outer kernel
would have to hold. Here a message is sent when a bound is reached, and the print waits for that.
"""

from __future__ import annotations

import threading

from ipykernel.iostream import OutStream

MOST = 256 << 10
"""Characters of one message."""


class BoundedStream(OutStream):
    """A stream that sends what it has collected when that becomes much."""

    _collected = 0

    def write(self, string: str) -> int | None:  # type: ignore[override]
        """Write a text."""
        if not isinstance(string, str) or len(string) + self._collected < MOST:
            written: int | None = super().write(string)
            self._collected += len(string)
            return written
        for start in range(0, len(string), MOST):
            super().write(string[start : start + MOST])
            if threading.current_thread() is not self.pub_thread.thread:
                self.flush()
        return len(string)

    def _flush(self) -> None:
        self._collected = 0
        super()._flush()
