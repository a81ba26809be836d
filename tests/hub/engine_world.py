"""The platform on a real Docker Engine: our hub, the filter before the socket, and labs.

The hub and the filter are processes of their own, set up by their environment as a deployment does
it; only the labs' image is a small one.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import requests

from deploy.engines import Engine, locked
from deploy.labs import give_base
from familiar_hub import spawning
from familiar_hub.settings import Settings
from hub import core_hub
from hub.pages_hub import PATIENCE
from hub.socket_fixtures import Proxied, running_proxy
from sandbox.podman import BASE

IMAGE = "localhost/familiar-test-engine-lab:latest"
_LAB = Path(__file__).with_name("engine_lab.py")
_CONTAINERFILE = f"""FROM {BASE}
RUN mkdir -p /home/jovyan/work /home/jovyan/.cache /home/jovyan/shared /data \\
 && echo skeleton > /home/jovyan/skeleton && chown -R 1000:1000 /home/jovyan /data
COPY engine_lab.py /lab.py
COPY --chmod=0755 nvidia-smi /usr/local/bin/nvidia-smi
USER 1000:1000
STOPSIGNAL SIGINT
"""
_MORE = """
c.JupyterHub.spawner_class = "familiar_hub.spawner.LabSpawner"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = {gateway!r}
c.LabSpawner.cmd = ["python3", "/lab.py"]
c.LabSpawner.poll_interval = 1
c.JupyterHub.services = [{{"name": "tests", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [
    {{
        "name": "tests",
        "services": ["tests"],
        "scopes": ["admin:users", "admin:servers", "admin:groups", "tokens"],
    }}
]
"""


@dataclass
class World:
    """A platform, whose hub may be started anew.

    Attributes:
        engine: the Engine.
        filter: the proxy before its socket.
        prefix: of the names of all that this hub makes there.
        gateway: where labs reach the hub.
        folder: what the hub keeps.
        variables: the hub's settings.
    """

    engine: Engine
    filter: Proxied
    prefix: str
    gateway: str
    folder: Path
    variables: dict[str, str]
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    _hub: core_hub.Hub | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    # -- the hub -----------------------------------------------------------------------------------

    @property
    def hub(self) -> core_hub.Hub:
        assert self._hub, "the hub is not up"
        return self._hub

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(core_hub.environment(self.folder, **self.variables))

    def up(self, python: str = sys.executable) -> None:
        """Start the hub, with what it kept; this JupyterHub or another."""
        more = _MORE.format(gateway=self.gateway, token=self.token)
        self._hub = self._stack.enter_context(
            core_hub.running_hub(self.folder, python, more=more, **self.variables)
        )

    def down(self) -> None:
        """End the hub."""
        self._stack.close()
        self._hub = None

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> tuple[int, Any]:
        """Ask the hub's API, with everybody's rights by default; return status and answer."""
        answer = requests.request(
            method,
            f"{self.hub.url}api/{path}",
            json=body,
            headers={"Authorization": f"token {token or self.token}"},
            timeout=PATIENCE,
        )
        return answer.status_code, json.loads(answer.text) if answer.text else None

    def wait_for(self, true: Callable[[], Any], seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.hub.log[-4000:]
            time.sleep(0.05)

    # -- people and labs ---------------------------------------------------------------------------

    def add(self, person: str, *groups: str) -> str:
        """Make a person unless there is one, put them into groups; return a token of theirs."""
        assert self.ask("POST", f"users/{quote(person, safe='')}")[0] in (201, 409)
        for group in groups:
            assert self.ask("POST", f"groups/{group}/users", {"users": [person]})[0] == 200
        status, told = self.ask("POST", f"users/{quote(person, safe='')}/tokens", {})
        assert status == 201, told
        return str(told["token"])

    def begin(self, person: str, server: str = "") -> tuple[int, Any]:
        """Ask for a lab of a person's, and do not wait."""
        where = f"servers/{server}" if server else "server"
        return self.ask("POST", f"users/{quote(person, safe='')}/{where}")

    def start(self, person: str, server: str = "") -> None:
        """Start a lab of a person's, and wait until it is ready."""
        status, told = self.begin(person, server)
        assert status in (201, 202), told
        self.wait_for(lambda: self.server(person, server).get("ready"))

    def stop(self, person: str, server: str = "") -> None:
        where = f"servers/{server}" if server else "server"
        assert self.ask("DELETE", f"users/{quote(person, safe='')}/{where}")[0] in (202, 204)
        self.wait_for(lambda: not self.server(person, server))

    def server(self, person: str, server: str = "") -> dict[str, Any]:
        """Return what the hub knows of a lab that runs; nothing of one that does not."""
        status, known = self.ask("GET", f"users/{quote(person, safe='')}")
        assert status == 200, known
        return dict(known["servers"].get(server, {}))

    def visit(self, person: str, server: str = "") -> dict[str, Any]:
        """Return what a lab says of itself, asked through the hub's proxy."""
        root = self.hub.url.removesuffix("/hub/")
        url = f"{root}{self.server(person, server)['url']}api"
        answer = requests.get(url, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text[:500]
        return dict(answer.json())

    # -- the Engine --------------------------------------------------------------------------------

    def container(self, person: str, server: str = "") -> str:
        return spawning.container_name(self.settings, person, server)

    def volumes(self, person: str) -> dict[str, str]:
        return spawning.volume_names(self.settings, person)

    def inspect(self, name: str) -> dict[str, Any]:
        [found] = json.loads(self.engine.run("inspect", name).stdout)
        return dict(found)

    def there(self, kind: str, name: str) -> bool:
        """Whether the Engine has a container, volume or network of this name."""
        return self.engine.run(kind, "inspect", name, check=False).returncode == 0

    def inside(self, person: str, *command: str, server: str = "", given: str = "") -> str:
        """Run a command in a lab and return what it wrote."""
        name = self.container(person, server)
        return self.engine.run("exec", "-i", name, *command, given=given).stdout.strip()


def _image(engine: Engine, podman: Engine, scratch: Path) -> None:
    with locked("hub-lab"):
        give_base(engine, podman)
        (scratch / _LAB.name).write_bytes(_LAB.read_bytes())
        (scratch / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: of the tests'\n")
        (scratch / "Containerfile").write_text(_CONTAINERFILE)
        engine.run("build", "--quiet", f"--file={scratch / 'Containerfile'}", f"--tag={IMAGE}",
                   "--network=none", str(scratch), timeout=300)  # fmt: skip


@contextlib.contextmanager
def running_world(
    engine: Engine, podman: Engine, folder: Path, **variables: str
) -> Iterator[World]:
    """Set a platform up for the time of a ``with`` block; its hub is not up yet.

    Args:
        engine: the Docker Engine.
        podman: the one that has the base of the labs' image.
        folder: for all that it writes, with a short name.
        variables: of the hub, and of the filter.
    """
    for name in ("image", "hub"):
        (folder / name).mkdir()
    _image(engine, podman, folder / "image")
    prefix = f"t{uuid4().hex[:8]}"
    engine.run("network", "create", "--driver=bridge", prefix)
    try:
        gateway = json.loads(engine.run("network", "inspect", prefix).stdout)[0]["IPAM"]["Config"]
        told = {
            "DOCKER_NOTEBOOK_IMAGE": IMAGE,
            "DOCKER_NETWORK_NAME": prefix,
            **variables,
        }
        given = {**told, "SOCKET_PREFIX": f"{prefix}-", "SOCKET_SHARED_VOLUME": f"{prefix}--shared"}
        with running_proxy(engine, folder, **given) as proxied:
            hub = {
                "DOCKER_HOST": f"unix://{proxied.socket('hub')}",
                "SOCKET_PEOPLE_ON_HOST": proxied.variables["SOCKET_PEOPLE_ON_HOST"],
                "FAMILIAR_HUB_PREFIX": prefix,
                "FAMILIAR_HUB_MEMORY": "256M",
                "FAMILIAR_HUB_IDLE_MINUTES": "0",
                **told,
            }
            world = World(engine, proxied, prefix, gateway[0]["Gateway"], folder / "hub", hub)
            try:
                yield world
            finally:
                world.down()
    finally:
        _cleared(engine, prefix)


def _cleared(engine: Engine, prefix: str) -> None:
    """Remove all that a world has made: names that hold its prefix."""
    if found := engine.run("ps", "--all", "--quiet", f"--filter=name={prefix}").stdout.split():
        engine.run("rm", "--force", "--volumes", *found)
    if kept := engine.run("volume", "ls", "--quiet", f"--filter=name={prefix}").stdout.split():
        engine.run("volume", "rm", "--force", *kept)
    engine.run("network", "rm", prefix)
