"""The lab's image, built once by each engine, and labs that run."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.engines import Engine, locked
from sandbox.podman import BASE, ROOT

NAME = "localhost/familiar-test-lab"
WORK = "/home/jovyan/work"
PODMAN_MAY = (
    "--cap-drop=all",
    "--cap-add=SETUID",
    "--cap-add=SETGID",
    "--security-opt=seccomp=unconfined",
)
"""What rootless podman in a lab needs. Nothing of it is SYS_ADMIN."""
SERVE_TIMEOUT = 90.0
"""Seconds that a lab has until JupyterLab serves."""
HOST_OF_AN_INDEX = "an-index-of-ones-own.invalid"
AUTHORITY = "an authority of one's own, which no image is to keep"
"""What every build is told as a secret. The tests look for both in what was built."""

_CONTEXT = (
    "LICENSE", "README.md", "constraints.txt", "containers/lab", "containers/sandbox",
    "deploy/git-hooks", "examples", "kernel", "kernelspecs", "pyproject.toml",
)  # fmt: skip


def unmasked(engine: Engine) -> str:
    """Return the option that shows a container all of /proc."""
    return "--security-opt=" + (
        "unmask=ALL" if engine.kind == "podman" else "systempaths=unconfined"
    )


def built(engine: Engine, podman: Engine, scratch: Path, shared: Path) -> Image:
    """Return the image that an engine has built from this checkout, as that was at first.

    Args:
        engine: the engine.
        podman: the one that has the base.
        scratch: a folder for what the build is told.
        shared: a folder that all workers of these tests have.
    """
    with (shared / "lab-image").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        name = file.read()
        if not name:
            base = podman.run("image", "inspect", "--format={{.Id}}", BASE).stdout
            name = f"{NAME}:{made_from(base, _CONTEXT)}"
            file.write(name)
    with locked(f"lab-{engine.kind}"):
        if engine.has_image(name):
            return Image(engine, name)
        give_base(engine, podman)
        before, unnamed = _images(engine, NAME), _images(engine, "--filter=dangling=true")
        _build(engine, name, scratch)
        # What only this build needed, and what was made from earlier states of the checkout; but
        # for the newest, which other tests may be using.
        left = [i for i in _images(engine, "--filter=dangling=true") if i not in unnamed]
        for image in left + before[1:]:
            engine.run("rmi", "--force", image, check=False)
        if engine.kind == "docker":
            engine.run("builder", "prune", "--force", "--keep-storage=6gb")
        return Image(engine, name)


def give_base(engine: Engine, podman: Engine) -> None:
    """Give an engine the base of the tests' images, which podman has."""
    if not engine.has_image(BASE):
        pipe = f'"{podman.program}" save --quiet {BASE} | "{engine.program}" load --quiet'
        both = {**podman.environment, **engine.environment}
        subprocess.run(["bash", "-eo", "pipefail", "-c", pipe], env=both, check=True)


def _images(engine: Engine, which: str) -> list[str]:
    """Return the ids of some images, the newest first."""
    return engine.run("images", "--quiet", which).stdout.split()


def _build(engine: Engine, name: str, scratch: Path) -> None:
    trusted = Path(os.environ.get("PIP_CERT") or "/etc/ssl/certs/ca-certificates.crt")
    authorities = scratch / "authorities.pem"
    authorities.write_text(f"# {AUTHORITY}\n{trusted.read_text(encoding='utf-8')}")
    command = [
        sys.executable, str(ROOT / "containers/build.py"), "lab", f"--runtime={engine.program}",
        f"--base={BASE}", "--network=host", f"--tag={name}",
    ]  # fmt: skip
    told = {"PIP_CERT": str(authorities), "PIP_TRUSTED_HOST": HOST_OF_AN_INDEX}
    log = scratch / "build.log"
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            env={**engine.environment, **told},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert done.returncode == 0, log.read_text(errors="replace")[-4000:]


