"""The bridge, seen from the inner kernel: a socket to the outer one, a JSON object a line.

Requests go both ways. From here: a prompt, ``ask``, a command; whoever runs it waits for ``done``.
From there: a ``call``, something to be looked at or run where the data is; it is answered with a
``result``. Two threads own the socket, so that an interrupt can hit the main thread anywhere.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, BinaryIO

Message = dict[str, Any]


class Bridge:
    """The inner kernel's end.

    Args:
        connection: the socket.
        lines: reads it, as far as the boot has not.
    """

    def __init__(self, connection: socket.socket, lines: BinaryIO) -> None:
        self._socket = connection
        self._lines = lines
        # Its put may be called from a signal handler, also while this thread is inside it.
        self._outgoing: SimpleQueue[bytes] = SimpleQueue()
        self.pid = os.getpid()

    def open(self, on_message: Callable[[Message], None]) -> None:
        """Begin; ``on_message`` is called in the bridge's thread with each message that comes."""
        for name, work in (("in", lambda: self._read(on_message)), ("out", self._write)):
            threading.Thread(target=work, name=f"familiar-bridge-{name}", daemon=True).start()

    def send(self, message: Message) -> None:
        """Queue a message. Never blocks."""
        self._outgoing.put(json.dumps(message).encode() + b"\n")

    def _write(self) -> None:
        while True:
            try:
                self._socket.sendall(self._outgoing.get())
            except OSError:
                os._exit(0)  # nobody is there any more to run anything for

    def _read(self, on_message: Callable[[Message], None]) -> None:
        while line := self._lines.readline():
            on_message(json.loads(line))
        os._exit(0)
