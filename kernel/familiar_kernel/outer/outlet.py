"""How outputs leave the outer kernel: at the pace of those who read them.

ZMQ drops what a client does not read in time, and with many small pieces of a large output that
happens soon: text would be missing, and the word that the cell is done. So the outer kernel waits
for its clients, and the sandbox waits for it. A client that has stopped for good must not stop the
others: after a while nobody waits for it any more, and it loses what it does not read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq
from ipykernel.iostream import IOPubThread

PATIENCE = 30.0
"""Seconds for which a client that does not read is waited for."""
PAUSE = 60.0
"""Seconds in which nobody is waited for after that."""
SHORT = 0.05
"""Seconds for which it is waited for when it has been given up once."""


class Outlet:
    """Paces the outputs of one kernel.

    Args:
        thread: ipykernel's thread that sends them.
    """

    def __init__(self, thread: IOPubThread) -> None:
        self._thread = thread
        self._send = thread._really_send
        self._queue = thread.schedule
        self._given_up = 0.0
        self._at_once = False
        more: Any = thread
        more._really_send = self._paced
        more.schedule = self._schedule
        thread.schedule(lambda: self._wait_for(PATIENCE))

    @contextmanager
    def passing_on(self) -> Iterator[None]:
        """Have what is sent inside go out at once, behind what others asked for before.

        To be used in that thread. Through its queue, which has a bound, it would wait for itself.
        """
        events = self._thread._events
        while events:
            events.popleft()()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _schedule(self, task: Callable[[], Any]) -> None:
        if self._at_once and threading.current_thread() is self._thread.thread:
            task()
        else:
            self._queue(task)

    def _wait_for(self, seconds: float) -> None:
        socket = self._thread.socket
        socket.setsockopt(zmq.XPUB_NODROP, 1)
        socket.setsockopt(zmq.SNDTIMEO, int(1000 * seconds))

    def _paced(self, message: Any, *arguments: Any, **more: Any) -> None:
        """Send a message. Called in that thread."""
        if self._given_up and time.monotonic() > self._given_up + PAUSE:
            self._given_up = 0.0
            self._wait_for(SHORT)
        try:
            self._send(message, *arguments, **more)
        except zmq.Again:
            self._given_up = time.monotonic()
            self._thread.socket.setsockopt(zmq.XPUB_NODROP, 0)
            self._send(message, *arguments, **more)
