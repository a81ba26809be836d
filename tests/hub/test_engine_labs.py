"""Labs on a real Docker Engine, started by our hub through the filter before its socket."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploy.engines import Engine
from familiar_hub import spawning
from familiar_hub.settings import OIDC_NAMES
from hub.core_hub import PACKAGE, environment
from hub.engine_world import IMAGE, World, running_world
from hub.socket_fixtures import SLEEP

pytest_plugins = ["deploy.lab_fixtures"]
# Another run of the tests may have the Engine's data for minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KINDS = {"home": "/home/jovyan", "workspace": "/home/jovyan/work", "cache": "/home/jovyan/.cache"}


@pytest.fixture(scope="module")
def world(
    docker_engine: Engine, podman_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("w")
    with running_world(
        docker_engine,
        podman_engine,
        folder,
        FAMILIAR_HUB_USERNAME_PATTERN=OIDC_NAMES,
        ENABLE_GPU_SUPPORT="2",
    ) as world:
        world.up()
        yield world


def fill(world: World, person: str) -> None:
    for kind, place in KINDS.items():
        world.inside(person, "sh", "-c", f"echo {kind} > {place}/kept")


def kept(world: World, person: str) -> set[str]:
    there = "for f in /home/jovyan/kept /home/jovyan/*/kept /home/jovyan/.cache/kept; do"
    return set(world.inside(person, "sh", "-c", f"{there} cat $f 2>/dev/null; done; true").split())


# -- one lab ---------------------------------------------------------------------------------------


def test_a_lab_is_as_it_was_planned(world: World) -> None:
    world.add("ann")
    world.start("ann")
    assert world.visit("ann")["person"] == "ann"
    found = world.inspect(f"{world.prefix}-ann")
    host = found["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (256 << 20, 256 << 20)
    assert host["PidsLimit"] == 2048
    assert host["CpuQuota"] / host["CpuPeriod"] == 2
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["LogConfig"] == {
        "Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}
    }  # fmt: skip
    assert (host["Privileged"], host["AutoRemove"], host["Binds"]) == (False, False, None)
    assert (host["NetworkMode"], list(found["NetworkSettings"]["Networks"])) == (
        world.prefix, [world.prefix],
    )  # fmt: skip
    places = {mount["Destination"]: mount["Name"] for mount in found["Mounts"]}
    assert places == {
        "/home/jovyan": f"{world.prefix}-ann_home",
        "/home/jovyan/work": f"{world.prefix}-ann_workspace",
        "/home/jovyan/.cache": f"{world.prefix}-ann_cache",
        "/home/jovyan/shared": f"{world.prefix}--shared",
    }
    # And so it is in the container, too.
    status = world.inside("ann", "cat", "/proc/1/status")
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"):
        assert line in status
    assert world.inside("ann", "id", "-u") == "1000"
    assert world.inside("ann", "cat", "/home/jovyan/skeleton") == "skeleton", "as the image has it"
    fill(world, "ann")
    assert kept(world, "ann") == set(KINDS)


def test_a_person_has_further_labs_with_the_same_files(world: World) -> None:
    world.add("nia")
    world.start("nia")
    fill(world, "nia")
    for server in ("second", "third-one"):
        world.start("nia", server)
    refused, told = world.begin("nia", "fourth")
    assert (refused, "maximum" in told["message"]) == (400, True)
    names = [world.container("nia", server) for server in ("", "second", "third-one")]
    assert names[1] == f"{world.prefix}-nia--second"
    assert len({world.inspect(name)["Id"] for name in names}) == 3
    for server in ("", "second", "third-one"):
        assert world.visit("nia", server)["server"] == server
        assert world.inside("nia", "cat", "/home/jovyan/work/kept", server=server) == "workspace"
    world.stop("nia", "second")
    assert not world.there("container", names[1])
    assert world.visit("nia")["server"] == ""
    assert world.visit("nia", "third-one")["server"] == "third-one"
    # Deleting a lab that is stopped takes no files along.
    assert world.ask("DELETE", "users/nia/servers/second", {"remove": True})[0] == 204
    assert kept(world, "nia") == set(KINDS)


def test_without_gpus_labs_start_and_the_log_says_so(world: World) -> None:
    world.add("gus")
    world.start("gus")
    assert not world.inspect(world.container("gus"))["HostConfig"]["DeviceRequests"]
    # The Engine of the tests knows no runtime but its own, whatever the machine has.
    assert "GPU: no, the engine knows neither NVIDIA's runtime nor its devices" in world.hub.log


# -- names -----------------------------------------------------------------------------------------

ODD = ["a.b", "a-b", "a_b", "a-2eb", "名前", "o'neil|7@example.org", "{username}", "%7b", "x" * 200,
       "x" * 199 + "y"]  # fmt: skip


def test_odd_names_have_labs_and_files_of_their_own(world: World) -> None:
    for name in ODD:
        world.add(name)
        status, told = world.begin(name)
        assert status in (201, 202), told
    volumes: set[str] = set()
    containers: set[str] = set()
    for name in ODD:
        world.wait_for(lambda name=name: world.server(name).get("ready"))  # type: ignore[misc]
        assert world.visit(name)["person"] == name
        found = world.inspect(world.container(name))
        containers.add(found["Id"])
        own = {m["Name"] for m in found["Mounts"]} - {f"{world.prefix}--shared"}
        assert own == set(world.volumes(name).values())
        assert not own & volumes
        volumes |= own
        world.inside(name, "sh", "-c", "cat > /home/jovyan/work/whose", given=name)
    assert len(containers) == len(ODD)
    for name in ODD:
        assert world.inside(name, "cat", "/home/jovyan/work/whose") == name


# -- restart and reset through the filter ----------------------------------------------------------


def test_a_restart_in_place_finds_the_new_address(world: World) -> None:
    token = world.add("rosa")
    world.start("rosa")
    name, taker = world.container("rosa"), f"{world.prefix}-taker"
    before, was = world.inspect(name), world.visit("rosa")["began"]
    # As when it was down for a while, and another lab has taken its place.
    world.engine.run("network", "disconnect", world.prefix, name)
    world.engine.run(
        "run", "--detach", f"--name={taker}", f"--network={world.prefix}", IMAGE, *SLEEP
    )
    world.engine.run("network", "connect", world.prefix, name)
    path = "users/rosa/server/restart"
    assert world.ask("POST", path, token=token)[0] == 202
    world.wait_for(lambda: world.ask("GET", path, token=token)[1]["outcome"] != "under way")
    assert world.ask("GET", path, token=token)[1]["outcome"] == "done"
    after = world.inspect(name)
    assert after["Id"] == before["Id"]
    networks = [one["NetworkSettings"]["Networks"][world.prefix] for one in (before, after)]
    assert networks[0]["IPAddress"] != networks[1]["IPAddress"]
    assert world.visit("rosa")["began"] > was
    world.engine.run("rm", "--force", taker)


def test_each_volume_is_reset_alone(world: World) -> None:
    token = world.add("ron")
    world.start("ron")
    for kind, name in world.volumes("ron").items():
        fill(world, "ron")
        labels = world.inspect(name)["Labels"]
        path, confirm = f"users/ron/volumes/{kind}/reset", {"confirm": name}
        assert world.ask("POST", path, confirm, token)[0] == 409, "while it is in use"
        world.stop("ron")
        status, told = world.ask("POST", path, confirm, token)
        assert (status, told.get("name")) == (200, name), told
        assert world.inspect(name)["Labels"] == labels
        world.start("ron")
        assert kept(world, "ron") == set(KINDS) - {kind}


# -- the hub starts anew ---------------------------------------------------------------------------


def test_labs_go_on_while_the_hub_starts_anew(world: World) -> None:
    world.add("hal")
    world.start("hal")
    before, was = world.inspect(world.container("hal")), world.visit("hal")
    world.down()
    assert world.inspect(world.container("hal"))["State"]["Running"]
    world.up()
    world.wait_for(lambda: world.server("hal").get("ready"))
    assert world.visit("hal") == was
    assert world.inspect(world.container("hal"))["Id"] == before["Id"]
    world.stop("hal")
    assert not world.there("container", world.container("hal"))


# -- people who leave ------------------------------------------------------------------------------


def leftovers(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the administrator's command, where the hub runs."""
    return subprocess.run(
        [sys.executable, "-m", "familiar_hub.leftovers", *arguments],
        env={"PYTHONPATH": str(PACKAGE), **environment(world.folder, **world.variables)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def left(world: World, person: str) -> None:
    """Let a person fill their volumes and be deleted, with labs that run."""
    world.add(person)
    world.start(person)
    world.start(person, "second")
    fill(world, person)
    status, told = world.ask("DELETE", f"users/{person}")
    assert status == 204, told
    for server in ("", "second"):
        assert not world.there("container", world.container(person, server))
    for name in world.volumes(person).values():
        assert world.inspect(name)["Labels"][spawning.PERSON] == person


def test_who_gets_the_name_of_a_person_who_has_left_gets_no_files(world: World) -> None:
    left(world, "lee")
    before = {name: world.inspect(name) for name in world.volumes("lee").values()}
    token = world.add("lee")
    status, told = world.begin("lee")
    assert status == 409, told
    assert "made for an earlier account named lee" in told["message"]
    assert not world.there("container", world.container("lee"))
    for kind, name in world.volumes("lee").items():
        path = f"users/lee/volumes/{kind}/reset"
        status, told = world.ask("POST", path, {"confirm": name}, token)
        assert (status, "earlier account" in told["message"]) == (409, True), "nor destroys them"
    assert {name: world.inspect(name) for name in before} == before
    # The administrator sees them, and removes them.

    def listed() -> list[str]:
        done = leftovers(world)
        assert done.returncode == 0, done.stderr
        names = [line.split(":")[0] for line in done.stdout.splitlines()]
        return [name for name in names if name in before]

    assert listed() == sorted(before)
    world.add("kit")
    world.start("kit")
    assert leftovers(world, "--remove", "kit").returncode != 0, "hers are in use"
    assert world.there("volume", world.volumes("kit")["home"])
    removed = leftovers(world, "--remove", "lee")
    assert removed.returncode == 0, removed.stderr
    assert listed() == []
    world.start("lee")
    assert kept(world, "lee") == set()
    acts = [act for act in world.hub.acts if act["event"] == "leftovers.removed"]
    assert sorted(before) in [sorted(act["volumes"]) for act in acts]


def test_an_administrator_hands_them_over(world: World) -> None:
    left(world, "leo")
    nobody = leftovers(world, "--hand-over", "leo")
    assert (nobody.returncode, "nobody is named leo" in nobody.stderr) == (1, True)
    world.add("leo")
    assert world.begin("leo")[0] == 409
    given = leftovers(world, "--hand-over", "leo")
    assert given.returncode == 0, given.stderr
    world.start("leo")
    assert kept(world, "leo") == set(KINDS)
    # It was for that account, and for none that comes later.
    world.ask("DELETE", "users/leo")
    world.add("leo")
    assert world.begin("leo")[0] == 409
    assert leftovers(world, "--remove", "leo").returncode == 0


def test_a_volume_that_says_of_nobody_is_nobodys(world: World) -> None:
    """As one that was made by hand."""
    name = spawning.volume_names(world.settings, "nan")["workspace"]
    world.engine.run("volume", "create", name)
    world.add("nan")
    assert world.begin("nan")[0] == 409
    assert leftovers(world, "--hand-over", "nan").returncode == 0
    world.start("nan")


def test_volumes_that_a_backup_brought_back_are_still_theirs(world: World) -> None:
    """They have no labels then; the hub's own folder, which comes back too, says whose."""
    world.add("rae")
    world.start("rae")
    world.stop("rae")
    for name in world.volumes("rae").values():
        world.engine.run("volume", "rm", name)
        world.engine.run("volume", "create", name)
    world.start("rae")
    assert world.ask("DELETE", "users/rae")[0] == 204
    world.add("rae")
    assert world.begin("rae")[0] == 409, "and not another account's"
    assert leftovers(world, "--remove", "rae").returncode == 0
    world.start("rae")
