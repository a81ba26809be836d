"""Real kernels for tests: start one, run cells in it, look at everything that it sent.

Every kernel gets a HOME of its own and the rehearsal, so that no test depends on, or touches, a
person's sign-in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

CELL_TIMEOUT = 90.0
"""Seconds that a cell may take: the first turn waits for a host and a CLI, and two cores may serve
many."""


@dataclass
class Ran:
    """What one cell brought.

    ``messages`` are all its iopub messages in order, each with the monotonic time of its arrival.
    """

    reply: dict[str, Any]
    messages: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.reply["content"]["status"])

    def of(self, *types: str) -> list[dict[str, Any]]:
        """The contents of the messages of these types."""
        return [m["content"] for _, m in self.messages if m["msg_type"] in types]

    @property
    def error(self) -> str:
        """What the cell's error shows, without colours; empty where there is none."""
        import re

        text = "\n".join(line for c in self.of("error") for line in c["traceback"])
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    @property
    def told(self) -> str:
        """What the cell's error shows, as one line, however it was wrapped."""
        return " ".join(self.error.split())

    def stream(self, name: str = "stdout") -> str:
        return "".join(c["text"] for c in self.of("stream") if c["name"] == name)

    def outputs(self) -> list[dict[str, Any]]:
        """The displays that stay in the notebook, as a front end keeps them: updated, cleared."""
        shown: list[dict[str, Any]] = []
        clearing = False
        for _, message in self.messages:
            content = message["content"]
            display = content.get("transient", {}).get("display_id")
            match message["msg_type"]:
                case "clear_output":
                    clearing = bool(content["wait"])
                    if not clearing:
                        shown.clear()
                case "update_display_data":
                    for number, there in enumerate(shown):
                        if there.get("transient", {}).get("display_id") == display:
                            shown[number] = content
                case "display_data" | "execute_result" | "stream" | "error":
                    if clearing:
                        shown.clear()
                    clearing = False
                    if message["msg_type"] in ("display_data", "execute_result"):
                        shown.append(content)
        return shown

    def text(self, mime: str = "text/plain") -> str:
        """The displays' text, in one mime type, one after another."""
        return "\n".join(c["data"].get(mime, "") for c in self.outputs())


