"""One sandbox: started, watched, ended, and never left behind.

The container runs in the background, so no process of the runtime stays for it. What shows that it
lives is the bridge: the socket ends with the process that holds it, whatever ended that. Who
removes it is the reaper, a process of its own, so that it happens also when this one is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import reaper, seccomp
from .bridge import Bridge, Message, accepted
from .faults import Case, SandboxFault, why_it_cannot_start
from .labels import folder_prefix
from .runtime import Runtime, environment
from .spec import ETC, SOCKETS, Spec, run_arguments

START_TIMEOUT = 60.0
"""Seconds that a container has from its start to its first word."""
END_TIMEOUT = 10.0
"""Seconds that is waited for its removal at the end; the reaper goes on by itself."""
STATE_TIMEOUT = 0.6
"""Seconds that a runtime may take to note that a container has ended; its user waits for them."""
BRIDGE = "bridge"
_MEMORY_FILES = (
    "/sys/fs/cgroup/memory.current",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
"""Of a control group of version 2, and of version 1: of each, what is used and what may be."""
_UNLIMITED = 1 << 60


class Sandbox:
    """One container and the bridge to it.

    It may be started before anybody can serve it; see :meth:`serve`.

    Args:
        runtime: runs it.
        spec: returns what it is like, given how its name ends, the folder of the sockets and the
            file of the profile of system calls.
        program: what runs in it, given the path of the bridge's socket there.
        first: what it is told as soon as it has connected, before anybody serves it.
    """

    def __init__(
        self,
        runtime: Runtime,
        spec: Callable[[str, str, str], Spec],
        program: Callable[[str], Sequence[str]],
        first: Message,
    ) -> None:
        self._unique = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._runtime = runtime
        # Nobody else on this machine gets into the outer folder; the inner one is what the
        # sandbox sees, whose user is somebody else where root runs the runtime.
        self._folder = Path(tempfile.mkdtemp(prefix=folder_prefix(os.getpid()), dir=short_folder()))
        self.sockets = self._folder / "s"
        self.sockets.mkdir(mode=0o755)
        self.sockets.chmod(0o755)  # whatever the umask
        profile = self._folder / "seccomp.json"
        profile.write_text(json.dumps(seccomp.profile()))
        for name, text in ETC.items():
            (self._folder / name).write_text(text)
            (self._folder / name).chmod(0o644)
        made = spec(self._unique, str(self.sockets), str(profile))
        self.spec = replace(made, etc=str(self._folder))
        self.name = made.name
        self._first = json.dumps(first).encode() + b"\n"
        self._program = program(f"{SOCKETS}/{BRIDGE}")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.sockets / BRIDGE))
        self._listener.listen(1)
        self.open_to_sandbox(BRIDGE)
        self._lock = threading.Lock()
        self._bridge: Bridge | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._served = threading.Event()
        self._start_message: Message = {}
        self._on_message: Callable[[Message], None] = _nobody
        self._on_end: Callable[[str], None] = _nobody
        self._closed = False
        self.since = time.monotonic()

    def serve(
        self, start: Message, on_message: Callable[[Message], None], on_end: Callable[[str], None]
    ) -> None:
        """Say who serves it.

        Args:
            start: the next message to it.
            on_message: called in the bridge's thread with each message from it.
            on_end: called once, in a thread of its own, when it has ended or could not start, with
                why, a sentence for people; not after :meth:`close`.
        """
        self._start_message, self._on_message, self._on_end = start, on_message, on_end
        self._served.set()

    def runs_on(self, executable: str) -> bool:
        """Whether this program runs it."""
        return self._runtime.executable == executable

    def is_like(self, spec: Callable[[str, str, str], Spec]) -> bool:
        """Whether it is what somebody else wants, too."""
        wanted = spec(self._unique, self.spec.sockets, self.spec.seccomp)
        return self.spec == replace(wanted, etc=self.spec.etc)

    def open_to_sandbox(self, name: str) -> None:
        """Let the sandbox's user connect to a socket in the folder."""
        (self.sockets / name).chmod(0o666)

    def start(self) -> None:
        """Start it, in a thread; what comes of it is told by a message or by ``on_end``."""
        threading.Thread(target=self._start, name="sandbox-start", daemon=True).start()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def end(self, why: str) -> None:
        """End it, and tell so, as if it had ended by itself."""
        self._ended(why)

    def memory(self) -> tuple[int, bool] | None:
        """Return how many bytes of memory it uses, and whether that is limited; None where the
        runtime does not tell."""
        try:
            done = self._runtime.ask("exec", self.name, "cat", *_MEMORY_FILES, timeout=5.0)
        except SandboxFault:
            return None
        told = done.stdout.split()
        if len(told) < 2 or not told[0].isdigit():
            return None
        return int(told[0]), told[1].isdigit() and int(told[1]) < _UNLIMITED

    def send(self, message: Message) -> None:
        """Send a message to what runs in it; lost where nothing does."""
        if self._bridge is not None:
            self._bridge.send(message)

    def close(self, wait: bool = True) -> None:
        """End it.

        Args:
            wait: whether to return only when it is removed, or after :data:`END_TIMEOUT`.
        """
        with self._lock:
            self._closed = True
            bridge, process = self._bridge, self._reaper
        self._served.set()
        if bridge is not None:
            bridge.close()
        if process is None:
            self._remove_folder()
            return
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        if wait:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_TIMEOUT)

    # -- starting --

    def _start(self) -> None:
        try:
            self._runtime.located()
            with self._lock:
                if self._closed:
                    return
                begun = self._runtime.begin(
                    *run_arguments(
                        self.spec, self._program, self._runtime.kind, self._runtime.rootless
                    )
                )
                self._reaper = self._start_reaper()
            connection = self._connected(begun)
            connection.settimeout(START_TIMEOUT)
            connection.sendall(self._first)
            connection.settimeout(None)
            self._served.wait()
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._bridge = Bridge(connection, self._on_message, self._ended)
            self._bridge.send(self._start_message)
            self._bridge.open()
            self._runtime.ended(begun, START_TIMEOUT)
        except (SandboxFault, OSError) as err:
            self._tell(str(err))
        finally:
            self._listener.close()

    def _connected(self, begun: subprocess.Popen[str]) -> socket.socket:
        """Wait for the container to connect, which it does while the runtime still starts it."""

        def given_up() -> bool:
            return self._closed or begun.poll() not in (None, 0)

        try:
            return accepted(self._listener, START_TIMEOUT, given_up)
        except TimeoutError:
            done = self._runtime.ended(begun, START_TIMEOUT)
            if done.returncode != 0:
                raise SandboxFault(why_it_cannot_start(done.stderr, self._case)) from None
            raise SandboxFault(
                f"The image {self.spec.image} starts, but its Python does not reach the kernel "
                f"({self._how_it_ended() or 'it says nothing'}); `{self._case.doctor}` looks "
                "further."
            ) from None

    @property
    def _case(self) -> Case:
        return Case(self._runtime.executable, self.spec.image, rootless=self._runtime.rootless)

    def _start_reaper(self) -> subprocess.Popen[bytes]:
        now = () if self._runtime.kind == "docker" else ("--time=0",)
        job = {
            "remove": [self._runtime.executable, "rm", "--force", *now, self.name],
            "folder": str(self._folder),
        }
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment(self._runtime.kind, os.environ),
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        return process

    # -- its end --

    def _ended(self, why: str) -> None:
        threading.Thread(
            target=lambda: self._tell(why or self._how_it_ended() or "it has ended"),
            name="sandbox-end",
            daemon=True,
        ).start()

    def _tell(self, why: str) -> None:
        self._served.wait()
        with self._lock:
            told, self._closed = self._closed, True
        if not told:
            self._on_end(why)
            self.close(wait=False)

    def _how_it_ended(self) -> str:
        """Return how the container ended, in words that follow "The sandbox has ended:"."""
        until = time.monotonic() + STATE_TIMEOUT
        while True:
            try:
                done = self._runtime.ask("container", "inspect", self.name, timeout=5.0)
                state = json.loads(done.stdout or "[]")[0]["State"]
            except (SandboxFault, ValueError, LookupError):
                return "its container was removed"
            # The bridge's end is seen before the runtime has noted why.
            if not state.get("Running") or time.monotonic() > until:
                return how_it_ended(state, self.spec)
            time.sleep(0.02)

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _nobody(_: object) -> None:
    """Serve it: nobody does yet."""


def how_it_ended(state: dict[str, Any], spec: Spec) -> str:
    """Return how a container ended, given its state as ``inspect`` has it. Pure."""
    code = state.get("ExitCode", 0)
    if state.get("OOMKilled"):
        return f"it needed more than its {spec.memory} of memory (Sandbox.memory sets it)"
    if state.get("Running"):
        return "its kernel has ended"
    if code == 139 or code == 128 + 11:
        return "its Python crashed (a segmentation fault)"
    if code == 134:
        return "its Python crashed (it aborted)"
    if code in (137, 143):
        # A control group of version 1 does not tell the two apart.
        return (
            f"it was killed: it needed more than its {spec.memory} of memory (Sandbox.memory sets"
            " it), or somebody ended it"
        )
    return f"its Python ended with status {code}"


def short_folder() -> str:
    """Return a folder whose path is short enough for the sockets: they may have 107 bytes."""
    for folder in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):
        if folder and len(os.fsencode(folder)) < 60 and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return "/tmp"
