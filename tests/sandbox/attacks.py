"""What the attacks on a sandbox share: kernels of root and of an ordinary user, and a container
that lacks one protection.

An attack is code that prints what it got. It runs twice: in a container that is started as the
sandbox is, but for the one flag that is to hold it back, and in a cell. The first shows that the
attack is one.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from familiar_kernel.sandbox import seccomp
from familiar_kernel.sandbox.spec import Spec, run_arguments
from kernels import Kernel
from sandbox.podman import IMAGE, Podman

START_TIMEOUT = 60.0
KEY = "sk-ant-a-secret-of-the-host"
"""A secret of the person's, which no attack is to see."""


@contextmanager
def place_of(podman: Podman) -> Iterator[Path]:
    """Give a folder to the user whose podman this is. Tests' own folders are root's alone."""
    place = Path(tempfile.mkdtemp(prefix="attacked-", dir="/tmp"))
    if podman.user:
        owner = pwd.getpwnam(podman.user)
        os.chown(place, owner.pw_uid, owner.pw_gid)
    try:
        yield place
    finally:
        # The CLI of a kernel that has just ended may still be writing into its home.
        until(lambda: _removed(place), 5)


def _removed(place: Path) -> bool:
    shutil.rmtree(place, ignore_errors=True)
    return not place.exists()


def own(podman: Podman, path: Path) -> Path:
    """Give a file or folder to the user whose podman this is."""
    if podman.user:
        owner = pwd.getpwnam(podman.user)
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


def made(podman: Podman, path: Path) -> Path:
    """Make a folder for that user, where it is not there."""
    if not path.exists():
        path.mkdir()
        path.chmod(0o755)
        own(podman, path)
    return path


@contextmanager
def listening(kind: int, address: object, family: int = socket.AF_INET) -> Iterator[object]:
    """Answer whoever says something, on the host."""

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if kind == socket.SOCK_DGRAM:
                self.request[1].sendto(b"reached", self.client_address)
            else:
                self.request.recv(99)
                self.request.sendall(b"reached")

    base = socketserver.UDPServer if kind == socket.SOCK_DGRAM else socketserver.TCPServer
    server_class = type("Server", (base,), {"address_family": family})
    if family == socket.AF_UNIX:
        server_class = type("Server", (socketserver.UnixStreamServer,), {})
    with server_class(address, Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()


@contextmanager
def sandboxed(
    podman: Podman,
    place: Path,
    *,
    script: Path | None = None,
    env: dict[str, str] | None = None,
    arguments: Sequence[str] = ("--rehearsal",),
    folder: Path | None = None,
    home: Path | None = None,
    **settings: object,
) -> Iterator[Kernel]:
    """Run a sandboxed kernel as the user whose podman this is.

    Args:
        podman: whose kernel it becomes.
        place: a folder of that user's: the home and the notebook's folder are in it.
        script: the rehearsal's script, by default the built-in one.
        env: further variables.
        arguments: of the kernel.
        folder: the notebook's folder, instead.
        home: the home, instead.
        settings: of the sandbox.
    """
    home = home or made(podman, place / "home")
    folder = folder or made(podman, place / "work")
    if script is not None:
        script = own(podman, Path(shutil.copy(script, place / "script.yaml")))
    chosen = {"image": IMAGE, **settings}
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "USER": podman.user or "root",
        "DISABLE_TELEMETRY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "FAMILIAR_REHEARSAL_SCRIPT": str(script or ""),
        **podman.variables,
        **{f"FAMILIAR_SANDBOX_{name.upper()}": str(value) for name, value in chosen.items()},
        **(env or {}),
    }
    python = [*podman.python(), "-m", "familiar_kernel", "-f", "{connection_file}"]
    connection = place / f"{uuid4().hex[:8]}.json"
    manager = KernelManager(
        connection_file=str(connection), transport="ipc", ip=str(connection.with_suffix(""))
    )
    manager._kernel_spec = KernelSpec(
        argv=[*python, *arguments, "--sandboxed"],
        display_name="under attack",
        language="python",
        interrupt_mode="message",
    )
    manager.write_connection_file()
    as_user: dict[str, Any] = {}
    if podman.user:
        owner = pwd.getpwnam(podman.user)
        os.chown(connection, owner.pw_uid, owner.pw_gid)
        as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    manager.start_kernel(env=environment, cwd=str(folder), **as_user)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=START_TIMEOUT)
        yield Kernel(manager, client, home)
    finally:
        client.stop_channels()
        if manager.is_alive():
            manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


