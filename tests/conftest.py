"""What all tests share: a home of their own, and kernels that run.

A kernel with its host and CLI takes three seconds to start, so the tests of a worker share one
(``kernel``); those that break theirs, or need it in a state of its own, take a new one
(``fresh_kernel``, ``start_kernel``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from queue import Empty
from typing import Any

import psutil
import pytest
import yaml

from kernels import Kernel, gone, kill, running_kernel
from sandbox import podman as podman_setup
from sandbox.podman import Podman

SCRIPTS = Path(__file__).parent / "scripts"
_LEAD_ELSEWHERE = ("ANTHROPIC_", "CLAUDE_", "FAMILIAR_", "IMAGE_", "JUPYTER_", "IPYTHON", "XDG_")
"""Beginnings of the variables by which a person's own settings could reach a test."""

StartKernel = Callable[..., Kernel]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "crowd: loads the machine, and runs while no other test does"
    )


@pytest.fixture(scope="session")
def _doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Two files that all workers lock; see in_turn."""
    with contextlib.ExitStack() as stack:
        base = tmp_path_factory.getbasetemp()
        shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
        door, room = (stack.enter_context(open(shared / n, "a")) for n in ("door", "room"))
        yield door.fileno(), room.fileno()


@pytest.fixture(autouse=True)
def in_turn(request: pytest.FixtureRequest, _doors: tuple[int, int]) -> Iterator[None]:
    """Keep a test that loads the machine away from those that measure seconds, on every worker.

    Each test goes through the door into the room. The one that wants the room for itself stays in
    the door until those inside have left.
    """
    door, room = _doors
    fcntl.flock(door, fcntl.LOCK_EX)
    crowd = request.node.get_closest_marker("crowd") is not None
    fcntl.flock(room, fcntl.LOCK_EX if crowd else fcntl.LOCK_SH)
    fcntl.flock(door, fcntl.LOCK_UN)
    yield
    fcntl.flock(room, fcntl.LOCK_UN)


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep everything away from the person's home, settings and sign-in."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_LEAD_ELSEWHERE) and not name.startswith("FAMILIAR_TEST_"):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("IPYTHONDIR", str(home / ".ipython"))
        patch.setenv("JUPYTER_CONFIG_DIR", str(home / ".jupyter"))
        patch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
        patch.setenv("MPLCONFIGDIR", str(home / "matplotlib"))
        patch.setenv("DISABLE_TELEMETRY", "1")
        patch.setenv("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        yield home


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels' script: scripts/kernel.yaml and after it the built-in conversation."""
    built_in = resources.files("familiar_kernel.rehearsal") / "scripts" / "first_conversation.yaml"
    ours = yaml.safe_load((SCRIPTS / "kernel.yaml").read_text(encoding="utf-8"))
    ours["rules"] += yaml.safe_load(built_in.read_text(encoding="utf-8"))["rules"]
    path = tmp_path_factory.mktemp("script") / "kernel.yaml"
    path.write_text(yaml.safe_dump(ours, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


class _Shared:
    """One kernel for many tests; one that a test has broken is replaced."""

    def __init__(self, folder: Callable[[], Path], script: Path) -> None:
        self._folder = folder
        self._script = script
        self._stack = contextlib.ExitStack()
        self._kernel: Kernel | None = None

    def get(self) -> Kernel:
        if self._kernel is None or not self._serves(self._kernel):
            self.close()
            self._kernel = self._stack.enter_context(
                running_kernel(self._folder(), script=self._script)
            )
        return self._kernel

    def close(self) -> None:
        self._kernel = None
        self._stack.close()

    @staticmethod
    def _serves(kernel: Kernel) -> bool:
        if not kernel.manager.is_alive():
            return False
        try:
            return kernel.run("pass", silent=True, timeout=5).status == "ok"
        except Empty:
            return False


@pytest.fixture(scope="session")
def _shared_kernel(
    tmp_path_factory: pytest.TempPathFactory, script: Path, own_home: Path
) -> Iterator[_Shared]:
    shared = _Shared(lambda: tmp_path_factory.mktemp("shared"), script)
    yield shared
    shared.close()


@pytest.fixture
def kernel(_shared_kernel: _Shared) -> Kernel:
    """A kernel that other tests use as well: leave it as it was, but for names and history."""
    return _shared_kernel.get()


@pytest.fixture
def new_mind(kernel: Kernel) -> Kernel:
    """The shared kernel with a conversation that has just begun."""
    assert kernel.run("%claude_reset").status == "ok"
    return kernel


@pytest.fixture
def start_kernel(tmp_path: Path, script: Path) -> Iterator[StartKernel]:
    """A function that starts kernels for this test alone; it takes what running_kernel takes."""
    with contextlib.ExitStack() as stack:
        started = 0

        def start(*arguments: str, **options: Any) -> Kernel:
            nonlocal started
            started += 1
            given = {"script": script, "arguments": ("--rehearsal", *arguments), **options}
            home = given.pop("home", tmp_path / f"kernel-{started}")
            return stack.enter_context(running_kernel(home, **given))

        yield start


@pytest.fixture
def fresh_kernel(start_kernel: StartKernel) -> Kernel:
    """A kernel for this test alone."""
    return start_kernel()


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail where a process that has one of our homes outlives the tests; end it."""
    yield
    ours = str(tmp_path_factory.getbasetemp())
    left = gone([p for p in psutil.process_iter() if _home(p).startswith(ours)], within=5)
    told = [p.cmdline() for p in left]
    for process in left:
        kill(process)
    assert not told


def _home(process: psutil.Process) -> str:
    if process.pid == os.getpid():
        return ""
    try:
        return process.environ().get("HOME", "")
    except psutil.Error:
        return ""


# -- sandboxes -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def podman() -> Podman:
    """The podman of whoever runs the tests. .ci/podman, which makes its images once for all
    workers, locks."""
    return podman_setup.ready()


@pytest.fixture(scope="session")
def sandbox_image(podman: Podman) -> str:
    """The name of a sandbox's image with ipywidgets, matplotlib, numpy and pandas."""
    return podman_setup.IMAGE


@pytest.fixture(scope="session")
def start_sandboxed(
    tmp_path_factory: pytest.TempPathFactory, podman: Podman, sandbox_image: str, own_home: Path
) -> Callable[..., AbstractContextManager[Kernel]]:
    """Starts a sandboxed kernel, in a folder of its own that any user may read.

    Keyword arguments are settings of the sandbox, and ``env``, ``arguments`` and ``script`` as
    ``running_kernel`` takes them, and ``traits`` for its manager.
    """

    def start(
        env: dict[str, str] | None = None,
        arguments: tuple[str, ...] = ("--rehearsal",),
        script: Path | None = None,
        traits: dict[str, object] | None = None,
        **settings: object,
    ) -> AbstractContextManager[Kernel]:
        place = tmp_path_factory.mktemp("sandboxed")
        folder = place / "work"
        folder.mkdir()
        folder.chmod(0o755)
        chosen = {"image": sandbox_image, **settings}
        told = {f"FAMILIAR_SANDBOX_{name.upper()}": str(value) for name, value in chosen.items()}
        return running_kernel(
            place / "home",
            folder=folder,
            script=script,
            arguments=(*arguments, "--sandboxed"),
            env={**podman.variables, **told, **(env or {})},
            **(traits or {}),
        )

    return start
