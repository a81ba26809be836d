"""Protected groups: they cannot be lost, and rights follow membership alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from jupyterhub import orm

from familiar_hub import groups
from familiar_hub.people_sockets import Ask, PeopleSockets, SocketError, asks
from hub.core_hub import PACKAGE
from hub.pages_hub import PATIENCE


def test_rights_come_from_groups_of_the_table_only() -> None:
    assert groups.grants_of([]) == frozenset()
    assert groups.grants_of(["docker-privileged"]) == {groups.DOCKER}
    assert groups.grants_of(["docker-privileged", "podman", "others"]) == {
        groups.DOCKER,
        groups.PODMAN,
    }
    assert groups.grants_of(["Docker-Privileged", "docker", "docker-privileged "]) == frozenset()


def test_what_is_loaded_adds_nobody() -> None:
    loaded = groups.to_load(["teachers"])
    assert set(loaded) == {"docker-privileged", "podman", "teachers"}
    assert all(group == {"users": []} for group in loaded.values())


def test_a_group_that_was_deleted_comes_back_empty() -> None:
    session = orm.new_session_factory("sqlite:///:memory:")()
    assert groups.ensure(session) == ("docker-privileged", "podman")
    person = orm.User(name="ada")
    session.add(person)
    group = orm.Group.find(session, "docker-privileged")
    group.users.append(person)
    session.commit()
    assert groups.ensure(session) == ()
    assert [group.name for group in person.groups] == ["docker-privileged"]
    assert groups.members(session, groups.DOCKER) == {"ada"}
    assert groups.members(session, groups.PODMAN) == frozenset()
    session.delete(group)
    session.commit()
    assert groups.ensure(session) == ("docker-privileged",)
    assert list(person.groups) == []
    assert groups.members(session, groups.DOCKER) == frozenset()


@dataclass
class Filter:
    """A real filter, without an engine behind it."""

    folder: Path
    ask: Ask

    @property
    def people(self) -> set[str]:
        """Those who have a socket."""
        return {found.parent.name for found in (self.folder / "people").glob("*/docker.sock")}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Filter]:
    variables = {
        "DOCKER_NOTEBOOK_IMAGE": "familiar-lab:1",
        "DOCKER_NETWORK_NAME": "familiar-labs",
        "DOCKER_SOCKET": str(tmp_path / "nobody.sock"),
        "SOCKET_FOLDER": str(tmp_path),
        "PYTHONPATH": str(PACKAGE),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "familiar_hub.socket_proxy"], env={**os.environ, **variables}
    ) as process:
        socket = tmp_path / "hub" / "docker.sock"
        try:
            deadline = time.monotonic() + PATIENCE
            while not socket.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            client = docker.APIClient(base_url=f"unix://{socket}", version="1.43")
            yield Filter(tmp_path, asks(client))
            client.close()
        finally:
            process.terminate()


def test_sockets_follow_membership(running: Filter) -> None:
    PeopleSockets().settle(running.ask, "old", may=True)
    sockets = PeopleSockets()
    sockets.settle(running.ask, "ada", may=True)
    sockets.settle(running.ask, "bob", may=False)
    assert running.people == {"old", "ada"}
    sockets.settle(running.ask, "ada", may=False)
    assert running.people == {"old"}
    sockets.settle(running.ask, "ada", may=True)
    assert sockets.keep_only(running.ask, ["ada", "bob"]) == ("old",)
    assert running.people == {"ada"}


def test_what_is_as_it_should_be_is_not_asked_for_again(running: Filter) -> None:
    asked = []

    def ask(method: str, path: str) -> Any:
        asked.append(f"{method} {path}")
        return running.ask(method, path)

    sockets = PeopleSockets()
    for _ in range(3):
        sockets.settle(ask, "ada", may=True)
        sockets.settle(ask, "bob", may=False)
    assert asked == ["GET /familiar/people", "PUT /familiar/people/ada"]


def test_what_is_no_filter_is_an_error(running: Filter) -> None:
    def elsewhere(method: str, path: str) -> Any:
        return running.ask(method, path.replace("familiar", "unfamiliar"))

    with pytest.raises(SocketError, match="DOCKER_HOST must lead the hub to the filter"):
        PeopleSockets().settle(elsewhere, "ada", may=True)
    assert running.people == set()
