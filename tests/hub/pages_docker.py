"""A hub whose labs are containers of the tests' own Docker Engine, with volumes."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from deploy.engines import Engine, locked
from deploy.labs import give_base
from hub.pages_hub import LAB, PATIENCE, Hub, running_hub
from sandbox.podman import BASE

IMAGE = "localhost/familiar-test-hub-lab:latest"
KINDS = ("home", "workspace", "cache")
_CONTAINERFILE = f"""FROM {BASE}
COPY pages_lab.py start /
STOPSIGNAL SIGINT
"""
_START = "test -e /tmp/broken && exit 3\nexec python3 /pages_lab.py\n"
_MORE = """
from dockerspawner import DockerSpawner

KINDS = {kinds!r}


class Lab(DockerSpawner):
    def volume_names(self):
        return {{
            kind: self.format_volume_name(f"{prefix}-{{{{username}}}}-{{kind}}", self)
            for kind in KINDS
        }}


c.JupyterHub.spawner_class = Lab
c.DockerSpawner.image = {image!r}
c.DockerSpawner.prefix = {prefix!r}
c.DockerSpawner.network_name = {prefix!r}
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.extra_host_config = {{"auto_remove": {fleeting}}}
c.DockerSpawner.cmd = ["sh", "/start"]
c.DockerSpawner.volumes = {{f"{prefix}-{{{{username}}}}-{{kind}}": f"/{{kind}}" for kind in KINDS}}
c.DockerSpawner.environment = {{"LAB_FOLDER": "/home", "LAB_NAME": "lab", "LAB_IP": "0.0.0.0"}}
c.JupyterHub.hub_ip = {gateway!r}
c.JupyterHub.tornado_settings = handlers.tornado_settings(folder, restart_limit={limit})
"""


@dataclass
class Docks:
    """A hub and its Engine.

    Attributes:
        hub: the hub.
        engine: the Engine.
        prefix: of the names of all that this hub makes there.
    """

    hub: Hub
    engine: Engine
    prefix: str

    def volume(self, person: str, kind: str) -> str:
        return f"{self.prefix}-{person}-{kind}"

    def container(self, person: str, server: str = "") -> str:
        return f"{self.prefix}-{person}" + (f"--{server}" if server else "")

    def inspect(self, name: str) -> dict[str, Any]:
        [found] = json.loads(self.engine.run("inspect", name).stdout)
        return dict(found)

    def address(self, person: str) -> str:
        networks = self.inspect(self.container(person))["NetworkSettings"]["Networks"]
        return str(networks[self.prefix]["IPAddress"])

    def inside(self, person: str, code: str, server: str = "") -> str:
        """Run a line of sh in a lab and return what it wrote."""
        return self.engine.run(
            "exec", self.container(person, server), "sh", "-c", code
        ).stdout.strip()

    def reset(self, person: str, kind: str, confirm: object = None) -> tuple[int, str]:
        """Ask for a volume to be reset, as its person; with its right name by default."""
        body = {"confirm": self.volume(person, kind) if confirm is None else confirm}
        answer = self.hub.ask(
            "POST", f"api/users/{person}/volumes/{kind}/reset", body, token=self.hub.person(person)
        )
        return answer.status, answer.data.get("message", "")

    def restart(self, person: str) -> dict[str, Any]:
        """Restart a person's server, and return how that ended."""
        path = f"api/users/{person}/server/restart"
        token = self.hub.person(person)
        begun = self.hub.ask("POST", path, token=token)
        assert begun.status == 202, begun
        assert begun.data["outcome"] == "under way"

        def state() -> dict[str, Any]:
            return dict(self.hub.ask("GET", path, token=token).data)

        deadline = time.monotonic() + 2 * PATIENCE
        while (now := state())["outcome"] == "under way":
            assert time.monotonic() < deadline, now
            time.sleep(0.05)
        return now


def _image(engine: Engine, podman: Engine, scratch: Path) -> None:
    with locked("hub-lab"):
        give_base(engine, podman)
        (scratch / "pages_lab.py").write_bytes(LAB.read_bytes())
        (scratch / "start").write_text(_START)
        (scratch / "Containerfile").write_text(_CONTAINERFILE)
        engine.run("build", "--quiet", f"--file={scratch / 'Containerfile'}", f"--tag={IMAGE}",
                   str(scratch), timeout=300)  # fmt: skip


@contextlib.contextmanager
def running_docks(
    engine: Engine,
    podman: Engine,
    folder: Path,
    python: str = sys.executable,
    *,
    limit: float = 30.0,
    fleeting: bool = False,
) -> Iterator[Docks]:
    """Run a hub with containers for the time of a ``with`` block.

    Args:
        engine: the Docker Engine.
        podman: the one that has the base of the labs' image.
        folder: for all that the hub writes.
        python: whose JupyterHub it is.
        limit: seconds that a restart may take.
        fleeting: whether the Engine removes containers as soon as they end.
    """
    scratch = folder / "image"
    scratch.mkdir(parents=True)
    _image(engine, podman, scratch)
    prefix = f"familiar-test-{uuid4().hex[:8]}"
    # Of its own, and not to be seen from outside: labs and hub reach each other over its bridge.
    engine.run("network", "create", "--driver=bridge", prefix)
    try:
        [network] = json.loads(engine.run("network", "inspect", prefix).stdout)
        gateway = network["IPAM"]["Config"][0]["Gateway"]
        more = _MORE.format(
            kinds=KINDS,
            image=IMAGE,
            prefix=prefix,
            gateway=gateway,
            limit=limit,
            fleeting=fleeting,
        ) + "\n".join(
            f"os.environ[{name!r}] = {value!r}" for name, value in engine.variables.items()
        )
        with running_hub(folder / "hub", python, more=more) as hub:
            yield Docks(hub, engine, prefix)
    finally:
        own = ("--all", "--quiet", f"--filter=name={prefix}")
        if found := engine.run("ps", *own).stdout.split():
            engine.run("rm", "--force", "--volumes", *found)
        if kept := engine.run("volume", "ls", "--quiet", f"--filter=name={prefix}").stdout.split():
            engine.run("volume", "rm", "--force", *kept)
        engine.run("network", "rm", prefix)
