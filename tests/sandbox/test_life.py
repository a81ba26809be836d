"""The life of a sandbox: how it ends, what is told of that, and that nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from endpoint import Endpoint, running_endpoint
from kernels import Kernel, Ran, gone, kill
from sandbox import attacks
from sandbox.attacks import limits_hold, until
from sandbox.podman import IMAGE, Podman

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPTS = Path(__file__).parents[1] / "scripts"
NOTICED = 1.5
"""Seconds in which an end is noticed, a second of them promised."""

Start = Callable[..., Kernel]


@pytest.fixture
def place(whose: Podman) -> Iterator[Path]:
    with attacks.place_of(whose) as place:
        yield place


@pytest.fixture
def start(whose: Podman, place: Path) -> Iterator[Start]:
    """Starts kernels that end with the test; keyword arguments as ``attacks.sandboxed``."""
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(attacks.sandboxed(whose, place, **given))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint(SCRIPTS / "tools.yaml") as running:
        yield running


def busy(kernel: Kernel, code: str = "import time; time.sleep(60)") -> str:
    """Start a cell and return its request when it runs."""
    request = kernel.execute(f"print('runs', flush=True)\n{code}")
    kernel.until(request, lambda m: m["content"].get("text") == "runs\n")
    return request


def fails(kernel: Kernel, request: str, within: float) -> Ran:
    """Check that a cell fails within some seconds because the sandbox has ended."""
    began = time.monotonic()
    ran = kernel.collect(request, timeout=within + 20)
    took = time.monotonic() - began
    assert ran.status == "error", ran.messages
    assert ran.reply["content"]["ename"] == "SandboxEnded"
    assert took < within, took
    return ran


def goes_on(kernel: Kernel) -> None:
    """Check that a fresh sandbox runs the next cell, and knows nothing of before."""
    ran = kernel.run("'kept' in globals()")
    assert ran.text() == "False", ran.error


# -- a sandbox that ends ---------------------------------------------------------------------------

ENDS = {
    "a segmentation fault": ("import ctypes; ctypes.string_at(0)", "segmentation fault"),
    "an abort": ("import os; os.abort()", "aborted"),
    "an exit": ("import os; os._exit(3)", "status 3"),
    "a kill from inside": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed"),
}


def test_a_python_that_ends_is_told_with_its_reason(start: Start) -> None:
    kernel = start()
    for name, (code, why) in ENDS.items():
        count = kernel.run("kept = 1").reply["content"]["execution_count"]
        ran = fails(kernel, kernel.execute(code), NOTICED + 1)
        assert why in ran.told, (name, ran.told)
        # Whether or not it could still say so: a front end takes a cell without one for not run.
        assert ran.reply["content"]["execution_count"] == count + 1, name
        goes_on(kernel)


LATE = """
import threading
kernel = get_ipython().kernel
said_at_once = kernel._publish_execute_input
def late(*what):
    threading.Timer(0.5, said_at_once, what).start()