def made_from(base: str, places: Sequence[str]) -> str:
    """Return a name for what an image is made from.

    Args:
        base: the identity of its base.
        places: files and folders of the checkout.
    """
    digest = hashlib.sha256(base.encode())
    for name in places:
        place = ROOT / name
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\0{file.stat().st_mode & 0o111}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class RunningLab:
    """A container of the image, which serves.

    Attributes:
        engine: what runs it.
        id: the container's.
        url: where JupyterLab serves.
        token: what it asks for.
    """

    engine: Engine
    id: str
    url: str
    token: str

    def run(self, code: str, given: str = "", check: bool = True, timeout: float = 120) -> str:
        """Run a line of bash in it, and return what that wrote."""
        done = self.engine.run(
            "exec", "--interactive", self.id, "bash", "-c", code,
            given=given, check=check, timeout=timeout,
        )  # fmt: skip
        return (done.stdout + ("" if check else done.stderr)).strip()

    def log(self) -> str:
        """Return what it wrote so far."""
        done = self.engine.run("logs", self.id)
        return done.stdout + done.stderr

    def status(self, place: str, token: str = "") -> int:
        """Return how its server answers a request."""
        headers = {"Authorization": f"token {token}"} if token else {}
        request = urllib.request.Request(f"{self.url}/{place}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as err:
            return err.code


@dataclass(frozen=True)
class Image:
    """The lab's image as one engine has built it: how to run it.

    Attributes:
        engine: what runs it.
        name: the image's.
    """

    engine: Engine
    name: str

    @property
    def tag(self) -> str:
        return self.name.rpartition(":")[2]

    @contextlib.contextmanager
    def running(
        self,
        *options: str,
        volume: str = "",
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> Iterator[RunningLab]:
        """Run a lab for the time of a ``with`` block.

        Args:
            options: more options of the engine's ``run``.
            volume: what is mounted as the work directory.
            env: variables of the lab.
            arguments: of start-lab.
        """
        port, token = free_port(), secrets.token_hex(16)
        variables = {
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "FAMILIAR_LAB_IP": "127.0.0.1",
            "FAMILIAR_LAB_PORT": str(port),
            "JUPYTER_TOKEN": token,
            **(env or {}),
        }
        given = [f"--volume={volume}:{WORK}"] if volume else []
        # By name only: a value would stand in the engine's arguments.
        given += [f"--env={name}" for name in variables]
        command = (
            "run",
            "--detach",
            "--pull=never",
            "--network=host",
            *given,
            *options,
            self.name,
            *arguments,
        )
        identity = self.engine.run(*command, variables=variables).stdout.strip()
        lab = RunningLab(self.engine, identity, f"http://127.0.0.1:{port}", token)
        try:
            _wait_for(lab)
            yield lab
        finally:
            self.engine.run("rm", "--force", "--volumes", identity, check=False)

    def once(
        self,
        *arguments: str,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a lab that does one thing and ends, and return what it wrote.

        Args:
            arguments: of start-lab.
            options: of the engine's ``run``.
            env: variables of the lab.
            check: whether it is to end well.
        """
        told = [f"--env={name}" for name in env or {}]
        command = (
            "run",
            "--rm",
            "--pull=never",
            "--network=host",
            *told,
            *options,
            self.name,
            *arguments,
        )
        return self.engine.run(*command, check=check, variables=env)


def _wait_for(lab: RunningLab) -> None:
    deadline = time.monotonic() + SERVE_TIMEOUT
    while True:
        with contextlib.suppress(OSError):
            if lab.status("api") == 200:
                return
        state = lab.engine.run("inspect", "--format={{.State.Running}}", lab.id).stdout.strip()
        assert state == "true", lab.log()[-4000:]
        assert time.monotonic() < deadline, lab.log()[-4000:]
        time.sleep(0.2)


def free_port() -> int:
    """Return a port of loopback that nobody uses just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
