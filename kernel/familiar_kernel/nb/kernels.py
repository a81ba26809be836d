"""The kernel of a notebook: started so that it outlives the command, found again from any terminal.

It listens on unix sockets in a folder of its owner's alone: on a shared machine a port of loopback
could be reached by everybody there. Whether it lives is asked of the process and of the kernel each
time; the files only say where to ask.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from .store import Store, write_whole

if TYPE_CHECKING:
    import psutil
    from jupyter_client.blocking.client import BlockingKernelClient
    from jupyter_client.connect import KernelConnectionInfo
    from jupyter_client.manager import KernelManager

FAMILIAR = "python-claude"
SANDBOXED = "python-claude-sandboxed"
START_TIMEOUT = 60.0
"""Seconds from a kernel's start to its first word."""
ANSWER_TIMEOUT = 3.0
"""Seconds in which a living kernel answers on its control channel, whatever it runs."""
IDLE_TIMEOUT = 0.4
"""Seconds in which a kernel that runs nothing answers on its shell channel."""
END_TIMEOUT = 10.0
"""Seconds that a kernel has to end by itself once it was asked to."""
LOG_LINES = 15

Life = Literal["none", "running", "busy", "silent", "dead"]


class KernelFault(Exception):
    """There is no kernel to talk to; the message says why and what to do."""


class NoKernel(KernelFault):
    """Nobody has started one."""


class KernelDied(KernelFault):
    """There was one."""


@dataclass(frozen=True)
class Look:
    """What can be seen of a notebook's kernel at one moment.

    Attributes:
        path: the notebook.
        life: ``running`` where it would run a cell at once, ``busy`` where it runs one, ``silent``
            where its process lives and says nothing, ``dead`` where that has gone, ``none`` where
            none was started.
        kernel: its kernelspec.
        pid: of its process.
        since: when it was started, seconds since 1970.
        memory: bytes, its processes' and its sandbox's; None where that cannot be told.
        sandboxed: whether its code runs in a container.
        container: that container's name; empty where there is none.
        container_state: what podman says of it.
    """

    path: Path
    life: Life
    kernel: str = ""
    pid: int | None = None
    since: float | None = None
    memory: int | None = None
    sandboxed: bool = False
    container: str = ""
    container_state: str = ""


def start(
    store: Store, kernel_name: str, variables: Mapping[str, str], timeout: float = START_TIMEOUT
) -> dict[str, Any]:
    """Start a kernel for a notebook, wait until it answers, and return what is written down of it.

    Raises:
        KernelFault: there is no such kernelspec, or it does not start.
    """
    from jupyter_client.kernelspec import NoSuchKernel
    from jupyter_client.manager import KernelManager

    folder = store.made()
    sockets = tempfile.mkdtemp(prefix="nb-", dir=_short_folder())
    for file in (store.connection_file, folder / "starting.json"):
        file.unlink(missing_ok=True)
    manager = KernelManager(
        kernel_name=kernel_name,
        # It removes its file as it goes; ours is another name of that.
        connection_file=str(folder / "starting.json"),
        transport="ipc",
        ip=str(Path(sockets, "k")),
    )
    env = {**os.environ, **variables, "JPY_SESSION_NAME": str(store.path)}
    # Where nb itself is started by a kernel, this one is not that one's.
    for name in ("JPY_PARENT_PID", "JPY_INTERRUPT_EVENT"):
        env.pop(name, None)
    try:
        with open(store.log, "w", encoding="utf-8") as log:
            os.fchmod(log.fileno(), 0o600)
            manager.start_kernel(
                independent=True, cwd=str(store.path.parent), env=env, stdout=log, stderr=log
            )
    except NoSuchKernel:
        shutil.rmtree(sockets, ignore_errors=True)
        raise KernelFault(_no_spec(kernel_name)) from None
    except OSError as err:
        shutil.rmtree(sockets, ignore_errors=True)
        raise KernelFault(f"The kernel {kernel_name} cannot be started: {err}.") from None
    process = manager.provisioner.process  # type: ignore[union-attr]
    assert process is not None
    try:
        return _written_down(store, manager, process, variables, sockets, timeout)
    except BaseException as err:
        if not end(store, now=True):
            process.kill()
            process.wait()
            shutil.rmtree(sockets, ignore_errors=True)
        if isinstance(err, OSError):
            raise KernelFault(
                f"Nothing can be written down about the kernel, so it was ended: {err}."
            ) from None
        raise