kernel._publish_execute_input = late
"""


def test_the_number_of_a_cell_that_ends_it_also_where_numbers_come_late(start: Start) -> None:
    kernel = start()
    kernel.run(LATE)
    # A busy machine lets replies overtake what says the number on the outputs' socket.
    count = kernel.run("1").reply["content"]["execution_count"]
    time.sleep(1)
    ran = fails(kernel, kernel.execute("import os; os._exit(3)"), NOTICED + 1)
    assert ran.reply["content"]["execution_count"] == count + 1


def test_too_much_memory_in_the_kernel_is_told_and_not_more(start: Start, whose: Podman) -> None:
    if not limits_hold(whose):
        return
    kernel = start(memory="300m", tmp_size="50m")
    kernel.run("kept = 1")
    ran = fails(kernel, kernel.execute("x = bytearray(b'1' * (800 << 20))"), 10)
    assert "more than its 300m of memory" in ran.told
    goes_on(kernel)
    # A full /tmp is memory of its own bound, and an error where it is written.
    full = kernel.run("open('/tmp/x', 'wb').write(bytes(80 << 20))")
    assert "No space left on device" in full.told


@pytest.mark.parametrize("how", ["kill", "rm", "stop"])
def test_a_container_that_is_ended_from_outside_is_noticed(
    start: Start, whose: Podman, how: str
) -> None:
    kernel = start()
    kernel.run("kept = 1")
    container = attacks.container_of(whose, kernel)
    request = busy(kernel)
    queued = [kernel.execute("1"), kernel.execute("%claude hello"), kernel.execute("2")]
    command = {
        "kill": ("kill", container),
        "rm": ("rm", "--force", "--time=0", container),
        "stop": ("stop", "--time=1", container),
    }[how]
    # The kernel, which notices at once, removes it too; podman may complain to the slower one.
    whose.run(*command, check=False)
    ran = fails(kernel, request, NOTICED)
    # Which of them is seen depends on how far podman has come; Python may end well when it is told.
    reasons = ("it was killed", "its container was removed", "its Python ended with status")
    assert any(reason in ran.told for reason in reasons), ran.told
    assert [kernel.collect(one, timeout=20).status for one in queued] == ["aborted"] * 3
    goes_on(kernel)
    assert until(lambda: not whose.exists("container", container), within=5)
    assert len(attacks.containers_of(whose, kernel.pid)) == 1


def test_an_idle_sandbox_that_ends_is_replaced(start: Start, whose: Podman) -> None:
    kernel = start()
    kernel.run("kept = 1")
    first = attacks.container_of(whose, kernel)
    whose.run("kill", first)
    assert until(lambda: first not in attacks.containers_of(whose, kernel.pid), within=10)
    goes_on(kernel)


def test_the_familiar_remembers_and_is_told(
    start: Start, whose: Podman, endpoint: Endpoint
) -> None:
    kernel = start(env=endpoint.environment, arguments=())
    assert kernel.run("%claude hello").status == "ok"
    session = kernel.value("CLAUDE_SESSION_ID")
    first = attacks.container_of(whose, kernel)
    whose.run("kill", first)
    assert until(lambda: first not in attacks.containers_of(whose, kernel.pid), within=10)
    goes_on(kernel)
    assert kernel.value("CLAUDE_SESSION_ID") == session
    assert kernel.run("%claude hello").status == "ok"
    asked = str(endpoint.last["messages"])
    assert "has ended: it was killed" in asked
    assert "variables, imports and files in /tmp of before are gone" in asked
    assert asked.count("'hello'") + asked.count("hello") >= 2, "the conversation goes on"
    assert kernel.run("%claude hello").status == "ok"
    assert str(endpoint.last["messages"]).count("has ended: it was") == 1, "it is told once"


def test_an_end_during_a_turn_fails_that_turn(start: Start, whose: Podman) -> None:
    kernel = start(script=SCRIPTS / "tools.yaml")
    request = kernel.execute("%claude run import time; time.sleep(60)")
    kernel.until(request, lambda m: "run_python" in str(m["content"].get("data", "")))
    time.sleep(1)
    whose.run("kill", attacks.container_of(whose, kernel))
    fails(kernel, request, NOTICED + 1)
    goes_on(kernel)
    assert kernel.run("%claude hello", timeout=30).status == "ok"


def test_a_sandbox_is_restarted(start: Start, whose: Podman, endpoint: Endpoint) -> None:
    kernel = start(env=endpoint.environment, arguments=())
    kernel.run("kept = 1")
    kernel.run("%claude hello")
    session = kernel.value("CLAUDE_SESSION_ID")
    first = attacks.container_of(whose, kernel)
    ran = kernel.run("%sandbox_restart")
    assert ran.status == "ok"
    assert "fresh sandbox" in ran.text()
    goes_on(kernel)
    assert kernel.value("CLAUDE_SESSION_ID") == session
    assert until(lambda: not whose.exists("container", first), within=5)
    kernel.run("%claude hello")
    assert "the person restarted it" in str(endpoint.last["messages"])


# -- the end of the outer kernel -------------------------------------------------------------------


class Belongings:
    """All that a kernel has: its processes, containers and folders."""

    def __init__(self, kernel: Kernel, whose: Podman) -> None:
        self.pid, self._whose = kernel.pid, whose
        attacks.container_of(whose, kernel)
        self.family = [p for p in kernel.family() if p.pid != kernel.pid]
        self.inside = self._inside()
        assert attacks.folders_of(self.pid)
        assert self.inside

    def _inside(self) -> list[psutil.Process]:
        marks = [str(folder) for folder in attacks.folders_of(self.pid)]
        names = [
            self._whose.inspect("container", c)["Id"]
            for c in attacks.containers_of(self._whose, self.pid)
        ]
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                told = " ".join(process.cmdline())
                if any(name in told for name in names) or any(mark in told for mark in marks):
                    found += [process, *process.children(recursive=True)]
        return found

    def left(self, within: float) -> list[object]:
        """Return what is still there after some seconds."""
        deadline = time.monotonic() + within
        while True:
            processes = gone(self.family + self.inside, 0)
            found: list[object] = [
                *processes,
                *attacks.folders_of(self.pid),
                *attacks.containers_of(self._whose, self.pid),
            ]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


def test_a_shutdown_leaves_nothing(start: Start, whose: Podman) -> None:
    kernel = start()
    kernel.run("%claude hello")
    has = Belongings(kernel, whose)
    kernel.manager.shutdown_kernel()
    assert not has.left(within=5)


def test_a_restart_leaves_nothing_of_before(start: Start, whose: Podman) -> None:
    kernel = start()
    has = Belongings(kernel, whose)
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    assert not has.left(within=5)
    goes_on(kernel)
    assert len(attacks.containers_of(whose, kernel.pid)) == 1


def test_a_kernel_that_is_killed_leaves_nothing(start: Start, whose: Podman) -> None:
    kernel = start()
    kernel.run("%claude hello")
    busy(kernel)
    has = Belongings(kernel, whose)
    kill(psutil.Process(kernel.pid))
    assert not has.left(within=6)


def reaper_of(kernel: Kernel) -> psutil.Process:
    for process in psutil.Process(kernel.pid).children(recursive=True):
        with suppress(psutil.Error):
            if any(word.endswith("reaper.py") for word in process.cmdline()):
                return process
    raise AssertionError("there is no reaper")


def test_a_kernel_that_is_killed_with_its_reaper_is_cleaned_up_by_the_next(
    start: Start, whose: Podman, place: Path
) -> None:
    kernel = start()
    has = Belongings(kernel, whose)
    reaper, outer = reaper_of(kernel), psutil.Process(kernel.pid)
    for process in (reaper, outer):
        kill(process)
    assert until(lambda: not kernel.manager.is_alive(), within=3)
    assert not gone([reaper], within=3)
    other = start(folder=attacks.made(whose, place / "other"))
    assert other.run("1").text() == "1"
    # The container's kernel sees its bridge end by itself, but is left there, as its folder is.
    assert not has.left(within=15)
    # What belongs to a kernel that lives is left alone.
    assert other.run("2").text() == "2"
    assert len(attacks.containers_of(whose, other.pid)) == 1


def test_the_next_kernel_leaves_another_one_alone(start: Start, whose: Podman, place: Path) -> None:
    first = start()
    first.run("kept = 1")
    second = start(folder=attacks.made(whose, place / "other"))
    second.run("1")
    time.sleep(4)  # it has swept
    assert first.value("kept") == 1
    assert second.run("2").text() == "2"


# -- what keeps it from starting -------------------------------------------------------------------


def says(kernel: Kernel) -> str:
    """Return what a cell says that cannot run."""
    ran = kernel.run("1 + 1", timeout=60)
    assert ran.status == "error"
    assert ran.reply["content"]["ename"] == "SandboxError"
    return ran.told


def test_without_an_image_the_cell_says_what_to_type(start: Start, whose: Podman) -> None:
    name = f"localhost/familiar-missing-{uuid4().hex[:8]}:latest"
    kernel = start(image=name)
    try:
        told = says(kernel)
        assert f"There is no image {name} here; type: familiar sandbox build --tag {name}" in told
        assert not attacks.containers_of(whose, kernel.pid)
        whose.run("tag", IMAGE, name)
        assert kernel.run("1 + 1").text() == "2"
    finally:
        whose.run("untag", IMAGE, name, check=False)


def test_without_podman_the_cell_says_what_to_type(start: Start, place: Path) -> None:
    kernel = start(runtime=str(place / "no" / "podman"))
    told = says(kernel)
    assert "was not found; install it: sudo apt install podman" in told
    assert kernel.run("%claude hello").status == "error"
    assert not attacks.folders_of(kernel.pid)


def test_a_notebook_in_the_home_has_no_workspace(start: Start, whose: Podman, place: Path) -> None:
    home = attacks.made(whose, place / "home")
    (home / "private").write_text("secret")
    kernel = start(folder=home, home=home)
    assert kernel.value("__import__('os').path.exists('/workspace/private')") is False
    assert kernel.value("__import__('os').getcwd()") == "/tmp"
    told = " ".join(kernel.run("%sandbox_status").text().split())
    assert "move the notebook into a folder" in told
