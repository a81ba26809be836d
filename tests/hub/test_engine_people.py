"""Members of docker-privileged on a real Docker Engine: what they do with it from their labs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.engines import Engine
from familiar_hub import spawning
from familiar_hub.socket_rules import OWNER
from hub.engine_world import IMAGE, World, running_world
from hub.socket_fixtures import LIMITS, SLEEP

pytest_plugins = ["deploy.lab_fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GROUP = "docker-privileged"
# What somebody has who has no docker in the lab: the socket and HTTP.
_ASK = """
import http.client, json, os, socket, sys

class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))

for method, target, body in json.load(sys.stdin):
    connection = Unix("docker", timeout=60)
    try:
        connection.request(method, "/v1.41" + target, body and json.dumps(body),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except OSError as error:
        print(json.dumps([0, type(error).__name__]))
        continue
    try:
        said = json.loads(text)
    except ValueError:
        said = text
    print(json.dumps([answer.status, said]))
"""


@pytest.fixture(scope="module")
def world(
    docker_engine: Engine, podman_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("w")
    with running_world(docker_engine, podman_engine, folder) as world:
        try:
            world.up()
            for person in ("mia", "max"):
                world.add(person, GROUP)
                world.start(person)
            world.add("una")
            world.start("una")
            yield world
        finally:
            _cleared(docker_engine)


PEOPLE = ("mia", "max", "mel", "moe")


def _cleared(engine: Engine) -> None:
    """Remove what the people of these tests made at the Engine themselves."""
    for person in PEOPLE:
        named = f"--filter=name=person_{person}_"
        if found := engine.run("ps", "--all", "--quiet", named).stdout.split():
            engine.run("rm", "--force", *found)
        for kind in ("volume", "network"):
            if found := engine.run(kind, "ls", "--quiet", named).stdout.split():
                engine.run(kind, "rm", *found)


def asked(world: World, person: str, *requests: tuple[str, str, Any]) -> list[tuple[int, Any]]:
    """Send requests from a person's lab to what DOCKER_HOST names there."""
    told = world.inside(person, "python3", "-c", _ASK, given=json.dumps(requests))
    return [(status, said) for status, said in map(json.loads, told.splitlines())]


def ask(world: World, person: str, method: str, target: str, body: Any = None) -> tuple[int, Any]:
    [answer] = asked(world, person, (method, target, body))
    return answer


def socket_of(world: World, person: str) -> Path:
    return world.filter.folder / "people" / person / "docker.sock"


def docker(world: World, person: str, *arguments: str, check: bool = True) -> str:
    """Run docker on a person's socket, as their lab's own docker would."""
    variables = {
        "DOCKER_HOST": f"unix://{socket_of(world, person)}",
        "DOCKER_CONFIG": str(world.folder / "no-config"),
        "DOCKER_BUILDKIT": "",
    }
    done = world.engine.run(*arguments, check=check, variables=variables)
    return done.stdout if check else done.stdout + done.stderr


def run(world: World, person: str, name: str = "", command: Any = SLEEP, **host: Any) -> str:
    """Make and start a container from a person's lab; return its ID."""
    body = {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": "none", **host}}
    query = f"?name=person_{person}_{name}" if name else ""
    status, told = ask(world, person, "POST", f"/containers/create{query}", body)
    assert status == 201, told
    assert ask(world, person, "POST", f"/containers/{told['Id']}/start") == (204, "")
    return str(told["Id"])


def test_a_member_works_with_containers_from_the_lab(world: World, tmp_path: Path) -> None:
    command = ["sh", "-c", "echo begun; echo kept > /data/x"]
    container = run(world, "mia", "job", command, Binds=["person_mia_data:/data"])
    answers = asked(
        world,
        "mia",
        ("POST", f"/containers/{container}/wait", None),
        ("GET", f"/containers/{container}/logs?stdout=1", None),
        ("GET", "/containers/json?all=1", None),
        ("GET", "/volumes", None),
        ("DELETE", f"/containers/{container}", None),
        ("GET", "/containers/json?all=1", None),
    )
    assert answers[0][1]["StatusCode"] == 0
    assert "begun" in answers[1][1]
    assert [one["Id"] for one in answers[2][1]] == [container], "and not their own lab"
    assert [one["Name"] for one in answers[3][1]["Volumes"]] == ["person_mia_data"]
    assert answers[5] == (200, [])
    # The same socket with docker itself: build, run, logs, rm.
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo built > /tmp/built\n")
    tag, name = "localhost/person/mia/tool:1", "person_mia_tool"
    docker(world, "mia", "build", "--network=none", f"--tag={tag}", str(tmp_path))
    try:
        mount = "--volume=person_mia_data:/data"
        docker(world, "mia", "run", "--detach", f"--name={name}", mount, tag,
               "cat", "/tmp/built", "/data/x")  # fmt: skip
        docker(world, "mia", "wait", name)
        assert docker(world, "mia", "logs", name) == "built\nkept\n"
        docker(world, "mia", "rm", name)
    finally:
        docker(world, "mia", "rm", "--force", name, check=False)
        docker(world, "mia", "rmi", tag, check=False)
        docker(world, "mia", "volume", "rm", "person_mia_data", check=False)
    assert ask(world, "mia", "GET", "/volumes")[1]["Volumes"] == []


def test_what_is_not_hers_is_not_there_for_a_member(world: World) -> None:
    lab, others = world.container("una"), run(world, "max", "web")
    own = world.container("mia")
    engine = world.engine
    outside = f"{world.prefix}-outside"
    engine.run("run", "--detach", "--network=none", f"--name={outside}", IMAGE, *SLEEP)
    engine.run("volume", "create", outside)
    _, told = ask(world, "max", "POST", f"/containers/{others}/exec", {"Cmd": ["id"]})
    before = {name: world.inspect(name) for name in (lab, own, outside)}
    targets: list[tuple[str, str, Any]] = []
    for name in (lab, own, outside, others, before[lab]["Id"], "person_max_web"):
        targets += [
            ("GET", f"/containers/{name}/json", None),
            ("GET", f"/containers/{name}/logs?stdout=1", None),
            ("POST", f"/containers/{name}/exec", {"Cmd": ["id"]}),
            ("POST", f"/containers/{name}/attach?stdout=1", None),
            ("POST", f"/containers/{name}/stop", None),
            ("POST", f"/containers/{name}/kill", None),
            ("DELETE", f"/containers/{name}?force=1", None),
        ]
    for name in (*world.volumes("una").values(), *world.volumes("mia").values(), outside):
        targets += [("GET", f"/volumes/{name}", None), ("DELETE", f"/volumes/{name}", None)]
    me = {"Container": "person_mia_none"}
    for name in (world.prefix, "host", "none"):
        targets += [
            ("GET", f"/networks/{name}", None),
            ("DELETE", f"/networks/{name}", None),
            ("POST", f"/networks/{name}/connect", me),
        ]
    targets += [
        ("GET", f"/exec/{told['Id']}/json", None),
        ("POST", f"/exec/{told['Id']}/start", {}),
    ]
    answers = asked(world, "mia", *targets)
    assert len(answers) == len(targets)
    wrong = [t for t, (status, _) in zip(targets, answers, strict=True) if status not in (403, 404)]
    assert not wrong
    assert {name: world.inspect(name)["State"] for name in before} == {
        name: found["State"] for name, found in before.items()
    }
    for listed in ("/containers/json?all=1", "/volumes", "/networks"):
        status, told = ask(world, "mia", "GET", listed)
        assert status == 200
        names = (
            [one.get("Name", "") for one in told["Volumes"]]
            if "volumes" in listed
            else [one.get("Name", "") for one in told]
        )
        assert all(name.startswith("person_mia_") for name in names), names
    assert [one["Names"] for one in ask(world, "max", "GET", "/containers/json")[1]] == [
        ["/person_max_web"]
    ]
    engine.run("rm", "--force", outside, others)


ROOT = [
    {"Privileged": True},
    {"Binds": ["/:/host"]},
    {"Binds": ["/var/run/docker.sock:/x"]},
    {"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x", "ReadOnly": True}]},
    {"PidMode": "host"},
    {"NetworkMode": "host"},
    {"IpcMode": "host"},
    {"UTSMode": "host"},
    {"UsernsMode": "host"},
    {"CgroupnsMode": "host"},
    {"Devices": [{"PathOnHost": "/dev/vda", "PathInContainer": "/dev/x"}]},
    {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]},
    {"CapAdd": ["SYS_ADMIN"]},
    {"SecurityOpt": ["seccomp=unconfined"]},
]


