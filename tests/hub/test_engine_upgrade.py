"""From JupyterHub 5.5 to the next: what people had, they have; the old database is kept."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.engines import Engine
from hub.core_hub import PASSWORD, Hub, running_hub
from hub.engine_world import running_world
from hub.pages_hub import pythons

pytest_plugins = ["deploy.lab_fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GROUP = "docker-privileged"
# A hub as there are many: NativeAuthenticator as it comes, and nothing of ours.
_PLAIN = """
import os
from pathlib import Path

import nativeauthenticator

c = get_config()  # noqa: F821
folder = os.environ["FAMILIAR_HUB_DATA"]
c.JupyterHub.authenticator_class = "nativeauthenticator.NativeAuthenticator"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
c.JupyterHub.template_paths = [str(Path(nativeauthenticator.__file__).parent / "templates")]
c.JupyterHub.db_url = f"sqlite:///{folder}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{folder}/cookie_secret"
c.ConfigurableHTTPProxy.pid_file = f"{folder}/proxy.pid"
c.JupyterHub.load_groups = {"docker-privileged": {"users": ["ann"]}, "readers": {"users": ["ben"]}}
c.JupyterHub.services = [{"name": "tests", "api_token": TOKEN}]
c.JupyterHub.load_roles = [{"name": "tests", "services": ["tests"], "scopes": ["tokens"]}]
"""


@pytest.fixture(scope="module")
def older() -> str:
    """The Python of an environment with JupyterHub 5.5."""
    code = "import jupyterhub; print(jupyterhub.__version__)"
    for python in pythons()[1:]:
        told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        if told.stdout.startswith("5.5."):
            return python
    why = "FAMILIAR_TEST_HUB_PYTHONS names no Python with JupyterHub 5.5"
    if os.environ.get("FAMILIAR_TEST_REQUIRE") == "all":
        pytest.fail(why)
    pytest.skip(why)


def version(hub: Hub) -> str:
    return str(hub.browser().session.get(f"{hub.url}api", timeout=30).json()["version"])


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(database) as connection:
        return sorted(connection.execute(query).fetchall())


MEMBERS = (
    "select groups.name, users.name from user_group_map"
    " join users on users.id = user_id join groups on groups.id = group_id"
)
TABLES = {
    "people": "select id, name, admin, created, cookie_id from users",
    "members": MEMBERS,
    "passwords": "select username, password, is_authorized from users_info",
    "tokens": "select hashed, user_id from api_tokens where user_id is not null and note = 'mine'",
}


def state(database: Path) -> dict[str, list[tuple[object, ...]]]:
    return {name: rows(database, query) for name, query in TABLES.items()}


def upgraded(folder: Path) -> tuple[Path, Path]:
    """Return the copy of the old database, and the new one."""
    [copy] = folder.glob("jupyterhub.sqlite.*")
    new = folder / "jupyterhub.sqlite"
    revision = "select version_num from alembic_version"
    assert rows(copy, revision) != rows(new, revision)
    return copy, new


def test_a_platform_goes_on_with_its_labs(
    older: str, docker_engine: Engine, podman_engine: Engine, tmp_path: Path
) -> None:
    with running_world(docker_engine, podman_engine, tmp_path) as world:
        world.up(older)
        assert version(world.hub).startswith("5.5.")
        world.hub.person("ann")
        world.hub.browser().sign_up("ben")
        assert world.ask("POST", "groups/teachers")[0] == 201
        world.add("ann", GROUP, "teachers")
        _, told = world.ask("POST", "users/ann/tokens", {"note": "mine"})
        world.start("ann")
        world.inside("ann", "sh", "-c", "echo mine > /home/jovyan/work/kept")
        was, before = world.visit("ann"), world.inspect(world.container("ann"))["Id"]
        world.down()
        old = state(world.folder / "jupyterhub.sqlite")
        world.up()
        assert version(world.hub).startswith("6.")
        copy, _ = upgraded(world.folder)
        assert state(copy) == old
        # The lab has not noticed.
        world.wait_for(lambda: world.server("ann").get("ready"))
        assert world.visit("ann") == was
        assert world.inspect(world.container("ann"))["Id"] == before
        # Passwords, approvals, groups, tokens.
        assert world.hub.browser().sign_in("ann").status == 302
        assert world.hub.browser().sign_in("ann", "another password").status == 403
        assert "approval" in world.hub.browser().sign_in("ben").said
        world.hub.approve("ben")
        assert world.hub.browser().sign_in("ben").status == 302
        for group in (GROUP, "teachers"):
            assert world.ask("GET", f"groups/{group}")[1]["users"] == ["ann"]
        status, who = world.ask("GET", "user", token=told["token"])
        assert (status, who["name"]) == (200, "ann")
        # A new lab of theirs, with the same files and the same rights.
        world.stop("ann")
        world.start("ann")
        assert world.inside("ann", "cat", "/home/jovyan/work/kept") == "mine"
        assert world.inside("ann", "sh", "-c", "echo $DOCKER_HOST").startswith("unix:")


def test_a_hub_of_another_kind_becomes_ours(older: str, tmp_path: Path) -> None:
    """Accounts of NativeAuthenticator as it comes, on JupyterHub 5.5."""
    plain = tmp_path / "plain.py"
    plain.write_text(_PLAIN.replace("TOKEN", repr("a-token-of-the-tests-0123456789")))
    with running_hub(tmp_path, older, configuration=plain) as hub:
        for name in ("boss", "ann", "ben"):
            assert hub.browser().sign_up(name).status == 200
        boss = hub.browser()
        assert boss.sign_in("boss").status == 302
        assert boss.get("authorize/ann").status in (200, 302)
        assert hub.browser().sign_in("ann").status == 302
        answer = hub.browser().session.post(
            f"{hub.url}api/users/ann/tokens",
            json={"note": "mine"},
            headers={"Authorization": "token a-token-of-the-tests-0123456789"},
            timeout=30,
        )
        token = answer.json()["token"]
    old = state(tmp_path / "jupyterhub.sqlite")
    assert len(old["people"]) >= 2
    with running_hub(tmp_path, sys.executable, JUPYTERHUB_ADMIN="boss") as hub:
        assert version(hub).startswith("6.")
        copy, new = upgraded(tmp_path)
        assert state(copy) == old
        now = state(new)
        for kind, kept in old.items():
            assert set(kept) <= set(now[kind]), kind
        assert hub.browser().sign_in("ann").status == 302
        assert hub.browser().sign_in("ann", PASSWORD + " ").status == 403
        assert hub.browser().sign_in("ben").status == 403
        boss = hub.browser()
        assert boss.sign_in("boss").status == 302
        assert boss.post("authorize/ben", "authorize", approved="1").status == 302
        assert hub.browser().sign_in("ben").status == 302
        who = hub.browser().session.get(
            f"{hub.url}api/user", headers={"Authorization": f"token {token}"}, timeout=30
        )
        assert (who.status_code, who.json()["name"]) == (200, "ann")
        assert who.json()["groups"] == [GROUP]