def _written_down(
    store: Store,
    manager: KernelManager,
    process: subprocess.Popen[bytes],
    variables: Mapping[str, str],
    sockets: str,
    timeout: float,
) -> dict[str, Any]:
    """Write down how a kernel that has been started is found, and wait until it answers."""
    spec, kernel_name = manager.kernel_spec, manager.kernel_name
    argv = spec.argv if spec is not None else []
    state: dict[str, Any] = {
        "notebook": store.path.name,
        "kernel": kernel_name,
        "pid": process.pid,
        "started": _started(process.pid),
        "host": socket.gethostname(),
        "boot": _boot(),
        "interrupt": "message" if spec is None else spec.interrupt_mode,
        "sandboxed": is_sandboxed(argv),
        "familiar": any("familiar_kernel" in word for word in argv),
        "ipc_dir": sockets,
        "container_name": "",
        "variables": dict(variables),
    }
    # The manager removes its own file as it goes.
    starting = Path(manager.connection_file)
    write_whole(store.connection_file, starting.read_bytes(), mode=0o600)
    store.remember(state)
    _wait_for_first_word(store, process, timeout)
    if state["sandboxed"]:
        state["container_name"] = _container(state)[0]
        store.remember(state)
    return state


def is_sandboxed(argv: Sequence[str]) -> bool:
    """Whether a kernelspec's command runs code in a container."""
    return "--sandboxed" in argv


def spec_is_sandboxed(name: str) -> bool:
    """Whether a kernelspec's kernel runs code in a container.

    Raises:
        KernelFault: there is no such kernelspec.
    """
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        return is_sandboxed(KernelSpecManager().get_kernel_spec(name).argv)
    except NoSuchKernel:
        raise KernelFault(_no_spec(name)) from None


def _wait_for_first_word(store: Store, process: subprocess.Popen[bytes], timeout: float) -> None:
    with connected(store) as client:
        until = time.monotonic() + timeout
        client.kernel_info()
        while time.monotonic() < until:
            if client.shell_channel.socket.poll(100):
                return
            if process.poll() is not None:
                raise KernelDied(
                    f"The kernel has ended as it started (status {process.returncode}).\n"
                    f"{last_words(store)}"
                )
    raise KernelFault(f"The kernel has said nothing for {timeout:.0f} s.\n{last_words(store)}")


def _no_spec(name: str) -> str:
    from jupyter_client.kernelspec import KernelSpecManager

    known = ", ".join(sorted(KernelSpecManager().find_kernel_specs())) or "none"
    how = " `familiar install` makes it." if name == FAMILIAR else ""
    how = " `familiar install --sandboxed` makes it." if name == SANDBOXED else how
    return f"There is no kernel {name} here; there are: {known}.{how}"


@contextmanager
def connected(store: Store) -> Iterator[BlockingKernelClient]:
    """Talk to a notebook's kernel.

    Raises:
        NoKernel: none was started, or it was shut down.
    """
    from jupyter_client.blocking.client import BlockingKernelClient

    info = store.connection
    if info is None:
        raise NoKernel(no_kernel(store))
    client = BlockingKernelClient()
    client.load_connection_info(cast("KernelConnectionInfo", info))
    client.start_channels(hb=False)
    try:
        yield client
    finally:
        client.stop_channels()
        client.context.destroy(linger=200)


def no_kernel(store: Store) -> str:
    """Return what to say of a notebook that has no kernel."""
    return f"{store.path.name} has no kernel; nb open {shlex.quote(str(store.path))} starts one."


def process_of(state: Mapping[str, Any]) -> psutil.Process | None:
    """Return the kernel's process, if it lives: not one that took its number."""
    import psutil

    try:
        process = psutil.Process(int(state["pid"]))
        lives = abs(process.create_time() - float(state["started"])) < 1.0
        return process if lives and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None


def required(store: Store) -> dict[str, Any]:
    """Return what is known of a kernel that lives.

    Raises:
        NoKernel: none was started.
        KernelDied: it has ended.
    """
    state = store.state
    if state is None:
        raise NoKernel(no_kernel(store))
    here(store, state)
    if process_of(state) is None:
        raise KernelDied(
            f"The kernel of {store.path.name} has ended. nb restart starts a fresh one, and nb logs"
            " shows its last words."
        )
    return state


def here(store: Store, state: Mapping[str, Any]) -> None:
    """See that a kernel was started on this machine, and not on another one with the same files.

    Raises:
        KernelFault: it was not.
    """
    host, boot = state.get("host"), state.get("boot")
    # A machine that was started anew has its name still, and a laptop's name may change.
    if boot != _boot() and host != socket.gethostname():
        raise KernelFault(
            f"The kernel of {store.path.name} was started on {host}: use nb there. If that is no"
            f" more, remove {store.folder}."
        )


def _boot() -> str:
    """Return what is another one after each start of the machine, where it tells that."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def look(store: Store) -> Look:
    """See how a notebook's kernel is, by asking it."""
    state = store.state
    if state is None:
        return Look(store.path, "none")
    process = process_of(state)
    sandboxed = bool(state.get("sandboxed"))
    container, told, inside = _container(state) if sandboxed else ("", "", None)
    memory = None if process is None else _memory(process, inside)
    return Look(
        path=store.path,
        life="dead" if process is None else _life(store),
        kernel=str(state.get("kernel", "")),
        pid=None if process is None else process.pid,
        since=state.get("started"),
        memory=memory,
        sandboxed=sandboxed,
        container=container,
        container_state=told,
    )


def _life(store: Store) -> Life:
    try:
        with connected(store) as client:
            client.kernel_info()
            message = client.session.msg("kernel_info_request", {})
            client.control_channel.send(message)
            if client.shell_channel.socket.poll(int(IDLE_TIMEOUT * 1000)):
                return "running"
            answers = client.control_channel.socket.poll(int(ANSWER_TIMEOUT * 1000))
            return "busy" if answers else "silent"
    except NoKernel:
        return "silent"


def _memory(process: psutil.Process, inside: int | None) -> int:
    import psutil

    total = 0
    family = [process]
    with suppress(psutil.Error):
        family += process.children(recursive=True)
    if inside:
        with suppress(psutil.Error):
            boxed = psutil.Process(inside)
            family += [boxed, *boxed.children(recursive=True)]
    for one in {p.pid: p for p in family}.values():
        with suppress(psutil.Error):
            total += one.memory_info().rss
    return total


def _container(state: Mapping[str, Any]) -> tuple[str, str, int | None]:
    """Return the name of a kernel's container, how podman says it is, and its first process."""
    from familiar_kernel.sandbox.faults import SandboxFault
    from familiar_kernel.sandbox.labels import OWNER, PREFIX
    from familiar_kernel.sandbox.runtime import Runtime

    runtime = Runtime(os.environ.get(f"{PREFIX}RUNTIME", "podman"))
    try:
        told = runtime.ask(
            "ps", "--all", f"--filter=label={OWNER}={state['pid']}", "--format={{.Names}}"
        ).stdout.split()
        if not told:
            return "", "none", None
        style = "{{.State.Status}} {{.State.Pid}}"
        done = runtime.ask("container", "inspect", "--format", style, told[0])
    except SandboxFault as fault:
        return "", str(fault), None
    words = done.stdout.split()
    if len(words) != 2 or not words[1].isdigit():
        return told[0], "gone", None
    return told[0], words[0], int(words[1]) or None


# -- what is done to it ----------------------------------------------------------------------------


def interrupt(store: Store) -> None:
    """Stop what the kernel runs, as the Stop button does.

    Raises:
        KernelFault: there is none.
    """
    state = required(store)
    with connected(store) as client:
        answers = stop(client, state)
        if answers and not client.control_channel.socket.poll(int(ANSWER_TIMEOUT * 1000)):
            raise KernelFault("The kernel does not take the interrupt; nb restart ends it.")


def stop(client: BlockingKernelClient, state: Mapping[str, Any]) -> bool:
    """Stop what a kernel runs, in the way that its kernelspec names; return whether it answers."""
    if state.get("interrupt") == "message":
        client.control_channel.send(client.session.msg("interrupt_request", {}))
        return True
    if process := process_of(state):
        process.send_signal(signal.SIGINT)
    return False


def end(store: Store, *, now: bool = False) -> bool:
    """End a notebook's kernel and forget it; return whether it lived.

    Args:
        store: the notebook's.
        now: do not ask it first.
    """
    state = store.state
    if state is None:
        return False
    process = process_of(state)
    if process is not None:
        if not now:
            with suppress(KernelFault), connected(store) as client:
                client.control_channel.send(
                    client.session.msg("shutdown_request", {"restart": False})
                )
                _gone(process, END_TIMEOUT)
        _killed(process)
    folder = Path(str(state.get("ipc_dir", "")))
    ours = folder.name.startswith("nb-") and folder.parent == Path(_short_folder())
    if ours and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
    store.forget()
    return process is not None


def _gone(process: psutil.Process, timeout: float) -> bool:
    import psutil

    until = time.monotonic() + timeout
    while time.monotonic() < until:
        # A child of this very process stays a zombie until it is waited for.
        with suppress(ChildProcessError, OSError):
            os.waitpid(process.pid, os.WNOHANG)
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def _killed(process: psutil.Process) -> None:
    import psutil

    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(psutil.Error):
            if _gone(process, 0.05):
                return
            process.send_signal(number)
            if _gone(process, 3.0):
                return


def last_words(store: Store, lines: int = LOG_LINES) -> str:
    """Return the end of what the kernel's process has written."""
    try:
        with open(store.log, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 100_000))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _started(pid: int) -> float:
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return time.time()


def _short_folder() -> str:
    """Return a folder in which the sockets' paths are short enough."""
    from familiar_kernel.sandbox.container import short_folder

    return short_folder()
