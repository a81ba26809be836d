"""Resetting volumes and restarting in place, on a real Docker Engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.engines import Engine
from hub.pages_docker import IMAGE, Docks, running_docks
from hub.pages_hub import pythons

pytest_plugins = ["deploy.lab_fixtures"]
# Another run of the tests, or another worker, may have the Engine for minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def docks(
    docker_engine: Engine, podman_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Docks]:
    with running_docks(docker_engine, podman_engine, tmp_path_factory.mktemp("docks")) as running:
        yield running


def files(docks: Docks, person: str) -> str:
    return docks.inside(person, "ls /home /workspace /cache | grep kept | sort | tr '\\n' ' '")


def fill(docks: Docks, person: str) -> None:
    docks.inside(person, "for kind in home workspace cache; do touch /$kind/kept-$kind; done")


# -- volumes ---------------------------------------------------------------------------------------


def test_a_volume_is_new_and_the_others_are_as_they_were(docks: Docks) -> None:
    label = "purpose=familiar"
    docks.engine.run("volume", "create", f"--label={label}", docks.volume("ines", "workspace"))
    docks.hub.start("ines")
    docks.hub.start("grace")
    fill(docks, "ines")
    fill(docks, "grace")
    docks.hub.stop("ines")
    assert docks.reset("ines", "workspace") == (200, "")
    [volume] = docks.hub.ask("GET", "api/users/ines/lab").data["volumes"][1:2]
    assert (volume["kind"], volume["name"]) == ("workspace", docks.volume("ines", "workspace"))
    assert docks.inspect(docks.volume("ines", "workspace"))["Labels"] == {"purpose": "familiar"}
    docks.hub.start("ines")
    assert files(docks, "ines") == "kept-cache kept-home"
    assert files(docks, "grace") == "kept-cache kept-home kept-workspace"
    told = docks.hub.audit()[-3:]
    [act] = [one for one in told if one["event"] == "volume.reset"]
    assert act | {"at": ""} == {
        "at": "", "event": "volume.reset", "by": "ines", "person": "ines", "kind": "workspace",
        "volume": docks.volume("ines", "workspace"), "outcome": "done",
    }  # fmt: skip


def test_one_that_a_server_has_is_refused_with_the_servers_name(docks: Docks) -> None:
    docks.hub.start("ada")
    fill(docks, "ada")
    status, why = docks.reset("ada", "home")
    assert status == 409
    assert "in use by the default server; stop that first" in why
    docks.hub.start("ada", "second")
    docks.hub.stop("ada")
    status, why = docks.reset("ada", "home")
    assert status == 409
    assert "in use by the server second; stop that first" in why
    assert "kept-home" in docks.inside("ada", "ls /home", "second")
    volumes = docks.hub.ask("GET", "api/users/ada/lab").data["volumes"]
    assert [one["used_by"] for one in volumes] == [["second"]] * 3
    docks.hub.stop("ada", "second")
    assert docks.reset("ada", "home") == (200, "")


@pytest.mark.parametrize("confirm", ["", "home", "yes", True, ["x"], 1])
def test_without_its_name_nothing_is_lost(docks: Docks, confirm: object) -> None:
    docks.hub.start("careful")
    fill(docks, "careful")
    docks.hub.stop("careful")
    status, why = docks.reset("careful", "home", confirm)
    assert status == 400
    assert docks.volume("careful", "home") in why
    assert docks.reset("careful", "home", docks.volume("careful", "cache"))[0] == 400
    assert docks.reset("careful", "home", docks.volume("ada", "home"))[0] == 400
    docks.hub.start("careful")
    assert files(docks, "careful") == "kept-cache kept-home kept-workspace"
    docks.hub.stop("careful")


@pytest.mark.parametrize("kind", ["attic", "HOME", "shared", "..", "home%2F..", "%00"])
def test_a_kind_that_is_not_there(docks: Docks, kind: str) -> None:
    token = docks.hub.person("ada")
    answer = docks.hub.ask("POST", f"api/users/ada/volumes/{kind}/reset", {}, token=token)
    assert answer.status in (400, 404)


def test_one_that_was_never_made_is_new_already(docks: Docks) -> None:
    docks.hub.person("fresh")
    assert docks.reset("fresh", "home") == (200, "")


def test_names_that_are_nearly_the_same(docks: Docks) -> None:
    """The Engine knows no dots' owner: ``a.b`` and ``a-b`` must be two."""
    names = {}
    for person in ("a.b", "a-b", "ab"):
        docks.hub.start(person)
        [home] = docks.hub.ask("GET", f"api/users/{person}/lab").data["volumes"][:1]
        names[person] = home["name"]
        where = docks.engine.run("ps", "--quiet", f"--filter=volume={home['name']}").stdout.split()
        assert len(where) == 1, names
        docks.engine.run("exec", where[0], "touch", "/home/kept-home")
    assert len(set(names.values())) == 3
    docks.hub.stop("a.b")
    assert docks.reset("a.b", "home", names["a.b"]) == (200, "")
    for person in ("a-b", "ab"):
        seen = docks.engine.run("run", "--rm", "--network=none", f"--volume={names[person]}:/x",
                                IMAGE, "ls", "/x")  # fmt: skip
        assert seen.stdout.strip() == "kept-home"


