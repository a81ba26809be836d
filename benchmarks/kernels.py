"""Real kernels, and a client that adds as little as possible to what it measures.

The client holds the bare ZeroMQ sockets: it notes the time at which a message's last frame has
arrived, and how many bytes all its frames have, before it unpacks anything.
"""

from __future__ import annotations

import ast
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from .bench import Bench

OURS = "familiar_kernel"
PLAIN = "ipykernel_launcher"
"""The modules that run a kernel; ``PLAIN`` is the peer."""
TIMEOUT = 120.0
"""Seconds after which a kernel that does not answer has failed."""
RECONNECT_MS = 2
"""Milliseconds between two tries to reach a kernel that is not there yet; ZeroMQ's own 100 would be
measured."""
PROCESSOR_TIME = "__import__('time').process_time()"
"""An expression for the processor time that a kernel has used, in seconds."""
READY = """\
import asyncio
while get_ipython().kernel.familiar.state != "ready":
    await asyncio.sleep(0.005)
"""
"""A cell that ends when the familiar can be asked."""


@dataclass(frozen=True)
class Arrival:
    """A message from the kernel.

    Attributes:
        channel: ``shell`` or ``iopub``.
        at: the time of its arrival, in seconds of :func:`time.perf_counter`.
        size: bytes of all its frames.
        message: what it says.
    """

    channel: str
    at: float
    size: int
    message: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.message["header"]["msg_type"])

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = self.message["content"]
        return content

    @property
    def is_idle(self) -> bool:
        return self.type == "status" and self.content["execution_state"] == "idle"

    @property
    def markdown(self) -> str:
        """What it shows as Markdown; empty where it shows none."""
        if self.type not in ("display_data", "update_display_data"):
            return ""
        return str(self.content["data"].get("text/markdown", ""))


@dataclass(frozen=True)
class Cell:
    """A cell that has run: when it was sent, all that came back, in order."""

    sent: float
    arrivals: list[Arrival]

    @property
    def reply(self) -> dict[str, Any]:
        return next(a.content for a in self.arrivals if a.channel == "shell")

    @property
    def seconds(self) -> float:
        """From sending to the last of the reply and the idle status."""
        return self.arrivals[-1].at - self.sent

    def until_shown(self, words: str) -> float:
        """Return the seconds from sending to the first display that holds these words."""
        return next(a.at for a in self.arrivals if words in a.markdown) - self.sent


class Kernel:
    """A running kernel with its client's sockets."""

    def __init__(self, manager: KernelManager, started: float) -> None:
        self.manager = manager
        self.started = started
        """When its process was asked for, in seconds of :func:`time.perf_counter`."""
        self._shell = manager.connect_shell()
        self._iopub = manager.connect_iopub()
        self._poller = zmq.Poller()
        # In this order, so that of two messages that are there the output comes before the reply.
        self._poller.register(self._iopub, zmq.POLLIN)
        self._poller.register(self._shell, zmq.POLLIN)

    @property
    def process(self) -> psutil.Process:
        """The kernel's own process."""
        pid = self.manager.provisioner.pid  # type: ignore[union-attr]
        assert isinstance(pid, int)
        return psutil.Process(pid)

    def send(self, kind: str, content: dict[str, Any]) -> tuple[str, float]:
        """Send a request on the shell channel; return its id and when that began."""
        at = time.perf_counter()
        message = self.manager.session.send(self._shell, kind, content)
        return str(message["header"]["msg_id"]), at

    def execute(self, code: str, **more: Any) -> tuple[str, float]:
        """Send a cell; return its request's id and when that began."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        return self.send("execute_request", content | more)

    def arrivals(self, request: str, timeout: float = TIMEOUT) -> Iterator[Arrival]:
        """Yield what a request brings, as it arrives.

        Raises:
            TimeoutError: nothing came for ``timeout`` seconds.
        """
        session = self.manager.session
        while True:
            ready = self._poller.poll(round(timeout * 1000))
            if not ready:
                raise TimeoutError(f"the kernel was silent for {timeout:.0f} s")
            for socket, _ in ready:
                frames = socket.recv_multipart()
                at = time.perf_counter()
                _, parts = session.feed_identities(frames)
                message = session.deserialize(parts)
                if message["parent_header"].get("msg_id") == request:
                    channel = "shell" if socket is self._shell else "iopub"
                    yield Arrival(channel, at, sum(map(len, frames)), message)

    def collect(self, request: str, sent: float) -> Cell:
        """Wait for the end of a cell that was sent: its reply and the idle status."""
        arrived: list[Arrival] = []
        replied = idle = False
        for arrival in self.arrivals(request):
            arrived.append(arrival)
            replied = replied or arrival.channel == "shell"
            idle = idle or (arrival.channel == "iopub" and arrival.is_idle)
            if replied and idle:
                break
        return Cell(sent, arrived)

    def run(self, code: str, **more: Any) -> Cell:
        """Run a cell to its end.

        Raises:
            RuntimeError: it failed; a figure of a cell that failed would mean nothing.
        """
        cell = self.collect(*self.execute(code, **more))
        if cell.reply["status"] != "ok":
            raise RuntimeError(f"{code[:60]!r}: {cell.reply}")
        return cell

    def processor_seconds(self) -> float:
        """Return the processor time that the kernel's process has used, all threads together."""
        cell = self.run("", silent=True, user_expressions={"used": PROCESSOR_TIME})
        return float(evaluated(cell.reply, "used"))

    def wait_for_reply(self, request: str) -> tuple[float, dict[str, Any]]:
        """Wait for a request's reply alone; return when it came and what it says."""
        return next((a.at, a.content) for a in self.arrivals(request) if a.channel == "shell")

    def replied(self, request: str) -> bool:
        """Whether a request's reply is there; reads nothing but the shell channel."""
        session = self.manager.session
        while self._shell.poll(10):
            _, parts = session.feed_identities(self._shell.recv_multipart())
            if session.deserialize(parts)["parent_header"].get("msg_id") == request:
                return True
        return False

    def close_sockets(self) -> None:
        self._shell.close(0)
        self._iopub.close(0)