class Shared:
    """One kernel for many attacks; one that an attack has broken is replaced."""

    def __init__(self, start: Callable[[], AbstractContextManager[Kernel]]) -> None:
        self._start = start
        self._stack = ExitStack()
        self._kernel: Kernel | None = None

    def get(self) -> Kernel:
        """Return the kernel, or another one."""
        if self._kernel is None or not self._serves(self._kernel):
            self.close()
            self._kernel = self._stack.enter_context(self._start())
        return self._kernel

    def close(self) -> None:
        """End it."""
        self._kernel = None
        self._stack.close()

    @staticmethod
    def _serves(kernel: Kernel) -> bool:
        try:
            return kernel.run("pass", silent=True, timeout=10).status == "ok"
        except Exception:  # a client that can read nothing any more raises all kinds
            return False


def container_of(podman: Podman, kernel: Kernel, within: float = 10.0) -> str:
    """Return the id of a kernel's container, which runs."""
    deadline = time.monotonic() + within
    while True:
        found = containers_of(podman, kernel.pid, "--filter=status=running")
        if found or time.monotonic() > deadline:
            assert len(found) == 1, found
            return found[0]
        time.sleep(0.1)


def containers_of(podman: Podman, pid: int, *options: str) -> list[str]:
    """Return the ids of all containers of a kernel, given its process."""
    label = f"--filter=label=org.familiar-kernel.owner={pid}"
    return podman.run("ps", "--all", "--quiet", "--no-trunc", label, *options).stdout.split()


def folders_of(pid: int) -> list[Path]:
    """Return the folders of sockets of a kernel, given its process."""
    return list(Path("/tmp").glob(f"familiar-{pid}-*"))


def until(holds: Callable[[], Any], within: float) -> bool:
    """Wait until something holds; return whether it does."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def unprotected(
    podman: Podman,
    place: Path,
    code: str,
    drop: str | Sequence[str],
    *instead: str,
    **settings: Any,
) -> str:
    """Return what code prints in a container like the sandbox's, but for some of its flags.

    Args:
        podman: runs it.
        place: a folder of its user's.
        code: Python.
        drop: how the arguments begin that are left out.
        instead: arguments in their place.
        settings: of the specification.
    """
    sockets = made(podman, place / "sockets")
    profile = place / "seccomp.json"
    if not profile.exists():
        profile.write_text(json.dumps(seccomp.profile()))
    name = f"attacked-{uuid4().hex[:8]}"
    spec = Spec(image=IMAGE, name=name, sockets=str(sockets), seccomp=str(profile))
    spec = replace(spec, **{"workspace": str(made(podman, place / "work")), **settings})
    dropped = (drop,) if isinstance(drop, str) else tuple(drop)
    rootless = bool(podman.user) or os.geteuid() != 0
    all_of_them = run_arguments(spec, (), "podman", rootless)
    arguments = [a for a in all_of_them if not a.startswith((*dropped, "--detach"))]
    assert len(all_of_them) - len(arguments) > len(dropped), "a flag that is dropped is not there"
    image = arguments.index(IMAGE)
    command = [*arguments[:image], "--rm", *instead, IMAGE, "python3", "-c", code]
    try:
        return podman.run(*command, timeout=60).stdout.strip()
    finally:
        with suppress(AssertionError):
            podman.run("rm", "--force", "--time=0", "--ignore", name)


def cell(kernel: Kernel, code: str, timeout: float = 60.0) -> str:
    """Return what code prints in a cell."""
    ran = kernel.run(code, timeout=timeout)
    assert ran.status == "ok", ran.error
    return ran.stream().strip()


def memory_of(kernel: Kernel) -> int:
    """Return how much memory the outer kernel itself has, in bytes."""
    return int(psutil.Process(kernel.pid).memory_info().rss)


def limits_hold(podman: Podman) -> bool:
    """Return whether this podman can limit memory, processors and processes: on cgroups v1 an
    ordinary user's cannot, nor on v2 where they are not handed to them."""
    host = json.loads(podman.run("info", "--format", "json").stdout)["host"]
    able = {"memory", "pids", "cpu"} <= set(host["cgroupControllers"] or ())
    return able and (host["cgroupVersion"] == "v2" or not podman.user)


def on_disk(podman: Podman, container: str) -> int:
    """Return how many bytes the host's disk holds for a container: its layer, its log and all that
    the runtime keeps of it."""
    found = podman.inspect("container", container)
    folders = {
        found["GraphDriver"]["Data"].get("UpperDir", ""),
        os.path.dirname(found["StaticDir"]),
        os.path.dirname(found["OCIConfigPath"]),
        os.path.dirname(found["HostConfig"]["LogConfig"]["Path"] or ""),
        *(mount["Source"] for mount in found["Mounts"] if mount["Destination"] == "/run/familiar"),
    }
    total = 0
    for folder in filter(None, folders):
        for root, below, files in os.walk(folder):
            # What is mounted there is memory: /dev/shm.
            below[:] = [name for name in below if not os.path.ismount(os.path.join(root, name))]
            for name in files:
                with suppress(OSError):
                    total += (Path(root) / name).lstat().st_blocks * 512
    return total
