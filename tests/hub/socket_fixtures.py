"""A running socket proxy before the tests' own Docker Engine, and clients of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.engines import Engine, locked, of_podman, running_docker
from deploy.labs import give_base
from familiar_hub.socket_rules import IMAGE_OWNER, OWNER
from hub.socket_attacks import (
    IMAGE,
    LAB,
    NETWORK,
    OPTIONS_VOLUME,
    OTHERS,
    OUTSIDE,
    OUTSIDE_VOLUME,
    PREFIX,
)
from sandbox.podman import BASE, Podman

VERSION = "/v1.41"
START = 20.0
"""Seconds until a proxy listens."""
LIMITS = {
    "SOCKET_PERSON_MEMORY": "256m",
    "SOCKET_PERSON_CPUS": "1.5",
    "SOCKET_PERSON_PIDS": "64",
    "SOCKET_PERSON_CONTAINERS": "4",
    "SOCKET_PERSON_VOLUMES": "3",
    "SOCKET_PERSON_NETWORKS": "2",
    "SOCKET_PERSON_CONTEXT": "4m",
}


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


def ask(
    path: Path, method: str, target: str, body: Any = None, kind: str = "application/json"
) -> tuple[int, Any]:
    """Send one request to a unix socket; return the status and the answer, from JSON if it is.

    Args:
        path: the socket.
        method: of the request.
        target: as it is sent.
        body: bytes, or something for JSON; None for none.
        kind: the body's content type.
    """
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection = _Unix(path)
    try:
        headers = {"Content-Type": kind} if data is not None else {}
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if data is not None or method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(len(data or b"")))
        # A proxy that has seen enough answers, and reads no further.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(data)
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    try:
        return answer.status, json.loads(raw) if raw else None
    except ValueError:
        return answer.status, raw


def exchange(path: Path, data: bytes, end: bool = True, wait: float = 10.0) -> bytes:
    """Send bytes to a unix socket and return all that comes back until it is closed.

    Args:
        path: the socket.
        data: what is sent.
        end: whether the sending side is closed after it.
        wait: seconds for which nothing may come.
    """
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(wait)
        raw.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            raw.sendall(data)
            if end:
                raw.shutdown(socket.SHUT_WR)
        found = b""
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            while piece := raw.recv(65536):
                found += piece
        return found


@dataclass
class Proxied:
    """A proxy that runs.

    Attributes:
        engine: behind it.
        folder: its sockets.
        log: its audit log.
        process: the proxy.
        variables: of its environment.
    """

    engine: Engine
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]
    variables: dict[str, str]
    opened: set[str] = field(default_factory=set)

    @property
    def raw(self) -> Path:
        return Path(self.engine.variables["DOCKER_HOST"].removeprefix("unix://"))

    def socket(self, who: str) -> Path:
        """Return the socket of the hub, or of a person, which is opened where it is not."""
        if who == "hub":
            return self.folder / "hub" / "docker.sock"
        if who not in self.opened:
            status, told = self.ask("hub", "PUT", f"/familiar/people/{who}", version="")
            assert (status, told) == (200, {"person": who, "open": True})
            self.opened.add(who)
        return self.folder / "people" / who / "docker.sock"

    def ask(
        self, who: str, method: str, target: str, body: Any = None, version: str = VERSION
    ) -> tuple[int, Any]:
        path = self.raw if who == "raw" else self.socket(who)
        return ask(path, method, version + target, body)

    def docker(
        self, who: str, *arguments: str, given: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run docker as somebody, without what its owner has set up."""
        variables = {
            "DOCKER_HOST": f"unix://{self.socket(who)}",
            "DOCKER_CONFIG": str(self.folder / "no-config"),
            "DOCKER_BUILDKIT": "",
        }
        return self.engine.run(*arguments, given=given, check=check, variables=variables)

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def start(self) -> None:
        self.process = _started(self.folder, self.log, self.variables)


def _started(folder: Path, log: Path, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as out, (log.parent / "errors").open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "familiar_hub.socket_proxy"],
            env={**os.environ, **variables},
            stdout=out,
            stderr=errors,
        )
    deadline = time.monotonic() + START
    while True:
        try:
            if ask(folder / "hub" / "docker.sock", "GET", "/familiar/people")[0] == 200:
                return process
        except OSError:
            assert process.poll() is None, (log.parent / "errors").read_text()
            assert time.monotonic() < deadline, "the proxy does not listen"
            time.sleep(0.05)