def evaluated(reply: dict[str, Any], name: str) -> Any:
    """Return the literal that one of a cell's user expressions came to.

    Raises:
        RuntimeError: it came to an error.
    """
    value = reply["user_expressions"][name]
    if value["status"] != "ok":
        raise RuntimeError(f"{name}: {value}")
    return ast.literal_eval(value["data"]["text/plain"])


@contextlib.contextmanager
def starting(bench: Bench, module: str, *arguments: str) -> Iterator[Kernel]:
    """Start a kernel, which may not answer yet, for the time of a ``with`` block.

    At the end it is gone, and so is every process that it started: the next thing to be measured
    has the machine to itself.

    Args:
        bench: gives it a home, one for all kernels of a module.
        module: ``OURS`` or ``PLAIN``.
        arguments: more of the kernel's command line.
    """
    context: zmq.Context[Any] = zmq.Context()
    context.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    manager = KernelManager(context=context)
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", module, "-f", "{connection_file}", *arguments],
        display_name=module,
        language="python",
        interrupt_mode="message",
        metadata={"supported_encryption": ["curve"], "debugger": True},
    )
    env = bench.environment(module)
    log = bench.folder / f"{module}.log"
    with log.open("ab") as output:
        started = time.perf_counter()
        manager.start_kernel(env=env, cwd=env["HOME"], stdout=output, stderr=output)
    kernel = Kernel(manager, started)
    try:
        yield kernel
    except Exception:
        print(f"{module} logged:\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
        raise
    finally:
        family = family_of(kernel.process) if manager.is_alive() else []
        kernel.close_sockets()
        if manager.is_alive():
            manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        context.destroy(0)
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            process.kill()


@contextlib.contextmanager
def running(bench: Bench, module: str, *arguments: str, ready: str = READY) -> Iterator[Kernel]:
    """Start a kernel, as :func:`starting` does, and wait until it and its familiar are ready;
    ``ready`` is a cell that ends then."""
    with starting(bench, module, *arguments) as kernel:
        kernel.wait_for_reply(kernel.send("kernel_info_request", {})[0])
        settle(kernel)
        if module == OURS:
            kernel.run(ready)
        yield kernel


def settle(kernel: Kernel) -> None:
    """Run cells until one is heard on iopub, to which a subscription takes a moment."""
    deadline = time.perf_counter() + TIMEOUT
    while time.perf_counter() < deadline:
        request, _ = kernel.execute("None", silent=True)
        kernel.wait_for_reply(request)
        with contextlib.suppress(TimeoutError):
            if any(arrival.is_idle for arrival in kernel.arrivals(request, timeout=0.05)):
                return
    raise TimeoutError("the kernel's output could not be heard")


def family_of(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []
