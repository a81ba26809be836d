"""Life and death: the familiar lives as long as its kernel, and nothing of it any longer."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from kernels import Kernel, gone, kill, running_kernel, words

StartKernel = Callable[..., Kernel]

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

WITHIN = 2.0
"""Seconds in which everything must be gone."""
NO_HANG = 30.0
"""Seconds in which a failure must be told; a few where nothing else runs."""


def family_with_cli(kernel: Kernel) -> list[psutil.Process]:
    """The kernel's processes, once a CLI is among them."""
    assert kernel.run("%claude say hello").status == "ok"
    kernel.cli()
    return kernel.family()


def talking(kernel: Kernel) -> list[psutil.Process]:
    """The kernel's processes, in the middle of a turn."""
    request = kernel.execute("%claude slow x")
    kernel.until(request, lambda m: "word word" in str(m["content"].get("data", "")))
    kernel.cli()
    return kernel.family()


def shut_down(kernel: Kernel) -> None:
    """What a front end does: ask, and leave the process to itself."""
    kernel.client.shutdown()


ENDS: dict[str, Callable[[Kernel], object]] = {
    "SIGKILL": lambda kernel: os.kill(kernel.pid, signal.SIGKILL),
    "SIGTERM": lambda kernel: os.kill(kernel.pid, signal.SIGTERM),
    "shutdown": shut_down,
    "crash": lambda kernel: kernel.execute("import os; os.abort()"),
    "exit": lambda kernel: kernel.execute("import os; os._exit(3)"),
    "segfault": lambda kernel: kernel.execute("import ctypes; ctypes.string_at(0)"),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_outlives_an_idle_kernel(fresh_kernel: Kernel, end: str) -> None:
    family = family_with_cli(fresh_kernel)
    assert len(family) >= 3
    ENDS[end](fresh_kernel)
    assert not gone(family[:1], within=5)  # ipykernel takes its time to shut down
    assert not gone(family, within=WITHIN)


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "shutdown"])
def test_nothing_outlives_a_kernel_in_a_turn(fresh_kernel: Kernel, end: str) -> None:
    family = talking(fresh_kernel)
    assert len(family) >= 3
    ENDS[end](fresh_kernel)
    if end == "shutdown":
        # The cell under way is first: jupyter_client's patience ends it.
        fresh_kernel.manager.finish_shutdown()
    assert not gone(family[:1], within=5)
    assert not gone(family, within=WITHIN)


def test_nothing_outlives_a_kernel_that_is_starting(start_kernel: StartKernel) -> None:
    for moment in (0.0, 0.3, 1.0):
        kernel = start_kernel()
        time.sleep(moment)
        family = kernel.family()
        kill(psutil.Process(kernel.pid))
        # A host whose interpreter is still starting cannot look around yet.
        assert not gone(family, within=WITHIN + 3), moment


def test_nothing_outlives_a_kernel_that_is_stopped_dead(fresh_kernel: Kernel) -> None:
    """A CLI that is stopped (SIGSTOP) cannot leave by itself."""
    family = family_with_cli(fresh_kernel)
    fresh_kernel.cli().suspend()
    kill(psutil.Process(fresh_kernel.pid))
    assert not gone(family, within=WITHIN)


def test_restart_leaves_nothing(fresh_kernel: Kernel) -> None:
    before = family_with_cli(fresh_kernel)
    fresh_kernel.manager.restart_kernel()
    assert not gone(before, within=WITHIN)
    fresh_kernel.client.wait_for_ready(timeout=60)
    family_with_cli(fresh_kernel)


def test_what_claudes_tools_started_goes_too(fresh_kernel: Kernel) -> None:
    request = fresh_kernel.execute("%claude shell echo begun; sleep 300")
    deadline = time.monotonic() + 30
    while not (sleeping := [p for p in fresh_kernel.family() if _is_sleep(p)]):
        assert time.monotonic() < deadline, "the tool did not start"
        time.sleep(0.1)
    assert request
    family = fresh_kernel.family()
    kill(psutil.Process(fresh_kernel.pid))
    assert not gone(family + sleeping, within=WITHIN)