@contextlib.contextmanager
def running_proxy(engine: Engine, folder: Path, **more: str) -> Iterator[Proxied]:
    """Run a proxy before an Engine.

    Args:
        engine: a Docker Engine.
        folder: for its sockets, with a short name.
        more: of its environment.
    """
    sockets = folder / "s"
    sockets.mkdir()
    variables = {
        "DOCKER_SOCKET": engine.variables["DOCKER_HOST"].removeprefix("unix://"),
        "SOCKET_FOLDER": str(sockets),
        "SOCKET_PEOPLE_ON_HOST": str(sockets / "people"),
        "DOCKER_NOTEBOOK_IMAGE": IMAGE,
        "DOCKER_NETWORK_NAME": NETWORK,
        "SOCKET_PREFIX": PREFIX,
        "SOCKET_SHARED_VOLUME": "familiar-test-shared",
        "SOCKET_KEPT_IMAGES": "familiar-hub:1",
        **LIMITS,
        **more,
    }
    log = folder / "audit"
    process = _started(sockets, log, variables)
    proxied = Proxied(engine, sockets, log, process, variables)
    try:
        yield proxied
    finally:
        if proxied.process.poll() is None:
            proxied.stop()


def prepare(engine: Engine, podman: Engine) -> None:
    """Give an Engine the lab's image of these tests, and what clients must not reach."""
    with locked("hub-lab"):
        give_base(engine, podman)
        engine.run("tag", BASE, IMAGE)


SLEEP = ["python3", "-c", "import time; time.sleep(600)"]
SHARED = "familiar-test-shared"
PEOPLE = ("alice", "bob", "carol", "dora", "eve", "frank", "gone")
"""The people of these tests; those of other tests have other names."""
OURS = (
    *(f"person_{name}_" for name in PEOPLE),
    PREFIX, OUTSIDE, "familiar-test-attack", "familiar-test-other", NETWORK, SHARED,
)  # fmt: skip
"""How the names begin of what these tests make. Other tests use the Engine at the same time."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, podman: Podman) -> Iterator[Engine]:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    # What attacks leave, and what they must not touch, has fixed names: one module at a time.
    with running_docker(shared / "docker") as engine, locked("hub-socket"):
        prepare(engine, of_podman(podman))
        _sweep(engine)
        yield engine
        _sweep(engine)


def _sweep(engine: Engine) -> None:
    """Remove what these tests make."""
    rows = {
        "container": ("ps", "--all", "--format={{.Names}}"),
        "volume": ("volume", "ls", "--quiet"),
        "network": ("network", "ls", "--format={{.Name}}"),
    }
    for kind, command in rows.items():
        found = engine.run(*command).stdout.split()
        mine = [name for name in found if name.startswith(OURS)]
        if kind == "container":
            for name in PEOPLE:
                label = f"--filter=label={OWNER}=person/{name}"
                mine += engine.run("ps", "--all", "--quiet", label).stdout.split()
        if mine:
            force = () if kind == "network" else ("--force",)
            engine.run(kind, "rm", *force, *mine, check=False)
    for name in PEOPLE:
        label = f"--filter=label={IMAGE_OWNER}=person/{name}"
        engine.run("image", "prune", "--force", label)


@pytest.fixture(scope="module")
def proxied(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with running_proxy(engine, tmp_path_factory.mktemp("p")) as proxied:
        engine.run("network", "create", NETWORK)
        yield proxied


@pytest.fixture(scope="module")
def victims(proxied: Proxied) -> None:
    """What no attack may reach: a lab, another person's container, and what an operator has."""
    engine = proxied.engine
    engine.run("volume", "create", OUTSIDE_VOLUME)
    engine.run("run", "--detach", "--network=none", f"--name={OUTSIDE}", IMAGE, *SLEEP)
    for name in OPTIONS_VOLUME.values():
        options = ("--opt=type=none", "--opt=o=bind", "--opt=device=/tmp")
        engine.run("volume", "create", *options, name)
    made(proxied, "hub", LAB, start=True)
    made(proxied, "bob", OTHERS, start=True)


def made(proxied: Proxied, who: str, name: str = "", start: bool = False, **host: Any) -> str:
    """Make a container as somebody, and return its ID."""
    body = {"Image": IMAGE, "Cmd": SLEEP, "HostConfig": {"NetworkMode": "none", **host}}
    query = f"?name={name}" if name else ""
    status, told = proxied.ask(who, "POST", f"/containers/create{query}", body)
    assert status == 201, told
    if start:
        assert proxied.ask(who, "POST", f"/containers/{told['Id']}/start")[0] == 204
    return str(told["Id"])


def removed(proxied: Proxied, *containers: str) -> None:
    for container in containers:
        proxied.ask("raw", "DELETE", f"/containers/{container}?force=1&v=1")
