"""The bridge, seen from the outer kernel: the socket to what runs in the sandbox.

Whatever comes from there may have been made by anybody's code. A line that is too long or no JSON
object ends the bridge, and with it the sandbox. A peer that does not read does not block: what it
does not take is kept up to a bound, and then it is ended too.
"""

from __future__ import annotations

import json
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

Message = dict[str, Any]

MAX_LINE = 48 << 20
"""Bytes of one line: a picture's, at most."""
MAX_WAITING = 64 << 20
"""Bytes that wait for a peer that does not read."""


class Bridge:
    """The outer kernel's end.

    Args:
        connection: the socket.
        on_message: called in the bridge's thread with each message that comes.
        on_end: called in the bridge's thread, once, when the peer is gone or has broken the rules,
            with why, which is empty for the first; not after :meth:`close`.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_message: Callable[[Message], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._socket = connection
        self._on_message = on_message
        self._on_end = on_end
        self._lock = threading.Condition()
        self._outgoing: deque[bytes] = deque()
        self._waiting = 0
        self._closed = False
        self._why = ""

    def open(self) -> None:
        """Begin to read and write."""
        for name, work in (("in", self._read), ("out", self._write)):
            threading.Thread(target=work, name=f"sandbox-bridge-{name}", daemon=True).start()

    def send(self, message: Message) -> None:
        """Queue a message. Never blocks; what a peer that is gone did not get is lost."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            if self._closed:
                return
            self._waiting += len(data)
            if self._waiting > MAX_WAITING + len(data):
                self._break("it does not read what the familiar sends")
                return
            self._outgoing.append(data)
            self._lock.notify()

    def close(self) -> None:
        """End it; nothing is called any more."""
        with self._lock:
            self._closed = True
            self._lock.notify()
        self._shut()

    def _break(self, why: str) -> None:
        self._why = why
        self._shut()

    def _shut(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("the bridge was shut already")

    def _write(self) -> None:
        while True:
            with self._lock:
                while not self._outgoing and not self._closed:
                    self._lock.wait()
                if self._closed:
                    return
                data = self._outgoing.popleft()
            try:
                self._socket.sendall(data)
            except OSError:
                return  # the reader sees the end too, and says so
            with self._lock:
                self._waiting -= len(data)

    def _read(self) -> None:
        incoming = bytearray()
        try:
            while chunk := self._socket.recv(1 << 18):
                start = len(incoming)
                incoming += chunk
                if incoming.find(b"\n", start) < 0:
                    if len(incoming) > MAX_LINE:
                        self._break("it sent a line without an end")
                    continue
                *lines, rest = bytes(incoming).split(b"\n")
                incoming[:] = rest
                for line in lines:
                    self._take(line)
        except OSError:
            log.debug("the bridge broke", exc_info=True)
        with self._lock:
            asked, self._closed = self._closed, True
            self._lock.notify()
        self._socket.close()
        if not asked:
            self._on_end(self._why)

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._break("it sent something else than a message")
            return
        if not isinstance(message, dict):
            self._break("it sent something else than a message")
            return
        try:
            self._on_message(message)
        except Exception:
            # Whatever it is that a message of anybody's makes: the next one must be read.
            log.warning("a message from the sandbox was not understood", exc_info=True)


def accepted(
    listener: socket.socket, timeout: float, given_up: Callable[[], bool]
) -> socket.socket:
    """Wait for the sandbox to connect, and return the connection.

    Args:
        listener: the socket that it connects to.
        timeout: seconds.
        given_up: whether there is no more use in waiting.

    Raises:
        TimeoutError: it has not.
    """
    until = time.monotonic() + timeout
    while time.monotonic() < until and not given_up():
        if select.select([listener], [], [], 0.05)[0]:
            return listener.accept()[0]
    raise TimeoutError
