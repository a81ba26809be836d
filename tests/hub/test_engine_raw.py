"""The Engine's own socket for labs: shut by default, open by a flag that says what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.engines import Engine
from hub.socket_attacks import IMAGE, NETWORK, PREFIX
from hub.socket_fixtures import Proxied, running_proxy

pytest_plugins = ["hub.socket_fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SOCKET = "/var/run/docker.sock"
FLAG = "FAMILIAR_HUB_RAW_DOCKER_SOCKET"


def asked(proxied: Proxied, who: str, name: str, source: str = SOCKET) -> tuple[int, Any]:
    """Ask for a container that has the socket, and let none stay."""
    mount = {"Type": "bind", "Source": source, "Target": SOCKET, "ReadOnly": True}
    host = {"NetworkMode": "none", "Mounts": [mount], "GroupAdd": ["998"]}
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": host}
    status, told = proxied.ask(who, "POST", f"/containers/create?name={name}", body)
    proxied.ask("raw", "DELETE", f"/containers/{name}?force=1")
    return status, told


def test_both_states_of_the_flag(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> None:
    # The Engine makes it, or says that this machine has no such socket; no refusal of the filter's.
    own = 201 if Path(SOCKET).exists() else 400
    for number, (variables, expected, said) in enumerate(
        [({}, 403, False), ({FLAG: "0"}, 403, False), ({FLAG: "1"}, own, True)]
    ):
        folder = tmp_path_factory.mktemp(f"r{number}")
        with running_proxy(engine, folder, DOCKER_NETWORK_NAME=NETWORK, **variables) as proxied:
            status, told = asked(proxied, "hub", f"{PREFIX}raw")
            assert status == expected, told
            if expected == 403:
                assert told["message"].endswith("no folder of the machine can be mounted.")
            assert asked(proxied, "hub", f"{PREFIX}raw", "/var/run")[0] == 403
            assert asked(proxied, "alice", "person_alice_raw")[0] == 403, "people never"
            errors = (folder / "errors").read_text()
            assert (f"{FLAG}=1" in errors) == said
            assert ("root on this machine" in errors) == said