def test_a_container_that_is_no_server_of_theirs_is_left_alone(docks: Docks) -> None:
    docks.hub.start("lender")
    fill(docks, "lender")
    docks.hub.stop("lender")
    other = f"{docks.prefix}-other"
    volume = docks.volume("lender", "home")
    docks.engine.run("create", f"--name={other}", "--network=none", f"--volume={volume}:/x",
                     IMAGE, "true")  # fmt: skip
    status, why = docks.reset("lender", "home")
    assert status == 409
    assert f"the container {other}" in why
    assert docks.inspect(other)["Mounts"][0]["Name"] == volume
    docks.engine.run("rm", other)
    assert docks.reset("lender", "home") == (200, "")


def test_what_is_left_of_their_own_server_does_not_block(docks: Docks) -> None:
    docks.hub.start("left")
    fill(docks, "left")
    docks.hub.stop("left")
    volume = docks.volume("left", "home")
    docks.engine.run("create", f"--name={docks.container('left')}", "--network=none",
                     f"--volume={volume}:/home", IMAGE, "true")  # fmt: skip
    assert docks.reset("left", "home") == (200, "")
    docks.hub.start("left")
    assert files(docks, "left") == "kept-cache kept-workspace"


def test_a_start_and_a_reset_at_once_leave_a_server_that_runs(docks: Docks) -> None:
    docks.hub.person("hasty")
    for _ in range(4):
        outcomes: list[tuple[int, str]] = []
        resetting = threading.Thread(target=lambda: outcomes.append(docks.reset("hasty", "home")))  # noqa: B023
        resetting.start()
        docks.hub.start("hasty")
        resetting.join()
        assert outcomes[0][0] in (200, 409)
        docks.inside("hasty", "touch /home/works && ls /workspace")
        docks.hub.stop("hasty")


# -- restarts --------------------------------------------------------------------------------------


def test_a_restart_keeps_the_container_and_finds_its_new_address(docks: Docks) -> None:
    docks.hub.start("ada")
    docks.inside("ada", "touch /tmp/in-the-container /home/kept-home")
    before = docks.inspect(docks.container("ada"))
    was = docks.hub.through_proxy("ada", "api").data["began"]
    # Somebody else gets the address that is free for a moment.
    done = docks.restart("ada")
    assert (done["outcome"], done["progress"], done["reason"]) == ("done", 100, "")
    after = docks.inspect(docks.container("ada"))
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] != before["State"]["StartedAt"]
    assert docks.inside("ada", "ls /tmp/in-the-container /home/kept-home").count("\n") == 1
    assert docks.hub.through_proxy("ada", "api").data["began"] > was
    server = docks.hub.server("ada")
    assert (server["ready"], server["pending"]) == (True, None)
    act = docks.hub.audit()[-1]
    assert (act["event"], act["by"], act["outcome"]) == ("server.restart", "ada", "done")


