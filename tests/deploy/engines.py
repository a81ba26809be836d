"""Two engines that build and run containers: the tests' podman, and a Docker Engine of their own.

The Engine is started here, with its own data, socket and processes, and ended with the tests. Its
data stay in ~/.cache/familiar-test, beside podman's, so that a second run finds what the first
one built.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from needs import need
from sandbox.podman import Podman

PLACE = Path(pwd.getpwuid(os.geteuid()).pw_dir, ".cache", "familiar-test")
START_TIMEOUT = 60.0
"""Seconds that an Engine has until it answers."""


@dataclass(frozen=True)
class Engine:
    """An engine, as the tests use it.

    Attributes:
        kind: ``podman`` or ``docker``.
        program: the path of its command.
        variables: what must be in the environment of whatever runs it.
    """

    kind: str
    program: str
    variables: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of whatever runs it, with the home of whoever runs the tests: there are
        the settings of pip."""
        return {**os.environ, **self.variables, "HOME": str(PLACE.parents[1])}

    def run(
        self,
        *arguments: str,
        check: bool = True,
        timeout: float = 120,
        given: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run it and return what it wrote.

        Args:
            arguments: the engine's.
            check: whether it is to succeed.
            timeout: seconds that it has.
            given: what it reads.
            variables: more of its environment.
        """
        done = subprocess.run(
            [self.program, *arguments],
            env={**self.environment, **(variables or {})},
            input=given or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def has_image(self, name: str) -> bool:
        return self.run("image", "inspect", name, check=False).returncode == 0


def of_podman(podman: Podman) -> Engine:
    """Return the tests' podman."""
    found = shutil.which(podman.executable)
    assert found
    return Engine("podman", found, podman.variables)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep other workers, and other runs of the tests, out of something that all share."""
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / f"{name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _programs() -> tuple[str, str]:
    """Return dockerd and the docker that came with it."""
    daemon = need("dockerd")
    # Another docker may stand before it on PATH, one without a builder.
    beside = shutil.which("docker", path="/usr/bin") or shutil.which("docker")
    assert beside, "there is a dockerd, and no docker"
    return daemon, beside


def _sudo() -> list[str]:
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


@contextlib.contextmanager
def running_docker(folder: Path) -> Iterator[Engine]:
    """Run a Docker Engine for the time of a ``with`` block; workers share one.

    Args:
        folder: for its socket, log and state, with a short name; the same for all workers.
    """
    if sys.platform != "linux":
        pytest.skip("a Docker Engine of the tests' own needs Linux")
    daemon, program = _programs()
    folder.mkdir(exist_ok=True)
    host = {"DOCKER_HOST": f"unix://{folder}/socket", "DOCKER_BUILDKIT": "1"}
    engine = Engine("docker", program, host)
    # Whoever uses it holds a lock with all others; whoever can have that alone is the last one.
    with (folder / "door").open("a") as door, (folder / "users").open("a") as users:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if engine.run("info", check=False).returncode != 0:
            _start(daemon, engine, folder)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield engine
        finally:
            fcntl.flock(door, fcntl.LOCK_EX)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _stop(folder)


def _start(daemon: str, engine: Engine, folder: Path) -> None:
    command = [
        *_sudo(),
        daemon,
        f"--host={engine.variables['DOCKER_HOST']}",
        f"--group={os.getegid()}",
        f"--data-root={PLACE / 'docker'}",
        f"--exec-root={folder / 'state'}",
        f"--pidfile={folder / 'pid'}",
        # It touches neither the machine's firewall nor its networks: what it runs has the
        # machine's own, or none.
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
    ]
    PLACE.mkdir(parents=True, exist_ok=True)
    # The lock goes on to the Engine, and ends with it: another run of the tests, which would use
    # the same data, waits here.
    with (PLACE / "docker.lock").open("a") as lock, (folder / "log").open("wb") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            command,
            env=engine.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
    deadline = time.monotonic() + START_TIMEOUT
    while engine.run("info", check=False).returncode != 0:
        told = (folder / "log").read_text(errors="replace")[-3000:]
        assert process.poll() is None, told
        assert time.monotonic() < deadline, told
        time.sleep(0.2)


def _stop(folder: Path) -> None:
    pid = int((folder / "pid").read_text())
    subprocess.run([*_sudo(), "kill", str(pid)], check=True)
    deadline = time.monotonic() + 60
    while not _ended(pid):
        assert time.monotonic() < deadline, (folder / "log").read_text(errors="replace")[-3000:]
        time.sleep(0.1)
    # It leaves the name of a network's namespace mounted.
    for name in (folder / "state" / "netns").glob("*"):
        subprocess.run([*_sudo(), "umount", str(name)], check=True)


def _ended(pid: int) -> bool:
    """Whether a process has ended, also where it is another worker's child, who has not looked."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