def test_no_way_leads_a_member_to_the_machine(world: World) -> None:
    lab = world.container("una")
    ways = [
        *ROOT,
        {"NetworkMode": f"container:{lab}"},
        {"PidMode": f"container:{lab}"},
        {"VolumesFrom": [lab]},
        {"NetworkMode": world.prefix},
        {"Binds": [f"{world.volumes('una')['home']}:/x"]},
        {"Binds": [f"{world.volumes('mia')['home']}:/x"]},
        {"Binds": [f"{world.prefix}--shared:/x"]},
    ]
    bodies = [{"Image": IMAGE, "Cmd": ["id"], "HostConfig": host} for host in ways]
    answers = asked(world, "mia", *(("POST", "/containers/create", body) for body in bodies))
    through = [
        host for host, (status, _) in zip(ways, answers, strict=True) if status not in (403, 404)
    ]
    assert not through
    assert all(said["message"] for _, said in answers), "and it is told why"
    assert ask(world, "mia", "GET", "/containers/json?all=1") == (200, [])


def test_limits_hold(world: World) -> None:
    eat = ["python3", "-c", "import time; x = bytearray(400 << 20); print('ate')"]
    fork = "n=0; while sleep 30 & do n=$((n+1)); [ $n -gt 200 ] && echo many && exit; done"
    hungry = run(world, "mia", "hungry", eat)
    crowd = run(world, "mia", "crowd", ["sh", "-c", fork])
    answers = asked(
        world,
        "mia",
        ("POST", f"/containers/{hungry}/wait", None),
        ("GET", f"/containers/{hungry}/json", None),
        ("POST", f"/containers/{crowd}/wait", None),
        ("GET", f"/containers/{crowd}/logs?stdout=1", None),
    )
    assert answers[0][1]["StatusCode"] == 137, "more memory than it may have"
    assert answers[1][1]["State"]["OOMKilled"]
    assert "many" not in answers[3][1]
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    most = int(LIMITS["SOCKET_PERSON_CONTAINERS"])
    made = asked(world, "mia", *[("POST", "/containers/create", body)] * (most - 1))
    assert [status for status, _ in made] == [201] * (most - 2) + [403]
    ids = [hungry, crowd, *(told["Id"] for status, told in made if status == 201)]
    removed = asked(world, "mia", *(("DELETE", f"/containers/{one}", None) for one in ids))
    assert {status for status, _ in removed} == {204}


