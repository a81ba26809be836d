"""The doors of a hub's tools as they run in their containers, before a tool of the tests' own.

Run as a program, it is one door; the rest starts some beside a real hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests

from hub.core_hub import Hub, running_hub
from hub.pages_hub import PATIENCE, ROOT
from needs import need

TOOLS = ROOT / "containers" / "tools"
STAND_IN = Path(__file__).with_name("tools_stand_in.py")
NAMES = ("mlflow", "glances", "tensorboard")
# A service's name is its host's name in a deployment; here all are on loopback.
_CONFIG = """
doors = {ports!r}
for service in c.JupyterHub.services:
    if service["name"] in doors:
        service["url"] = "http://127.0.0.1:%d" % doors[service["name"]]
c.Proxy.extra_routes = {{
    route: "http://127.0.0.1:%d" % doors[target.split("//")[1].split(":")[0]]
    for route, target in (c.Proxy.get("extra_routes") or {{}}).items()
}}
"""


@dataclass
class Door:
    """One door that runs.

    Attributes:
        url: where it is below the hub's address, with a slash at the end.
        direct: where it listens itself.
        token: what it and the hub share.
        process: the door's; the tool is its child.
        log_file: what both write.
    """

    name: str
    url: str
    direct: str
    token: str
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")


@dataclass
class Platform:
    """A hub and its tools' doors."""

    hub: Hub
    doors: dict[str, Door]


@contextlib.contextmanager
def running_platform(
    folder: Path, python: str = sys.executable, **variables: str
) -> Iterator[Platform]:
    """Run a hub and the doors of all tools for the time of a ``with`` block.

    Args:
        folder: for all that they write.
        python: whose JupyterHub the hub is; the doors' is that of the tests.
        variables: the hub's settings.
    """
    need("jupyter_server_proxy")
    ports = {name: _port() for name in NAMES}
    tokens = {name: secrets.token_hex(32) for name in NAMES}
    told: dict[str, str] = {}
    for name, token in tokens.items():
        file = folder / f"{name}_token"
        file.write_text(token + "\n")
        file.chmod(0o600)
        told[f"ENABLE_SERVICE_{name.upper()}"] = "1"
        told[f"FAMILIAR_HUB_{name.upper()}_TOKEN_FILE"] = str(file)
    with contextlib.ExitStack() as stack:
        more = _CONFIG.format(ports=ports)
        given: dict[str, Any] = {**told, **variables}
        hub = stack.enter_context(running_hub(folder, python, more=more, **given))
        doors = {
            name: stack.enter_context(_running_door(folder, name, ports[name], hub, variables))
            for name in NAMES
        }
        for door in doors.values():
            door.token = tokens[door.name]
            hub.wait_for(partial(_well, door))
        yield Platform(hub, doors)


@contextlib.contextmanager
def _running_door(
    folder: Path, name: str, port: int, hub: Hub, variables: dict[str, str]
) -> Iterator[Door]:
    base = variables.get("JUPYTERHUB_BASE_URL", "/")
    origin = hub.url.removesuffix(f"{base}hub/")
    log_file = folder / f"{name}.log"
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, str(port), str(_port())],
            env={
                **kept,
                "PYTHONPATH": os.pathsep.join((str(TOOLS), str(ROOT / "tests"))),
                "FAMILIAR_TOOL": name,
                "FAMILIAR_TOOL_TOKEN_FILE": str(folder / f"{name}_token"),
                # The hub's own port is not known here; its proxy leads to the same.
                "FAMILIAR_HUB_HOST": origin.removeprefix("http://"),
                **{key: value for key, value in variables.items() if "TOKEN" not in key},
                "A_SECRET_OF_THE_DOOR": "never for the tool",
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    door = Door(
        name, f"{origin}{base}services/{name}/", f"http://127.0.0.1:{port}", "", process, log_file
    )
    try:
        yield door
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _well(door: Door) -> bool:
    assert door.process.poll() is None, door.log
    return healthy(door)


def healthy(door: Door) -> bool:
    """Say whether the container's own check would find it well."""
    with contextlib.suppress(requests.RequestException), requests.Session() as session:
        session.trust_env = False
        return session.get(f"{door.direct}/healthz", timeout=PATIENCE).text == "ok\n"
    return False


def _port() -> int:
    """Return a port that nobody uses, and that the kernel gives nobody while a hub starts."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port


def main() -> int:
    """Be one door: its own port, and the tool's."""
    from familiar_tool.__main__ import serve
    from familiar_tool.settings import Settings
    from familiar_tool.tools import Tool

    logging.basicConfig(level=logging.INFO)
    door, tool = map(int, sys.argv[1:])
    settings = Settings.from_environment(os.environ, frozenset(NAMES))
    command = (sys.executable, str(STAND_IN), str(tool))
    running = serve(
        settings,
        Tool(command, {"TOLD": "1"}, closed="/*private(/.*)?"),
        address="127.0.0.1",
        door=door,
        port=tool,
    )
    return asyncio.run(running)


if __name__ == "__main__":
    sys.exit(main())
