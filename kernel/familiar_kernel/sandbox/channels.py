"""The sockets to one inner kernel, each on the thread that owns the client's side of it.

They are bound here, and the inner kernel connects: so it needs no folder that it may write in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import zmq
from tornado.ioloop import IOLoop
from zmq.eventloop.zmqstream import ZMQStream

Frames = list[bytes]

IDENTITY = b"outer"
"""One for all channels: the inner kernel sends its question on stdin to who sent the cell."""
WAITING = 64
"""Outputs that wait here to be passed on; more wait in the sandbox, whose memory is counted."""
MAX_MESSAGE = 64 << 20
"""Bytes of one part of a message; the inner kernel leaves out a larger output, and says so."""
TYPES = {"shell": zmq.DEALER, "control": zmq.DEALER, "stdin": zmq.DEALER, "iopub": zmq.SUB}


def is_of_this_thread(loop: IOLoop) -> bool:
    """Whether a loop of ipykernel's threads is the one that runs here."""
    return loop is getattr(threading.current_thread(), "io_loop", None)


class Channels:
    """The four sockets.

    Args:
        folder: where they are bound.
        loops: the loop of each, by the channel's name.
        on_recv: called on that loop, by the channel's name.
    """

    def __init__(
        self,
        folder: Path,
        loops: Mapping[str, IOLoop],
        on_recv: Mapping[str, Callable[[Frames], None]],
    ) -> None:
        self._loops = loops
        self._streams: dict[str, ZMQStream] = {}
        self._closed = False
        self._sockets: dict[str, Any] = {}
        # A context of its own: the kernel's waits at its end until every socket is closed.
        context = zmq.Context()
        for name, kind in TYPES.items():
            made: Any = context.socket(kind)
            made.linger = 0
            # Whoever sends more is disconnected before it is read.
            made.maxmsgsize = MAX_MESSAGE
            if kind == zmq.SUB:
                made.subscribe(b"")
                made.rcvhwm = WAITING
            else:
                made.setsockopt(zmq.IDENTITY, IDENTITY)
                made.sndhwm = 0
            made.bind(f"ipc://{folder / name}")
            self._sockets[name] = made
        for name in TYPES:
            loops[name].add_callback(self._open, name, on_recv[name])

    def _open(self, name: str, on_recv: Callable[[Frames], None]) -> None:
        if self._closed:
            self._sockets[name].close()
            return
        stream = ZMQStream(self._sockets[name], self._loops[name])
        stream.on_recv(on_recv)
        self._streams[name] = stream

    def send(self, name: str, frames: Frames) -> None:
        """Send, from any thread; what nobody takes is dropped at the close."""
        loop = self._loops[name]
        if is_of_this_thread(loop):
            self._send(name, frames)
        else:
            loop.add_callback(self._send, name, frames)

    def _send(self, name: str, frames: Frames) -> None:
        stream = self._streams.get(name)
        if stream is not None and not self._closed:
            stream.send_multipart(frames)

    def close(self) -> None:
        """Close them, each on its loop."""
        self._closed = True
        for name in TYPES:
            self._loops[name].add_callback(self._close, name)

    def _close(self, name: str) -> None:
        stream = self._streams.pop(name, None)
        if stream is not None:
            stream.close()