def test_who_is_no_member_has_no_way_there(world: World) -> None:
    found = world.inspect(world.container("una"))
    assert {mount["Type"] for mount in found["Mounts"]} == {"volume"}
    assert not [one for one in found["Config"]["Env"] if one.startswith("DOCKER_HOST")]
    look = "find / -xdev -name 'docker*.sock' 2>/dev/null; true"
    assert world.inside("una", "sh", "-c", look) == ""
    assert not socket_of(world, "una").exists()


def test_who_is_taken_out_of_the_group_loses_the_socket_at_once(world: World) -> None:
    world.add("mel", GROUP)
    world.start("mel")
    job = run(world, "mel", "job")
    assert ask(world, "mel", "GET", "/_ping") == (200, "OK")
    status, _ = world.ask("DELETE", f"groups/{GROUP}/users", {"users": ["mel"]})
    assert status == 200
    world.wait_for(lambda: ask(world, "mel", "GET", "/_ping")[0] == 0, seconds=10)
    assert world.server("mel")["ready"], "the lab goes on"
    assert ask(world, "mia", "GET", "/_ping") == (200, "OK")
    # The next lab of theirs has no way there at all.
    world.start("mel", "second")
    mounts = world.inspect(world.container("mel", "second"))["Mounts"]
    assert {mount["Type"] for mount in mounts} == {"volume"}
    world.stop("mel", "second")
    # What they run is theirs again when they are a member again.
    world.add("mel", GROUP)
    world.wait_for(lambda: ask(world, "mel", "GET", "/_ping")[0] == 200, seconds=10)
    assert [one["Id"] for one in ask(world, "mel", "GET", "/containers/json")[1]] == [job]


def test_the_filter_starts_anew_and_members_go_on(world: World) -> None:
    job = run(world, "mia", "lasting")
    world.filter.stop()
    assert ask(world, "mia", "GET", "/_ping")[0] == 0
    world.filter.start()
    assert [one["Id"] for one in ask(world, "mia", "GET", "/containers/json")[1]] == [job]
    assert ask(world, "mia", "DELETE", f"/containers/{job}?force=1")[0] == 204
    world.add("max")
    world.stop("max")
    world.start("max")
    assert ask(world, "max", "GET", "/_ping") == (200, "OK")


def test_what_a_member_ran_ends_with_the_account(world: World) -> None:
    world.add("moe", GROUP)
    world.start("moe")
    old = world.inspect(world.volumes("moe")["home"])["Labels"][spawning.ACCOUNT]
    network = {"Name": "person_moe_net"}
    assert ask(world, "moe", "POST", "/networks/create", network)[0] == 201
    run(world, "moe", "job", Binds=["person_moe_data:/data"], NetworkMode="person_moe_net")
    labels = world.inspect("person_moe_data")["Labels"]
    assert labels[OWNER] == f"person/moe/{old}"
    assert world.ask("DELETE", "users/moe")[0] == 204
    assert not world.there("container", "person_moe_job")
    assert not world.there("network", "person_moe_net")
    assert world.there("volume", "person_moe_data"), "files stay until an administrator says so"
    assert not socket_of(world, "moe").exists()
    # Another moe, also a member, whose labs may start since the old one's files are gone.
    world.engine.run("volume", "rm", *world.volumes("moe").values())
    world.add("moe", GROUP)
    world.start("moe")
    assert ask(world, "moe", "GET", "/volumes") == (200, {"Volumes": [], "Warnings": None})
    bound = {"NetworkMode": "none", "Binds": ["person_moe_data:/data"]}
    body = {"Image": IMAGE, "Cmd": ["ls", "/data"], "HostConfig": bound}
    assert ask(world, "moe", "POST", "/containers/create", body)[0] == 404
    assert ask(world, "moe", "DELETE", "/volumes/person_moe_data")[0] == 404
    events = [one["event"] for one in world.filter.audit()]
    assert events.count("socket.ended") == 2