def test_an_address_that_has_changed_is_routed(docks: Docks) -> None:
    docks.hub.start("mover")
    old = docks.address("mover")
    name, taker = docks.container("mover"), f"{docks.prefix}-taker"
    # As when it was down for a while, and another lab has taken its place.
    docks.engine.run("network", "disconnect", docks.prefix, name)
    place = f"--network={docks.prefix}"
    docks.engine.run("run", "--detach", f"--name={taker}", place, IMAGE, "sleep", "600")
    docks.engine.run("network", "connect", docks.prefix, name)
    new = docks.address("mover")
    assert new != old
    done = docks.restart("mover")
    assert done["outcome"] == "done", done
    assert docks.hub.through_proxy("mover", "api").status == 200
    docks.engine.run("rm", "--force", taker)


def test_one_that_does_not_run_is_not_restarted(docks: Docks) -> None:
    docks.hub.person("asleep")
    path = "api/users/asleep/server/restart"
    answer = docks.hub.ask("POST", path, token=docks.hub.person("asleep"))
    assert (answer.status, answer.data["message"]) == (409, "The server does not run; start it.")


def test_while_it_restarts_nobody_else_may_and_the_hub_keeps_it(docks: Docks) -> None:
    docks.hub.start("stubborn")
    # A server that does not end when it is told: the Engine kills it after ten seconds.
    docks.engine.run("kill", "--signal=STOP", docks.container("stubborn"))
    path, token = "api/users/stubborn/server/restart", docks.hub.person("stubborn")
    began = time.monotonic()
    assert docks.hub.ask("POST", path, token=token).status == 202
    again = docks.hub.ask("POST", path, token=token)
    assert (again.status, again.data["message"]) == (
        409, "The server is being restarted just now; wait for that to end.",
    )  # fmt: skip
    status, why = docks.reset("stubborn", "home")
    assert (status, "in use by the default server" in why) == (409, True)
    # Ten seconds of one lab hold up nobody else's start.
    docks.hub.start("meanwhile")
    assert time.monotonic() - began < 9
    assert docks.hub.server("stubborn")["pending"] == "check"
    docks.hub.wait_for(lambda: docks.hub.ask("GET", path, token=token).data["outcome"] == "done")
    assert docks.hub.server("stubborn")["ready"]


def test_one_that_does_not_come_back_is_no_running_server(docks: Docks) -> None:
    docks.hub.start("brokendown")
    docks.inside("brokendown", "touch /tmp/broken")
    failed = docks.restart("brokendown")
    assert failed["outcome"] == "failed"
    assert failed["reason"].startswith("Its container started and ended again")
    assert failed["seconds"] < 20, "nobody waits for what has ended"
    docks.hub.wait_for(lambda: not docks.hub.server("brokendown").get("ready"))
    act = [one for one in docks.hub.audit() if one["event"] == "server.restart"][-1]
    assert (act["outcome"], act["person"]) == ("failed", "brokendown")
    docks.hub.start("brokendown")
    assert docks.hub.through_proxy("brokendown", "api").status == 200


def test_a_container_that_the_engine_would_remove_is_left_running(
    docker_engine: Engine, podman_engine: Engine, tmp_path: Path
) -> None:
    """On a busy machine the Engine has removed such a one before it starts it again."""
    with running_docks(docker_engine, podman_engine, tmp_path, fleeting=True) as docks:
        docks.hub.start("ada")
        failed = docks.restart("ada")
        assert failed["outcome"] == "failed"
        assert "removed as soon as it ends; stop the server and start it anew" in failed["reason"]
        assert docks.hub.server("ada")["ready"]
        assert docks.hub.through_proxy("ada", "api").status == 200


@pytest.mark.parametrize("python", pythons()[1:], ids=lambda python: Path(python).parents[1].name)
def test_an_older_hub_does_both(
    python: str, docker_engine: Engine, podman_engine: Engine, tmp_path: Path
) -> None:
    with running_docks(docker_engine, podman_engine, tmp_path, python) as docks:
        docks.hub.start("ada")
        fill(docks, "ada")
        assert docks.reset("ada", "workspace")[0] == 409
        was = docks.hub.through_proxy("ada", "api").data["began"]
        assert docks.restart("ada")["outcome"] == "done"
        assert docks.hub.through_proxy("ada", "api").data["began"] > was
        docks.hub.stop("ada")
        assert docks.reset("ada", "workspace") == (200, "")
        docks.hub.start("ada")
        assert files(docks, "ada") == "kept-cache kept-home"