def _is_sleep(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return words(process)[:2] == ["sleep", "300"]
    return False


def test_a_forked_child_does_not_keep_the_host_alive(fresh_kernel: Kernel) -> None:
    """It holds the kernel's end of the link's socket, and lives on."""
    host, cli = family_with_cli(fresh_kernel)[1:3]
    ran = fresh_kernel.run(
        "import os, time\nchild = os.fork()\n"
        "if child == 0:\n    time.sleep(60)\n    os._exit(0)\n"
        "child"
    )
    child = psutil.Process(int(ran.text()))
    try:
        kill(psutil.Process(fresh_kernel.pid))
        assert not gone([host, cli], within=WITHIN)
        assert child.is_running()
    finally:
        kill(child)


def test_interrupts_of_code_reach_neither_host_nor_cli(fresh_kernel: Kernel) -> None:
    family = family_with_cli(fresh_kernel)
    for _ in range(5):
        request = fresh_kernel.execute("import time\ntime.sleep(60)")
        fresh_kernel.until(request, lambda m: m["msg_type"] == "execute_input")
        time.sleep(0.1)
        # What Ctrl-C in a terminal does: the whole process group gets it.
        os.killpg(os.getpgid(fresh_kernel.pid), signal.SIGINT)
        assert fresh_kernel.collect(request, timeout=10).reply["content"]["ename"] == (
            "KeyboardInterrupt"
        )
    fresh_kernel.interrupt()
    assert fresh_kernel.run("1 + 1").status == "ok"
    assert fresh_kernel.run("%claude say still here").text().startswith("still here")
    assert [p.pid for p in fresh_kernel.family()] == [p.pid for p in family]


def test_the_host_ignores_an_interrupt_of_its_own(fresh_kernel: Kernel) -> None:
    family_with_cli(fresh_kernel)
    host = fresh_kernel.host()
    host.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert host.is_running()
    assert fresh_kernel.run("%claude say still here").text().startswith("still here")


def test_an_idle_familiar_uses_no_processor(fresh_kernel: Kernel) -> None:
    family_with_cli(fresh_kernel)
    watched = [psutil.Process(fresh_kernel.pid), fresh_kernel.host()]
    time.sleep(1)
    before = sum(sum(p.cpu_times()[:2]) for p in watched)
    time.sleep(3)
    assert sum(sum(p.cpu_times()[:2]) for p in watched) - before < 0.5


def test_many_restarts_and_resets_leak_nothing(fresh_kernel: Kernel) -> None:
    family_with_cli(fresh_kernel)
    process = psutil.Process(fresh_kernel.pid)
    kill(fresh_kernel.host())
    fresh_kernel.run("%claude say again")
    descriptors, threads = process.num_fds(), process.num_threads()
    for _ in range(3):
        kill(fresh_kernel.host())
        assert fresh_kernel.run("%claude say again").status == "ok"
        fresh_kernel.run("%claude_reset")
    assert fresh_kernel.run("%claude say again").status == "ok"
    # ipykernel closes what threads that have ended have sent outputs through every ten seconds.
    deadline = time.monotonic() + 15
    while process.num_fds() > descriptors + 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.num_fds() <= descriptors + 2
    assert process.num_threads() <= threads + 1
    assert len([p for p in fresh_kernel.family() if p.status() != psutil.STATUS_ZOMBIE]) == 3


@pytest.mark.slow
@pytest.mark.crowd
@pytest.mark.timeout(420)
def test_twenty_kernels_at_once(start_kernel: StartKernel, tmp_path: Path) -> None:
    """All of them answer, each from its own mind, within the machine's memory."""
    free = psutil.virtual_memory().available
    if free < 8e9:
        pytest.skip("twenty CLIs want 8 GB of free memory")
    kernels = [start_kernel("--Familiar.start_timeout=240") for _ in range(20)]
    requests = [k.execute(f"%claude remember k{n}") for n, k in enumerate(kernels)]
    for n, (kernel, request) in enumerate(zip(kernels, requests, strict=True)):
        ran = kernel.collect(request, timeout=300)
        assert ran.status == "ok", (n, ran.told)
    requests = [k.execute("%claude recall") for k in kernels]
    for n, (kernel, request) in enumerate(zip(kernels, requests, strict=True)):
        assert kernel.collect(request, timeout=300).text().startswith(f"You said k{n}.")
    assert len({k.value("CLAUDE_SESSION_ID") for k in kernels}) == 20
    families = [k.family() for k in kernels]
    used = sum(p.memory_full_info().uss for family in families for p in family)
    assert used / 20 < 400e6
    for kernel in kernels:
        kill(psutil.Process(kernel.pid))
    assert not gone([p for family in families for p in family], within=10)


# -- what cannot start ---------------------------------------------------------------------------


def test_a_cli_that_is_not_there(start_kernel: StartKernel) -> None:
    kernel = start_kernel(env={"FAMILIAR_CLAUDE_CLI": "/nonexistent/claude"})
    began = time.monotonic()
    ran = kernel.run("%claude say hello", timeout=30)
    assert time.monotonic() - began < NO_HANG
    assert ran.reply["content"]["ename"] == "FamiliarError"
    assert ran.told.startswith("The Claude Code CLI was not found.")
    assert "FAMILIAR_CLAUDE_CLI" in ran.told
    assert "Traceback" not in ran.error
    assert "/nonexistent/claude" in ran.told
    assert "not found" in kernel.run("%claude_status").text()
    assert kernel.run("1 + 1").status == "ok"
    second = kernel.run("x = ask('say hello')", timeout=30)
    assert second.told.startswith("The Claude Code CLI was not found.")


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_cli_that_never_answers(start_kernel: StartKernel, tmp_path: Path) -> None:
    cli = program(
        tmp_path / "claude", "#!/bin/sh\necho 'waiting for nothing' >&2\nexec sleep 600\n"
    )
    kernel = start_kernel(f"--Familiar.cli_path={cli}", "--Familiar.start_timeout=2")
    began = time.monotonic()
    ran = kernel.run("%claude say hello", timeout=60)
    assert time.monotonic() - began < 2 + 8  # the deadline, once, and the host's own start
    assert ran.told.startswith("The familiar did not start in time.")
    assert "Familiar.start_timeout" in ran.told
    assert "waiting for nothing" in ran.told  # its stderr is in the details
    assert "Traceback" not in ran.error
    assert not [p for p in kernel.family() if words(p)[:1] == ["sleep"]]
    assert kernel.run("1 + 1").status == "ok"


def test_a_cli_that_never_answers_can_be_interrupted(
    start_kernel: StartKernel, tmp_path: Path
) -> None:
    cli = program(tmp_path / "claude", "#!/bin/sh\nexec sleep 600\n")
    kernel = start_kernel(f"--Familiar.cli_path={cli}")
    request = kernel.execute("%claude say hello")
    kernel.until(request, lambda m: m["msg_type"] == "execute_input")
    time.sleep(1)
    began = time.monotonic()
    kernel.interrupt()
    ran = kernel.collect(request, timeout=20)
    assert time.monotonic() - began < 3
    assert ran.status == "error"
    assert "Stopped" in ran.told


def test_a_cli_that_fails_at_once(start_kernel: StartKernel, tmp_path: Path) -> None:
    cli = program(tmp_path / "claude", "#!/bin/sh\necho 'no luck today' >&2\nexit 7\n")
    kernel = start_kernel(f"--Familiar.cli_path={cli}", "--Familiar.start_timeout=30")
    began = time.monotonic()
    ran = kernel.run("%claude say hello", timeout=60)
    assert time.monotonic() - began < NO_HANG
    assert ran.reply["content"]["ename"] == "FamiliarError"
    assert "no luck today" in ran.told
    assert "in time" not in ran.told  # it was quick enough
    assert kernel.run("1 + 1").status == "ok"


def test_a_cli_that_speaks_nonsense(start_kernel: StartKernel, tmp_path: Path) -> None:
    cli = program(tmp_path / "claude", "#!/bin/sh\nwhile read line; do echo 'not JSON'; done\n")
    kernel = start_kernel(f"--Familiar.cli_path={cli}", "--Familiar.start_timeout=1")
    ran = kernel.run("%claude say hello", timeout=60)
    assert ran.reply["content"]["ename"] == "FamiliarError"
    assert kernel.run("1 + 1").status == "ok"


def test_a_cli_that_is_found_later(start_kernel: StartKernel, tmp_path: Path) -> None:
    """Nothing has to be restarted but the cell: what was missing may have come."""
    from familiar_kernel.familiar.cli_path import bundled_cli

    bundled = bundled_cli()
    if bundled is None:
        pytest.skip("claude-agent-sdk carries no CLI on this platform")
    cli = tmp_path / "claude"
    kernel = start_kernel(f"--Familiar.cli_path={cli}")
    assert kernel.run("%claude say hello").status == "error"
    cli.symlink_to(bundled)
    assert kernel.run("%claude say hello").text().startswith("hello")


@pytest.mark.parametrize("python", ["empty", "missing", "no python"])
def test_a_host_that_cannot_start(start_kernel: StartKernel, tmp_path: Path, python: str) -> None:
    paths = {
        # An interpreter that has none of the packages.
        "empty": program(tmp_path / "python", f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n'),
        "missing": tmp_path / "nowhere" / "python",
        "no python": program(tmp_path / "true", "#!/bin/sh\nexit 0\n"),
    }
    kernel = start_kernel(f"--Familiar.host_python={paths[python]}")
    began = time.monotonic()
    ran = kernel.run("%claude say hello", timeout=60)
    assert time.monotonic() - began < NO_HANG
    assert ran.reply["content"]["ename"] == "FamiliarError", ran.told
    assert "in time" not in ran.told
    if python == "empty":
        assert "No module named" in ran.told  # the host's last words
    assert "familiar doctor" in ran.told
    assert 'File "' not in ran.told.split("No module")[0] or python == "empty"
    assert kernel.run("1 + 1").status == "ok"
    assert kernel.run("%claude_status").status == "ok"


def test_a_script_of_the_rehearsal_that_is_wrong(start_kernel: StartKernel, tmp_path: Path) -> None:
    script = tmp_path / "wrong.yaml"
    script.write_text("rules: [{reply: [{txet: x}]}]\n")
    kernel = start_kernel(script=script)
    ran = kernel.run("%claude say hello", timeout=60)
    assert ran.told.startswith("The rehearsal could not be started.")
    assert "wrong.yaml" in ran.told


def test_when_no_process_can_be_started(fresh_kernel: Kernel) -> None:
    """Out of file descriptors: the prompt says so, and works again when there are some."""
    family_with_cli(fresh_kernel)
    kill(fresh_kernel.host())
    ran = fresh_kernel.run(
        "import os, resource\n"
        "held = []\n"
        "limits = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[0]), limits[1]))\n"
        "try:\n"
        "    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "except OSError: pass\n"
        "try:\n"
        "    ask('say no')\n"
        "except Exception as err:\n"
        "    told = f'{type(err).__name__}: {err}'\n"
        "else:\n"
        "    told = 'answered'\n"
        "finally:\n"
        "    [os.close(fd) for fd in held]\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, limits)\n"
        "told",
        timeout=60,
    )
    assert ran.status == "ok", ran.told
    assert "FamiliarError" in ran.text()
    assert fresh_kernel.run("%claude say once more").text().startswith("once more")


# -- a kernel beside other things ----------------------------------------------------------------


def test_a_host_in_another_environment(start_kernel: StartKernel) -> None:
    kernel = start_kernel(f"--Familiar.host_python={sys.executable}")
    assert kernel.run("%claude say hello").text().startswith("hello")
    assert kernel.host().cmdline()[0] == sys.executable


def test_a_plain_kernel_has_no_familiar(tmp_path: Path) -> None:
    with running_kernel(tmp_path / "plain", module="ipykernel_launcher", arguments=()) as plain:
        assert plain.run("1 + 1").status == "ok"
        assert [p.pid for p in plain.family()] == [plain.pid]