class Kernel:
    """A running kernel and a client of it."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient, home: Path) -> None:
        self.manager = manager
        self.client = client
        self.home = home
        self._iopub: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        self._replies: dict[str, dict[str, Any]] = {}
        self._looked_at: dict[str, int] = {}
        self._debugs = 0

    @property
    def pid(self) -> int:
        pid = self.manager.provisioner.pid  # type: ignore[union-attr]
        assert isinstance(pid, int)
        return pid

    def execute(self, code: str, **kwargs: Any) -> str:
        """Send a cell and return its request's id at once; see :meth:`collect`."""
        return str(self.client.execute(code, **kwargs))

    def collect(self, request: str, timeout: float = CELL_TIMEOUT) -> Ran:
        """Wait until a cell that was sent is done, and return what it brought.

        Several cells may be under way: the messages of the others are kept for their own collect.
        """
        deadline = time.monotonic() + timeout
        self._looked_at.pop(request, None)
        self.until(request, _is_idle, timeout)
        while request not in self._replies:
            reply = self.client.get_shell_msg(timeout=_left(deadline))
            self._replies[str(reply["parent_header"].get("msg_id"))] = reply
        self._looked_at.pop(request, None)
        return Ran(self._replies.pop(request), self._iopub.pop(request))

    def run(self, code: str, timeout: float = CELL_TIMEOUT, **kwargs: Any) -> Ran:
        """Run a cell to its end."""
        return self.collect(self.execute(code, **kwargs), timeout)

    def until(
        self, request: str, seen: Callable[[dict[str, Any]], bool], timeout: float = CELL_TIMEOUT
    ) -> dict[str, Any]:
        """Return the cell's next iopub message for which ``seen(message)`` holds.

        What it passes over is not lost: :meth:`collect` returns all of a cell's messages.
        """
        deadline = time.monotonic() + timeout
        while True:
            messages = self._iopub.setdefault(request, [])
            at = self._looked_at.get(request, 0)
            if at < len(messages):
                self._looked_at[request] = at + 1
                if seen(messages[at][1]):
                    return messages[at][1]
                continue
            message = self.client.get_iopub_msg(timeout=_left(deadline))
            asked_by = str(message["parent_header"].get("msg_id"))
            self._iopub.setdefault(asked_by, []).append((time.monotonic(), message))

    def until_any(self, seen: Any, timeout: float = CELL_TIMEOUT) -> dict[str, Any]:
        """Return the first iopub message, of whatever request, for which ``seen(message)``
        holds."""
        deadline = time.monotonic() + timeout
        while True:
            message: dict[str, Any] = self.client.get_iopub_msg(
                timeout=max(0.1, deadline - time.monotonic())
            )
            if seen(message):
                return message

    def value(self, expression: str) -> Any:
        """Evaluate an expression of literals in the kernel and return its value."""
        import ast

        request = self.execute("", silent=True, user_expressions={"x": f"repr({expression})"})
        content = self.collect(request).reply["content"]["user_expressions"]["x"]
        assert content["status"] == "ok", content
        return ast.literal_eval(ast.literal_eval(content["data"]["text/plain"]))

    def family(self) -> list[psutil.Process]:
        """The kernel's process and all below it: host, CLI, and what they started."""
        kernel = psutil.Process(self.pid)
        return [kernel, *kernel.children(recursive=True)]

    def host(self) -> psutil.Process:
        """The familiar's host."""
        return next(p for p in self.family() if "familiar_kernel.familiar" in words(p))

    def cli(self) -> psutil.Process:
        """The Claude Code CLI."""
        return next(p for p in self.family() if Path(" ".join(words(p)[:1])).name == "claude")

    def interrupt(self) -> None:
        """Interrupt as a front end does, and return when the kernel has taken it."""
        self.request("interrupt_request", "control")

    def request(self, kind: str, channel: str = "shell", **content: Any) -> dict[str, Any]:
        """Send a request on a channel and return its reply's content."""
        message = self.client.session.msg(kind, content)
        requests = getattr(self.client, f"{channel}_channel")
        requests.send(message)
        while True:
            reply = requests.get_msg(timeout=CELL_TIMEOUT)
            answered = str(reply["parent_header"].get("msg_id"))
            if answered == message["header"]["msg_id"]:
                told: dict[str, Any] = reply["content"]
                return told
            if channel == "shell":  # a cell's, which its own collect returns
                self._replies[answered] = reply

    def debug(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request of the debug adapter protocol, as JupyterLab's debugger does."""
        self._debugs += 1
        reply = self.request(
            "debug_request",
            "control",
            type="request",
            seq=self._debugs,
            command=command,
            arguments=arguments,
        )
        assert reply["success"], reply
        return reply

    def attach_debugger(self, code: str, line: int) -> None:
        """Attach a debugger, with a breakpoint at a line of a cell that is to be run."""
        self.debug(
            "initialize",
            clientID="test",
            adapterID="",
            linesStartAt1=True,
            columnsStartAt1=True,
            pathFormat="path",
        )
        self.debug("attach")
        source = self.debug("dumpCell", code=code)["body"]["sourcePath"]
        points = [{"line": line}]
        self.debug(
            "setBreakpoints", source={"path": source}, breakpoints=points, sourceModified=False
        )
        self.debug("configurationDone")

    def until_stopped(self) -> int:
        """Wait until the debugger stops at a breakpoint; return the thread."""
        stopped = self.until_any(
            lambda m: m["msg_type"] == "debug_event" and m["content"]["event"] == "stopped"
        )
        return int(stopped["content"]["body"]["threadId"])


def _is_idle(message: dict[str, Any]) -> bool:
    content = message["content"]
    return message["msg_type"] == "status" and bool(content["execution_state"] == "idle")


def _left(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


@contextlib.contextmanager
def running_kernel(
    home: Path,
    *,
    script: Path | None = None,
    arguments: tuple[str, ...] = ("--rehearsal",),
    env: dict[str, str] | None = None,
    module: str = "familiar_kernel",
    folder: Path | None = None,
    **manager_traits: Any,
) -> Iterator[Kernel]:
    """Run a kernel for the time of a ``with`` block; it is ended whatever happens.

    Args:
        home: an empty directory; becomes HOME and the working directory.
        script: the rehearsal's script, by default the built-in one.
        arguments: of the kernel, after the connection file's.
        env: variables over this process's, without any that lead to a real account.
        module: ``ipykernel_launcher`` gives a plain kernel to compare with.
        folder: the working directory, by default the home.
        manager_traits: for the KernelManager, such as ``transport_encryption="required"``.
    """
    home.mkdir(parents=True, exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC_", "CLAUDE_"))}
    clean |= {"HOME": str(home), "IPYTHONDIR": str(home / ".ipython")}
    clean |= {
        "JUPYTER_DATA_DIR": str(home / "data"),
        "FAMILIAR_REHEARSAL_SCRIPT": str(script or ""),
    }
    spec = KernelSpec(
        argv=[sys.executable, "-m", module, "-f", "{connection_file}", *arguments],
        display_name="under test",
        language="python",
        interrupt_mode="message",
        metadata={"supported_encryption": ["curve"], "debugger": True},
    )
    manager, client = _started(spec, manager_traits, {**clean, **(env or {})}, folder or home)
    try:
        yield Kernel(manager, client, home)
    finally:
        _ended(manager, client)


def _started(
    spec: KernelSpec, traits: dict[str, Any], env: dict[str, str], folder: Path
) -> tuple[KernelManager, BlockingKernelClient]:
    """Start a kernel; again where it dies at once.

    A manager looks for free ports and lets them go before the kernel binds them: with two workers,
    another process has sometimes taken one by then.
    """
    for attempts_left in (2, 1, 0):
        manager = KernelManager(**traits)
        manager._kernel_spec = spec
        manager.start_kernel(env=env, cwd=str(folder))
        client = manager.client()
        client.start_channels()
        deadline = time.monotonic() + 60
        while True:
            try:
                client.wait_for_ready(timeout=5)
            except RuntimeError:
                died = not manager.is_alive()
                if died or time.monotonic() > deadline:
                    _ended(manager, client)
                    if died and attempts_left:
                        break
                    raise
            except BaseException:
                _ended(manager, client)
                raise
            else:
                return manager, client
    raise AssertionError("not reached")


def _ended(manager: KernelManager, client: BlockingKernelClient) -> None:
    client.stop_channels()
    if manager.is_alive():
        manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


def words(process: psutil.Process) -> list[str]:
    """The command line of a process; empty where it has ended."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def gone(processes: list[psutil.Process], within: float) -> list[psutil.Process]:
    """Wait up to ``within`` seconds for processes to end; return those that have not."""
    deadline = time.monotonic() + within
    while (left := [p for p in processes if _lives(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process: psutil.Process) -> None:
    process.send_signal(signal.SIGKILL)
