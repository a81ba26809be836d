"""The link: the socket between a kernel and its host, seen from the kernel.

One thread does everything that touches the socket: it reads, writes, drains the host's stderr,
wakes whoever asked to be woken, and notices the end. The rest of the kernel only puts messages into
its queue. So an interrupt can hit the main thread anywhere without tearing a line in two, a host
that does not read cannot block a cell, and a cell that never yields cannot stop an answer from
growing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .protocol import Message, ProtocolError, Start, decode, encode

log = logging.getLogger(__name__)

STDERR_KEPT = 8192
"""Bytes of the host's last stderr that are kept for the details of a failure."""
END_DEADLINE = 3.0
"""Seconds that a host has to leave after its link was closed; it needs 0.5 s for a CLI that does
not listen."""


class Link:
    """Starts a host and carries messages to and from it.

    Args:
        start: the first message for the host.
        on_message: called in the link's thread with each message that arrives.
        on_end: called in the link's thread, once, when the host is gone, with this link and the
            last of the host's stderr. Not called after :meth:`close`.
        on_wake: called in the link's thread after every message and whenever its time has come;
            returns the :func:`time.monotonic` time at which it wants to be called next, or None.
        python: the interpreter that runs the host, which may be another environment's.
        env: the host's environment.
        cwd: the host's working directory.
    """

    def __init__(
        self,
        start: Start,
        *,
        on_message: Callable[[Message], None],
        on_end: Callable[[Link, str], None],
        on_wake: Callable[[], float | None],
        python: str = sys.executable,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._on_wake = on_wake
        self._outgoing: deque[bytes] = deque([encode(start)])
        self._stderr = b""
        self._closing = False
        self.ready = False
        """Whether the host has said that it is; set by whoever reads its messages."""
        self._pid = os.getpid()
        # A line of its own wakes the thread: it must work from any thread and from a signal
        # handler.
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [python, "-P", "-m", "familiar_kernel.familiar", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=env,
                cwd=cwd,
                # A session of its own: an interrupt goes to the kernel's whole process group.
                start_new_session=True,
            )
        self._socket = ours
        ours.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="familiar-link", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as err:  # no more threads to be had
            self.process.kill()
            raise OSError(str(err)) from err

    @property
    def alive(self) -> bool:
        """Whether messages can still be sent (this says nothing about whether the host answers)."""
        return self._thread.is_alive() and not self._closing

    def send(self, message: Message) -> None:
        """Queue a message. Never blocks; what a dead host did not get is told by ``on_end``."""
        if os.getpid() != self._pid:
            raise RuntimeError(
                "the familiar belongs to the kernel's own process, not to one forked off it"
            )
        self._outgoing.append(encode(message))
        self.wake()

    def wake(self) -> None:
        """Have ``on_wake`` called soon."""
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_write, b"\0")

    def close(self) -> None:
        """End the link; the host ends with it. Returns at once; the thread sees to what is left."""
        self._closing = True
        self.wake()

    # -- the thread --

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                self._loop(selector)
        except Exception:
            log.exception("the familiar's link failed")
        finally:
            self._finish()

    def _loop(self, selector: selectors.BaseSelector) -> None:
        stderr = self.process.stderr
        assert stderr is not None
        os.set_blocking(stderr.fileno(), False)
        selector.register(self._wake_read, selectors.EVENT_READ)
        selector.register(stderr, selectors.EVENT_READ)
        selector.register(self._socket, selectors.EVENT_READ)
        watched = selectors.EVENT_READ
        incoming = bytearray()
        outgoing = memoryview(b"")
        while not self._closing:
            due = self._on_wake()
            if not outgoing and self._outgoing:
                outgoing = memoryview(self._outgoing.popleft())
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if outgoing else 0)
            if wanted != watched:
                selector.modify(self._socket, wanted)
                watched = wanted
            for key, mask in selector.select(
                None if due is None else max(0.0, due - time.monotonic())
            ):
                if key.fileobj is self._socket:
                    if mask & selectors.EVENT_WRITE:
                        outgoing = self._send_some(outgoing)
                    if mask & selectors.EVENT_READ and not self._receive(incoming):
                        return
                elif key.fileobj is stderr:
                    if not self._drain_stderr():
                        selector.unregister(stderr)
                else:
                    os.read(self._wake_read, 4096)

    def _send_some(self, outgoing: memoryview) -> memoryview:
        """Send what the socket takes, and return what is left."""
        try:
            return outgoing[self._socket.send(outgoing) :]
        except BlockingIOError:
            return outgoing
        except OSError:
            # The host is gone. What it still said is read, and the end of that ends the link.
            self._outgoing.clear()
            return memoryview(b"")

    def _receive(self, incoming: bytearray) -> bool:
        """Take in what has come; return False at the end of the link."""
        try:
            chunk = self._socket.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not chunk:
            return False
        start = len(incoming)
        incoming += chunk
        if incoming.find(b"\n", start) < 0:
            return True
        *lines, rest = bytes(incoming).split(b"\n")
        incoming[:] = rest
        for line in lines:
            try:
                message = decode(line)
            except ProtocolError:
                log.exception("dropped a line from the familiar's host")
                continue
            self._on_message(message)
        return True

    def _drain_stderr(self) -> bool:
        assert self.process.stderr is not None
        try:
            chunk: bytes | None = os.read(self.process.stderr.fileno(), 65536)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        self._stderr = (self._stderr + chunk)[-STDERR_KEPT:]
        log.debug("host: %s", chunk.decode("utf-8", "replace").rstrip())
        return True

    def _finish(self) -> None:
        asked = self._closing
        self._closing = True
        with contextlib.suppress(OSError):
            # Closing is not enough where a process that the user's code forked has the socket too.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        try:
            self.process.wait(END_DEADLINE)
        except subprocess.TimeoutExpired:
            log.warning("the familiar's host did not leave and is killed")
        # Also where the host is gone already: a host that was killed leaves its CLI in the same
        # process group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while self._drain_stderr() and self._more_stderr():
            pass
        assert self.process.stderr is not None
        self.process.stderr.close()
        if not asked:
            self._on_end(self, self._stderr.decode("utf-8", "replace"))

    def _more_stderr(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stderr, selectors.EVENT_READ)  # type: ignore[arg-type]
            return bool(selector.select(0))

    def __del__(self, _close: Callable[[int], Any] = os.close) -> None:
        for fd in (getattr(self, "_wake_read", -1), getattr(self, "_wake_write", -1)):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    _close(fd)
