"""What a lab is like: whose its names are, what it may, and that the socket's filter agrees."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.types import Mount
from hypothesis import example, given, settings
from hypothesis import strategies as st

from familiar_hub import gpu, spawning
from familiar_hub.profiles import ProfileError, read_profiles
from familiar_hub.settings import Cifs, DockerAccess, Limits, Settings
from familiar_hub.socket_container import container
from familiar_hub.socket_reading import Refused, reference
from familiar_hub.socket_rules import HUB, SLUG, Rules, Who

HUBS = Settings(image="familiar-lab:1", docker=DockerAccess(sockets="/run/familiar-hub/people"))
RULES = Rules(
    images=(reference("familiar-lab:1"),),
    network="familiar-labs",
    gpu=True,
    nested=True,
    people_on_host="/run/familiar-hub/people",
)
ODD = ["ann", "a.b", "a-b", "a_b", "a-2eb", "A", "a", "ä", "a\u0308", "名前", "x" * 200, "x" * 201,
       "ü" * 200, "_x", "-x", "5fx", "a--b", "a b", "a/b", "a\n", "a\t1", "\x91", "\x0c2\t1", "..",
       "{username}", "{raw_username}", "%2e", "a@b.org", "\ud800", "x_home"]  # fmt: skip


def plan(person: str = "ann", server: str = "", **more: Any) -> spawning.Plan:
    given: dict[str, Any] = dict(settings=HUBS, groups=(), options={}, gpu=gpu.OFF) | more
    return spawning.plan(person=person, server=server, **given)


def body(made: spawning.Plan, network: str = "familiar-labs") -> dict[str, Any]:
    """Return what docker-py would send for a plan, as DockerSpawner puts it together."""
    client = docker.APIClient(version="1.43")
    host = client.create_host_config(
        binds={},
        mounts=[Mount(**mount) for mount in made.mounts],
        mem_limit=made.memory,
        cpu_period=100_000,
        cpu_quota=int(made.cpus * 100_000),
        network_mode=network,
        **made.host_config,
    )
    create = {"host_config": {}, **made.create}
    create["host_config"] = {**create["host_config"], **host}
    config = client.create_container_config(
        made.image,
        ["jupyterhub-singleuser"],
        environment=dict(made.environment),
        volumes=[],
        ports=[("8888", "tcp")],
        **create,
    )
    sent: dict[str, Any] = json.loads(json.dumps(config))
    return sent


NAMES = st.text(min_size=1, max_size=220) | st.from_regex(r"[a-z._-]{1,60}", fullmatch=True)


@given(NAMES, NAMES)
@example("\x0c2\t1", "\x91")
@example("a-2eb", "a.b")
@settings(max_examples=500)
def test_no_two_names_are_escaped_to_one(one: str, other: str) -> None:
    assert (spawning.escaped(one) == spawning.escaped(other)) == (one == other)


@given(NAMES)
@settings(max_examples=500)
def test_an_escaped_name_suits_docker_and_the_filter(name: str) -> None:
    escaped = spawning.escaped(name)
    assert re.fullmatch(SLUG, escaped)
    assert len(escaped) <= 65
    assert "--" not in escaped
    assert "_" not in escaped


@given(NAMES, NAMES | st.just(""), NAMES, NAMES | st.just(""))
@example("a", "b", "a--b", "")
@example("a-", "b", "a", "-b")
@settings(max_examples=500)
def test_no_two_labs_have_one_container(person: str, server: str, other: str, others: str) -> None:
    one = spawning.container_name(HUBS, person, server)
    two = spawning.container_name(HUBS, other, others)
    assert (one == two) == ((person, server) == (other, others))


def test_odd_names_have_names_of_their_own() -> None:
    containers = {spawning.container_name(HUBS, name) for name in ODD}
    containers |= {spawning.container_name(HUBS, "ann", name) for name in ODD}
    assert len(containers) == 2 * len(ODD)
    volumes = {volume for name in ODD for volume in spawning.volume_names(HUBS, name).values()}
    assert len(volumes) == 3 * len(ODD)
    assert spawning.shared_volume(HUBS) not in volumes
    # Docker's own rule, and the length of a file's name, which a volume becomes.
    for name in containers | volumes:
        assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,250}", name), name


def test_names_stay_readable() -> None:
    assert spawning.container_name(HUBS, "ann") == "jupyterlab-ann"
    assert spawning.container_name(HUBS, "ann", "second") == "jupyterlab-ann--second"
    assert spawning.volume_names(HUBS, "a.b") == {
        "home": "jupyterlab-a-2eb_home",
        "workspace": "jupyterlab-a-2eb_workspace",
        "cache": "jupyterlab-a-2eb_cache",
    }


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody"):
        spawning.escaped("")


def test_a_persons_labs_share_their_volumes_and_nobody_elses() -> None:
    def sources(made: spawning.Plan) -> set[str]:
        return {mount["source"] for mount in made.mounts}

    assert sources(plan("ann")) == sources(plan("ann", "second"))
    assert sources(plan("ann")) & sources(plan("bob")) == {spawning.shared_volume(HUBS)}


def test_what_lasts_lies_on_the_home_volume() -> None:
    made = plan()
    where = {mount["target"]: mount["source"] for mount in made.mounts}
    assert where == {
        "/home/jovyan": "jupyterlab-ann_home",
        "/home/jovyan/work": "jupyterlab-ann_workspace",
        "/home/jovyan/.cache": "jupyterlab-ann_cache",
        "/home/jovyan/shared": "jupyterlab--shared",
    }
    image = Path(__file__).parents[2] / "containers" / "lab" / "Containerfile"
    on_work = re.findall(r"([A-Z_]+)=/home/jovyan/work/", image.read_text())
    assert on_work
    # Else resetting the workspace would take the sign-in along.
    for name in on_work:
        assert not made.environment[name].startswith("/home/jovyan/work"), name


def test_a_lab_has_limits_and_no_rights() -> None:
    made = plan(settings=replace(HUBS, limits=Limits(memory=2**30, cpus=1.5, pids=300)))
    host = body(made)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (2**30, 2**30)
    assert host["CpuQuota"] / host["CpuPeriod"] == 1.5
    assert host["PidsLimit"] == 300
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    for key in ("CapAdd", "Privileged", "Devices", "DeviceRequests", "Binds", "GroupAdd"):
        assert not host.get(key), key
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "2"}


def test_podman_needs_a_grant() -> None:
    for made in (plan(groups=["podman"]), plan(settings=replace(HUBS, podman=True))):
        host = body(made)["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["CapAdd"] == ["SETUID", "SETGID"]
        assert host["SecurityOpt"] == ["seccomp=unconfined"]
        assert (host["MaskedPaths"], host["ReadonlyPaths"]) == ([], [])
        assert not host.get("Privileged")


def test_a_lab_starts_without_podman_where_the_filter_would_refuse_it() -> None:
    made = plan(settings=replace(HUBS, nested=False), groups=["podman"])
    assert not body(made)["HostConfig"].get("CapAdd")
    assert made.grants == frozenset()
    [remark] = made.remarks
    assert "SOCKET_NESTED=1" in remark


def test_only_the_privileged_get_a_socket_and_it_is_their_own() -> None:
    def binds(made: spawning.Plan) -> list[dict[str, Any]]:
        return [mount for mount in made.mounts if mount["type"] == "bind"]

    assert binds(plan(groups=["others"])) == []
    made = plan("a.b", groups=["docker-privileged"])
    assert binds(made) == [
        {
            "type": "bind",
            "source": "/run/familiar-hub/people/a-2eb",
            "target": "/run/familiar-docker",
            "read_only": True,
        }
    ]
    assert made.environment["DOCKER_HOST"] == "unix:///run/familiar-docker/docker.sock"
    assert "group_add" not in made.host_config
    # Nothing is given where there is nothing, and that is said.
    bare = plan(groups=["docker-privileged"], settings=replace(HUBS, docker=DockerAccess()))
    assert binds(bare) == []
    assert "SOCKET_PEOPLE_ON_HOST" in bare.remarks[0]


def test_the_raw_socket_needs_the_flag_and_the_group() -> None:
    raw = replace(HUBS, docker=DockerAccess(raw=True, raw_gid=998))
    assert not any("docker.sock" in mount["source"] for mount in plan(settings=raw).mounts)
    made = plan(settings=raw, groups=["docker-privileged"])
    assert made.mounts[-1] == {
        "type": "bind",
        "source": "/var/run/docker.sock",
        "target": "/var/run/docker.sock",
        "read_only": True,
    }
    assert made.host_config["group_add"] == ["998"]
    assert "root on the host" in made.remarks[0]


def test_a_choice_is_a_name_and_nothing_else() -> None:
    kinds = read_profiles(
        "- name: small\n- name: large\n  groups: [teachers]\n  memory: 8G\n  cpus: 4\n"
        "  pids: 9000\n  image: familiar-lab:2\n  gpu: false\n  environment: {A: '{username}'}\n"
    )
    hub = replace(HUBS, profiles=kinds)
    large = plan(settings=hub, groups=["teachers"], options={"profile": "large"}, gpu=gpu.ON)
    assert (large.image, large.memory, large.cpus) == ("familiar-lab:2", 8 * 2**30, 4)
    assert large.host_config["pids_limit"] == 9000
    assert large.environment["A"] == "{username}"
    assert "device_requests" not in large.host_config
    small = plan(settings=hub, options={"image": "mine", "memory": "1T", "gpu": True})
    assert (small.image, small.memory) == ("familiar-lab:1", HUBS.limits.memory)
    with pytest.raises(ProfileError):
        plan(settings=hub, options={"profile": "large"})


def test_a_profile_changes_no_variable_that_rights_hang_on() -> None:
    kinds = read_profiles("- name: a\n  environment: {DOCKER_HOST: 'tcp://elsewhere'}\n")
    made = plan(settings=replace(HUBS, profiles=kinds), groups=["docker-privileged"])
    assert made.environment["DOCKER_HOST"] == "unix:///run/familiar-docker/docker.sock"


@pytest.mark.parametrize("name", [name for name in ODD if name.isprintable()])
@pytest.mark.parametrize("groups", [(), ("podman",), ("docker-privileged",)])
@pytest.mark.parametrize("state", [gpu.OFF, gpu.ON])
def test_the_filter_lets_every_lab_through(
    name: str, groups: tuple[str, ...], state: gpu.Gpu
) -> None:
    made = plan(name, "second", groups=groups, gpu=state)
    allowed = container(body(made), made.name, HUB, RULES)
    assert allowed.person == (spawning.escaped(name) if "docker-privileged" in groups else "")
    assert len(allowed.volumes) == 4


def test_the_filter_lets_cdi_through() -> None:
    found = gpu.from_info({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]})
    made = plan(gpu=found)
    sent = container(body(made), made.name, HUB, RULES).body["HostConfig"]["DeviceRequests"]
    assert sent == [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]


def test_the_filter_needs_the_flag_for_the_raw_socket_as_well() -> None:
    raw = replace(HUBS, docker=DockerAccess(raw=True, raw_gid=998))
    made = plan(settings=raw, groups=["docker-privileged"])
    with pytest.raises(Refused, match="no folder of the machine"):
        container(body(made), made.name, HUB, RULES)
    allowed = container(body(made), made.name, HUB, replace(RULES, raw=True))
    assert allowed.person == "", "there is no socket to open"
    mounted = [one for one in allowed.body["HostConfig"]["Mounts"] if one["Type"] == "bind"]
    assert mounted == [
        {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/var/run/docker.sock",
         "ReadOnly": True},
    ]  # fmt: skip
    assert allowed.body["HostConfig"]["GroupAdd"] == ["998"]


@pytest.mark.parametrize(
    "source", ["/", "/var/run", "/var/run/docker.sock/", "/run/docker.sock", "/var/run/../run/x"]
)
def test_the_flag_lets_nothing_else_through(source: str) -> None:
    mount = {"Type": "bind", "Source": source, "Target": "/x", "ReadOnly": True}
    host = {"Mounts": [mount]}
    with pytest.raises(Refused):
        container(
            {"Image": "familiar-lab:1", "HostConfig": host}, "jupyterlab-ann", HUB,
            replace(RULES, raw=True),
        )  # fmt: skip


def test_the_flag_is_for_labs_and_not_for_what_people_run() -> None:
    mount = {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/x", "ReadOnly": True}
    given = {"Image": "familiar-lab:1", "HostConfig": {"Mounts": [mount]}}
    with pytest.raises(Refused):
        container(given, "person_ann_x", Who("ann"), replace(RULES, raw=True))


def test_accounts_of_one_name_are_told_apart() -> None:
    one = datetime(2026, 11, 20, 8, 30, 5, 17)
    assert spawning.account(3, one) == "20261120T083005000017"
    assert spawning.account(3, None) == "N3"
    later = spawning.account(3, one.replace(microsecond=18))
    first, second = (Who("ann", each) for each in (spawning.account(3, one), later))
    assert first.owner != second.owner
    assert first.prefix == second.prefix == "person_ann_"


def test_a_share_on_another_machine() -> None:
    cifs = Cifs("//files.example.org/lab/data", Path(), "vers=3.0")
    options = spawning.cifs_options(cifs, {"username": "hub", "password": "hidden"})
    assert options == {
        "type": "cifs",
        "device": "//files.example.org/lab/data",
        "o": "password=hidden,username=hub,addr=files.example.org,uid=1000,gid=1000,"
        "file_mode=0660,dir_mode=0770,vers=3.0",
    }
    remote = replace(HUBS, shared="cifs", cifs=cifs)
    assert spawning.shared_volume(remote) != spawning.shared_volume(HUBS)
    # Nothing of how it is reached stands in a lab's container.
    assert "files.example.org" not in json.dumps(body(plan(settings=remote)))
    assert spawning.SHARED not in {
        mount["target"] for mount in plan(settings=replace(HUBS, shared="off")).mounts
    }
