"""stdout and stderr that do not run ahead of whoever reads them.

ipykernel collects what is printed for a fifth of a second and sends it as one message, however
large. A loop that prints much makes messages of hundreds of megabytes so, which the outer kernel
would have to hold. Here a message is sent when a bound is reached, and the print waits for that.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from ipykernel.iostream import IOPubThread, OutStream

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


LARGEST = 60 << 20
"""Bytes of one output; the outer kernel takes some more."""
_DELIMITER = b"<IDS|MSG>"


def leave_out_large(thread: IOPubThread, session: Any) -> None:
    """Leave out outputs that the outer kernel would not take, and say so in their cell."""
    send = thread.send_multipart

    def bounded(message: Any, *arguments: Any, **options: Any) -> None:
        size = max(len(part) for part in message)
        if size <= LARGEST:
            send(message, *arguments, **options)
            return
        told = (
            f"[An output of {size / 1e6:,.0f} MB is left out: no more than {LARGEST / 1e6:,.0f} MB"
            " pass out of the sandbox at once. Show less of it.]\n"
        )
        parent = json.loads(bytes(message[message.index(_DELIMITER) + 3]))
        content = {"name": "stderr", "text": told}
        session.send(thread, "stream", content, parent={"header": parent}, ident=b"stream.stderr")

    more: Any = thread
    more.send_multipart = bounded
