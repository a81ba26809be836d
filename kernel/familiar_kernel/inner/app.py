"""The application in a sandbox: ipykernel's, whose sockets connect to the outer kernel's.

The outer kernel binds them in a folder that the sandbox sees read-only: so nothing can be put
there. There is no connection file and no heartbeat: the outer kernel sees the bridge end.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, BinaryIO

import zmq
from ipykernel.kernelapp import IPKernelApp

from .bridge import Bridge
from .kernel import InnerKernel
from .streams import BoundedStream

if TYPE_CHECKING:
    from .bridge import Message

WAITING = 64
"""Outputs that wait for the outer kernel."""
SOCKETS = ("shell", "stdin", "control", "iopub")
"""In the order in which ipykernel binds them."""


class InnerApp(IPKernelApp):
    """Runs the inner kernel.

    ``start_message`` is what the outer kernel said: the folder of the ``sockets``, the ``key`` that
    signs messages, and what the kernel is told.
    """

    start_message: Message
    bridge: Bridge

    def init_connection_file(self) -> None:
        """Have none."""
        self.connection_file = "none"
        self._bound = iter(SOCKETS)

    def write_connection_file(self, **kwargs: Any) -> None:
        """Have none."""

    def log_connection_info(self) -> None:
        """Nobody else can connect."""
        self._ports = dict.fromkeys(("shell", "iopub", "stdin", "hb", "control"), 0)

    def _bind_socket(self, s: Any, port: int) -> int:
        name = next(self._bound)
        if name == "iopub":
            # Wait for the outer kernel, which waits for its clients, and drop nothing.
            s.setsockopt(zmq.XPUB_NODROP, 1)
            s.sndhwm = WAITING
        s.connect(f"ipc://{self.start_message['sockets']}/{name}")
        if name == "shell":
            # ipykernel's debugger connects to the last endpoint; the other is outside.
            s.bind("inproc://familiar-shell")
        return 0

    def init_heartbeat(self) -> None:
        """Have none."""

    def init_kernel(self) -> None:
        """Make the kernel, and lead its prompts to the outer one."""
        super().init_kernel()
        self.kernel.connect(self.bridge, self.start_message)


def run(connection: socket.socket, lines: BinaryIO, start: Message) -> None:
    """Run the inner kernel until the sandbox ends.

    Args:
        connection: the bridge's socket.
        lines: reads it, behind the start message.
        start: the start message.
    """
    app = InnerApp.instance(kernel_class=InnerKernel)
    app.start_message = start
    app.bridge = Bridge(connection, lines)
    app.outstream_class = f"{BoundedStream.__module__}.{BoundedStream.__name__}"
    app.config.Session.key = start["key"].encode()
    # The history of a sandbox ends with it; on disk it would fail where the disk is full.
    app.config.HistoryManager.hist_file = ":memory:"
    if start["workspace"]:
        os.chdir(start["workspace"])
    app.initialize([])
    app.bridge.open(app.kernel.take)
    app.bridge.send({"type": "ready", "pid": os.getpid()})
    app.start()
