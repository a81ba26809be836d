"""The policy of the Engine's socket: what it refuses, what it lets through, and what it writes."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from familiar_hub import socket_answers
from familiar_hub.socket_build import DOCKERFILE, rebuilt, recipe
from familiar_hub.socket_looks import Look, Unclear, question, settle
from familiar_hub.socket_policy import Allowed, Request, body_limit, judge
from familiar_hub.socket_reading import OLDEST_API, Missing, Refused, reference
from familiar_hub.socket_rules import HUB, IMAGE_OWNER, OWNER, Limits, Rules, Who
from familiar_hub.socket_settings import SocketSettings, SocketSettingsError
from hub.socket_attacks import ATTACKS, DOCKERFILES, IMAGE, NETWORK, PREFIX, Attack

ALICE = Who("alice")
SHARED = "familiar-test-shared"
RULES = Rules(
    images=(reference(IMAGE),),
    network=NETWORK,
    prefix=PREFIX,
    shared=SHARED,
    people_on_host="/srv/people",
    kept=(reference("familiar-hub:1"),),
    limits=Limits(memory=1 << 30, cpus=1.5, pids=100),
)
VERSION = "/v1.41"


def who(attack: Attack) -> Who:
    return HUB if attack.who == "hub" else Who(attack.who)


def ask(
    client: Who, method: str, target: str, body: Any = None, rules: Rules = RULES, **more: Any
) -> Allowed:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return judge(Request(method, VERSION + target, data, **more), client, rules)


def made(client: Who, rules: Rules = RULES, top: Any = None, **host: Any) -> dict[str, Any]:
    """Return what the Engine is told to make, as JSON gives it back."""
    body = {"Image": IMAGE, **(top or {}), "HostConfig": host}
    prefix = client.prefix if client.slug else PREFIX
    allowed = ask(client, "POST", f"/containers/create?name={prefix}x", body, rules)
    told: dict[str, Any] = json.loads(json.dumps(allowed.body))
    return told


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.who}: {a.name}")
def test_an_attack_is_refused(attack: Attack) -> None:
    versioned = attack.target.startswith(("/v1.", "//"))
    target = attack.target if versioned else VERSION + attack.target
    if len(attack.data) > body_limit_of(attack):
        return  # never read; the tests with a real proxy send it
    with pytest.raises(Refused) as refused:
        judged(attack, Request(attack.method, target, attack.data))
    assert refused.value.status == attack.status
    sentence = str(refused.value)
    assert sentence, "whoever asks is told why"
    assert len(sentence) < 400
    assert "\n" not in sentence


def judged(attack: Attack, request: Request) -> None:
    allowed = judge(request, who(attack), RULES)
    assert attack.looks, f"it went through: {allowed}"
    for look in allowed.looks:
        settle(look, 200, SOMEBODYS[look.kind], who(attack), RULES)
    pytest.fail(f"it went through: {allowed}")


SOMEBODYS: dict[str, Any] = {
    "container": {"Id": "f" * 64, "Config": {"Labels": {OWNER: "person/bob"}}},
    "volume": {"Driver": "local", "Options": {"o": "bind"}, "Labels": {OWNER: "person/bob"}},
    "network": {"Id": "f" * 64, "Labels": {}},
    "image": {"Id": "sha256:" + "f" * 64, "RepoTags": [], "Config": None},
}


def body_limit_of(attack: Attack) -> int:
    try:
        return body_limit(attack.method, VERSION + attack.target, who(attack), RULES)
    except Refused:
        return 1 << 20


def test_there_are_enough_attacks() -> None:
    names = {attack.name for attack in ATTACKS}
    assert len(names) >= 60
    assert sum(attack.raw // 100 == 2 for attack in ATTACKS) >= 60, "shown to work on the Engine"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_dockerfile_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        recipe(DOCKERFILES[name].format(image=IMAGE), ALICE)


@pytest.mark.parametrize("slug", ["", "alice"])
@given(key=st.text(min_size=1, max_size=20), value=st.sampled_from([True, 1, "x", ["x"], {"x": 1}]))
def test_no_unknown_field_reaches_the_engine(slug: str, key: str, value: Any) -> None:
    client = Who(slug)
    try:
        told = made(client, **{key: value})
    except Refused:
        return
    assert key in told["HostConfig"], "what is let through was known by its very name"


@given(st.binary(max_size=200))
def test_bytes_are_refused_or_an_object(data: bytes) -> None:
    with pytest.raises(Refused):
        judge(Request("POST", f"/containers/create?name={PREFIX}x", data), HUB, RULES)


@given(st.text(max_size=60))
def test_a_target_is_refused_or_a_table_s(text: str) -> None:
    try:
        allowed = judge(Request("GET", "/" + text), ALICE, RULES)
    except Refused:
        return
    assert allowed.path.startswith(("/_ping", "/version", "/info", "/containers", "/volumes",
                                    "/images", "/networks", "/exec"))  # fmt: skip
    assert ".." not in allowed.path
    assert "%" not in allowed.path


# -- what is let through, and as what --------------------------------------------------------------


def test_the_hub_spawns_as_dockerspawner_asks() -> None:
    body = {
        "Image": IMAGE,
        "Env": ["JUPYTERHUB_API_TOKEN=x"],
        "Cmd": ["jupyterhub-singleuser"],
        "Tty": False,
        "OpenStdin": False,
        "AttachStdout": False,
        "ExposedPorts": {"8888/tcp": {}},
        "Volumes": {"/home/jovyan": {}},
        "HostConfig": {
            "AutoRemove": True,
            "Binds": [f"{PREFIX}alice-home:/home/jovyan:rw", f"{SHARED}:/shared:ro"],
            "Links": [],
            "Mounts": [{"Type": "volume", "Source": f"{PREFIX}alice-cache", "Target": "/cache",
                        "ReadOnly": False}],
            "Memory": 1 << 30,
            "CpuPeriod": 100000,
            "CpuQuota": 50000,
            "PidsLimit": 500,
            "NetworkMode": NETWORK,
        },
    }  # fmt: skip
    allowed = ask(HUB, "POST", f"/containers/create?name={PREFIX}alice", body)
    assert allowed.path == f"{VERSION}/containers/create"
    assert allowed.query == {"name": f"{PREFIX}alice"}
    told: Any = allowed.body
    assert told["Labels"] == {OWNER: "hub"}
    assert told["Env"] == ["JUPYTERHUB_API_TOKEN=x"]
    host = told["HostConfig"]
    assert host["Binds"] == body["HostConfig"]["Binds"]  # type: ignore[index]
    assert (host["IpcMode"], host["CgroupnsMode"]) == ("private", "private")
    assert "Links" not in host, "what is empty is left out"
    # The shared volume is the operator's, with whatever driver; the others are looked at.
    assert [(look.kind, look.name, look.must) for look in allowed.looks] == [
        ("volume", f"{PREFIX}alice-home", "made"),
        ("volume", f"{PREFIX}alice-cache", "made"),
    ]


def test_everything_that_docker_sends_empty_is_left_out() -> None:
    empty: dict[str, Any] = {
        "Binds": None, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}},
        "NetworkMode": "none", "PortBindings": {}, "AutoRemove": False, "VolumeDriver": "",
        "VolumesFrom": None, "ConsoleSize": [24, 80], "CapAdd": None, "CapDrop": None,
        "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": None,
        "GroupAdd": None, "IpcMode": "", "Cgroup": "", "Links": None, "OomScoreAdj": 0,
        "PidMode": "", "Privileged": False, "PublishAllPorts": False, "ReadonlyRootfs": False,
        "SecurityOpt": None, "UTSMode": "", "UsernsMode": "", "ShmSize": 0, "Isolation": "",
        "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0,
        "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "CpuPeriod": 0, "CpuQuota": 0,
        "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "",
        "Devices": [], "DeviceCgroupRules": None, "DeviceRequests": None, "MemoryReservation": 0,
        "MemorySwap": 0, "MemorySwappiness": -1, "OomKillDisable": False, "PidsLimit": 0,
        "Ulimits": [], "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0, "MaskedPaths": None,
        "IOMaximumBandwidth": 0, "ReadonlyPaths": None, "RestartPolicy":
        {"Name": "no", "MaximumRetryCount": 0},
    }  # fmt: skip
    host = made(ALICE, **empty)["HostConfig"]
    assert set(host) == {
        "CgroupnsMode", "ConsoleSize", "IpcMode", "LogConfig", "Memory", "MemorySwap",
        "MemorySwappiness", "NanoCpus", "NetworkMode", "PidsLimit", "RestartPolicy", "ShmSize",
    }  # fmt: skip


def test_a_person_is_limited() -> None:
    host = made(ALICE)["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 1 << 30
    assert host["NanoCpus"] == 1_500_000_000
    assert host["PidsLimit"] == 100
    assert host["NetworkMode"] == "person_alice_default"
    assert host["LogConfig"]["Config"]["max-size"] == "10m"
    assert "NVIDIA_VISIBLE_DEVICES=void" in made(ALICE)["Env"]
    less = made(ALICE, Memory=64 << 20, NanoCpus=10**9, PidsLimit=5, MemorySwap=-1)["HostConfig"]
    assert (less["Memory"], less["MemorySwap"], less["NanoCpus"], less["PidsLimit"]) == (
        64 << 20, 64 << 20, 10**9, 5,
    )  # fmt: skip
    env = made(ALICE, top={"Env": ["NVIDIA_VISIBLE_DEVICES=all", "A=1"]})["Env"]
    assert env == ["A=1", "NVIDIA_VISIBLE_DEVICES=void"]


def test_a_lab_has_podman_only_where_the_settings_say_so() -> None:
    wish: dict[str, Any] = dict(
        CapAdd=["SETUID", "CAP_SETGID"], SecurityOpt=["seccomp=unconfined"], MaskedPaths=[],
        ReadonlyPaths=[], CapDrop=["ALL"],
    )  # fmt: skip
    with pytest.raises(Refused):
        made(HUB, **wish)
    nested = replace(RULES, nested=True)
    host = made(HUB, nested, **wish)["HostConfig"]
    assert host["CapAdd"] == ["SETUID", "SETGID"]
    assert host["MaskedPaths"] == host["ReadonlyPaths"] == []
    for more in ({"CapAdd": ["SYS_ADMIN"]}, {"SecurityOpt": ["apparmor=unconfined"]}):
        with pytest.raises(Refused):
            made(HUB, nested, **more)
    # Empty is no mistake of a client where the settings do not allow it: it is left out.
    assert "MaskedPaths" not in made(HUB, MaskedPaths=[])["HostConfig"]


def test_a_lab_has_gpus_only_where_the_settings_say_so() -> None:
    wish = [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]], "Options": {}}]
    with pytest.raises(Refused):
        made(HUB, DeviceRequests=wish)
    gpu = replace(RULES, gpu=True)
    asked = made(HUB, gpu, DeviceRequests=wish)["HostConfig"]["DeviceRequests"]
    assert asked == [{"Count": -1, "Capabilities": [["gpu"]]}]
    cdi = {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}
    assert made(HUB, gpu, DeviceRequests=[cdi])["HostConfig"]["DeviceRequests"] == [cdi]
    for bad in ({"DeviceIDs": ["vendor.com/disk=all"]}, {"Options": {"x": "y"}}):
        with pytest.raises(Refused):
            made(HUB, gpu, DeviceRequests=[{**cdi, **bad}])
    with pytest.raises(Refused):
        made(ALICE, gpu, DeviceRequests=wish)


def test_a_lab_gets_the_socket_of_a_person_who_has_one() -> None:
    mount = {"Type": "bind", "Source": "/srv/people/alice", "Target": "/run/familiar-docker",
             "ReadOnly": True}  # fmt: skip
    body = {"Image": IMAGE, "HostConfig": {"Mounts": [mount]}}
    allowed = ask(HUB, "POST", f"/containers/create?name={PREFIX}alice", body)
    assert [(look.kind, look.name, look.must) for look in allowed.looks] == [
        ("person", "alice", "open")
    ]
    for other in ("/srv/people", "/srv/people/", "/srv/people/..", "/srv/people/a/b", "/srv/peopl"):
        with pytest.raises(Refused):
            made(HUB, Mounts=[{**mount, "Source": other}])
    with pytest.raises(Refused):
        made(HUB, Mounts=[{**mount, "ReadOnly": False}])
    with pytest.raises(Refused):
        made(HUB, Mounts=[mount, {**mount, "Source": "/srv/people/bob", "Target": "/x"}])


def test_what_is_asked_about_a_container_goes_on_with_its_id() -> None:
    mine = {"Id": "a" * 64, "Config": {"Labels": {OWNER: "hub"}}}
    for method, target, path in [
        ("GET", "/containers/lab/json", "/containers/{}/json"),
        ("POST", "/containers/lab/start", "/containers/{}/start"),
        ("POST", "/containers/lab/stop?t=5", "/containers/{}/stop"),
        ("POST", "/containers/lab/restart?t=5", "/containers/{}/restart"),
        ("POST", "/containers/lab/wait", "/containers/{}/wait"),
        ("GET", "/containers/lab/logs?stdout=1&tail=all", "/containers/{}/logs"),
        ("DELETE", "/containers/lab?v=True&link=False&force=True", "/containers/{}"),
    ]:
        allowed = ask(HUB, method, target)
        assert allowed.path == VERSION + path
        [look] = allowed.looks
        assert question(look, HUB).target == "/containers/lab/json"
        assert settle(look, 200, mine, HUB, RULES) == "a" * 64
    # Engines of old took settings from a start; the body is not passed on.
    started = ask(HUB, "POST", "/containers/lab/start", {"HostConfig": {"Privileged": True}})
    assert started.body is None


def test_a_volume_that_is_made_anew_keeps_its_labels() -> None:
    body = {"Name": f"{PREFIX}alice-home", "Driver": "local", "Labels": {OWNER: "hub", "a": "b"}}
    assert ask(HUB, "POST", "/volumes/create", body).body == body


def test_lists_are_of_ones_own() -> None:
    allowed = ask(ALICE, "GET", "/containers/json?all=1&filters=%7B%22label%22:%5B%22x%22%5D%7D")
    assert json.loads(allowed.query["filters"]) == {"label": ["x", f"{OWNER}=person/alice"]}
    things: list[Any] = [
        {"Labels": {OWNER: o}, "Id": o} for o in ("person/alice", "person/bob", "hub")
    ]
    things.append({"Labels": None, "Id": "none"})
    for name in ("containers", "networks"):
        assert [
            one["Id"] for one in socket_answers.shown(name, things, ALICE, RULES)
        ] == ["person/alice"]  # fmt: skip
    volumes = {"Volumes": [{"Name": f"{PREFIX}a"}, {"Name": "x"}, {"Name": SHARED}]}
    shown = socket_answers.shown("volumes", volumes, HUB, RULES)
    assert [volume["Name"] for volume in shown["Volumes"]] == [f"{PREFIX}a", SHARED]


def test_images_are_seen_by_their_label_or_name() -> None:
    images: list[dict[str, Any]] = [
        {
            "Id": "own",
            "Labels": {IMAGE_OWNER: "person/alice"},
            "RepoTags": ["localhost/person/alice/x:1"],
        },
        {"Id": "bob", "Labels": {IMAGE_OWNER: "person/bob"}, "RepoTags": ["python:3"]},
        {
            "Id": "pulled",
            "Labels": None,
            "RepoTags": ["python:3", "localhost/person/bob/py:1", "inner.example/py:1"],
        },
        {"Id": "lab", "Labels": None, "RepoTags": [IMAGE]},
        {"Id": "operator", "Labels": None, "RepoTags": ["inner.example/secret:1"]},
        {"Id": "between", "Labels": None, "RepoTags": None},
        {"Id": "hub", "Labels": None, "RepoTags": ["familiar-hub:1"]},
    ]
    shown = socket_answers.shown("images", images, ALICE, RULES)
    assert [one["Id"] for one in shown] == ["own", "pulled", "lab"]
    assert shown[1]["RepoTags"] == ["python:3"], "what others called it is theirs"


def test_the_machine_is_hardly_seen() -> None:
    info = {"NCPU": 4, "Name": "host", "Containers": 9, "Runtimes": {}, "DockerRootDir": "/x"}
    assert socket_answers.shown("info", info, ALICE, RULES) == {"NCPU": 4}
    assert set(socket_answers.shown("info", info, HUB, RULES)) == {"NCPU", "Runtimes"}


def test_pulls_name_one_image_and_move_none() -> None:
    allowed = ask(ALICE, "POST", "/images/create?fromImage=docker.io/library/python&tag=3.12")
    assert allowed.query == {"fromImage": "python", "tag": "3.12"}
    [look] = allowed.looks
    assert settle(look, 404, {}, ALICE, RULES) == ""
    with pytest.raises(Refused, match="here already"):
        settle(look, 200, {"Id": "x"}, ALICE, RULES)
    assert ask(ALICE, "POST", "/images/create?fromImage=python").query["tag"] == "latest"
    with pytest.raises(Refused):
        ask(ALICE, "POST", "/images/create?fromImage=familiar-hub&tag=2")
    own = ask(HUB, "POST", "/images/create?fromImage=localhost/familiar-test-socket&tag=latest")
    assert own.query == {"fromImage": "localhost/familiar-test-socket", "tag": "latest"}


# -- looks -----------------------------------------------------------------------------------------


def test_what_is_somebody_elses_is_not_there() -> None:
    for client in (HUB, ALICE):
        for kind in ("container", "network"):
            for label in ({}, {OWNER: "person/bob"}, {OWNER: "person/alice2"}, {OWNER: ""}):
                answer = {"Id": "x", "Config": {"Labels": label}, "Labels": label}
                with pytest.raises(Missing):
                    settle(Look(kind, "x", "own"), 200, answer, client, RULES)
    with pytest.raises(Unclear):
        settle(Look("container", "x", "own"), 500, {"message": "x"}, HUB, RULES)


def test_a_command_is_its_containers() -> None:
    first = settle(Look("exec", "e1", "own"), 200, {"ID": "e1", "ContainerID": "c1"}, ALICE, RULES)
    assert first == Look("container", "c1", "own", then="e1")
    assert isinstance(first, Look)
    mine = {"Id": "c1", "Config": {"Labels": {OWNER: "person/alice"}}}
    assert settle(first, 200, mine, ALICE, RULES) == "e1"
    with pytest.raises(Missing):
        settle(first, 200, SOMEBODYS["container"], ALICE, RULES)


def test_volumes_are_made_where_there_is_room() -> None:
    look = Look("volume", "person_alice_x", "made")
    room = settle(look, 404, {}, ALICE, RULES)
    assert isinstance(room, Look)
    assert room.must == "room"
    many: Any = {"Volumes": [{}] * RULES.limits.volumes}
    with pytest.raises(Refused, match="remove one"):
        settle(room, 200, many, ALICE, RULES)
    make = settle(room, 200, {"Volumes": None}, ALICE, RULES)
    assert isinstance(make, Look)
    asked = question(make, ALICE)
    assert (asked.method, asked.target) == ("POST", "/volumes/create")
    assert asked.body == {"Name": "person_alice_x", "Labels": {OWNER: "person/alice"}}
    # Between the two somebody may have made one of that name.
    options = {"Driver": "local", "Options": {"o": "bind"}, "Labels": {OWNER: "person/alice"}}
    for answer in (SOMEBODYS["volume"], options):
        with pytest.raises(Refused):
            settle(make, 201, answer, ALICE, RULES)
    with pytest.raises(Refused):
        settle(look, 200, options, HUB, RULES)


def test_a_build_begins_with_what_is_in_sight() -> None:
    look = Look("image", "python:3", "base")
    plain = {"Id": "x", "RepoTags": ["python:3"], "Config": {"Labels": None}}
    assert settle(look, 200, plain, ALICE, RULES) == "x"
    later = {**plain, "Config": {"OnBuild": ["ADD http://127.0.0.1/ /x"]}}
    with pytest.raises(Refused, match="ONBUILD"):
        settle(look, 200, later, ALICE, RULES)


def test_a_container_gets_no_operators_label_from_its_image() -> None:
    look = Look("image", "python:3", "runs")
    image: dict[str, Any] = {"Id": "x", "RepoTags": ["python:3"]}
    for labels in (None, {"a": "b", OWNER: "hub"}):
        assert settle(look, 200, {**image, "Config": {"Labels": labels}}, ALICE, RULES) == "x"
    for key, value in {
        "com.docker.compose.project": "familiar",
        "com.centurylinklabs.watchtower.enable": "true",
        "traefik.enable": "true",
    }.items():
        bad = {**image, "Config": {"Labels": {key: value}}}
        with pytest.raises(Refused, match="The image's labels"):
            settle(look, 200, bad, ALICE, RULES)


# -- builds ----------------------------------------------------------------------------------------


def context(files: dict[str, str], *more: tarfile.TarInfo) -> io.BytesIO:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
        for info in more:
            tar.addfile(info)
    data.seek(0)
    return data


def test_a_dockerfile_is_written_anew() -> None:
    text = (
        "# a comment\nARG VERSION=1\nFROM python:3 as Builder\nRUN a && \\\n    # between\n\n  b\n"
        "FROM localhost/person/alice/base\nCOPY --chown=1:1 --from=builder /a /b\n"
        'COPY --from=0 /c /d\nCOPY --from=alpine:3 /e /f\nadd x.tar /x\nLABEL a=b\nCMD ["x"]\n'
    )
    label = f'LABEL "{IMAGE_OWNER}"="person/alice" "{OWNER}"=""'
    made = recipe(text, ALICE)
    assert made.text.splitlines() == [
        "ARG VERSION=1", "FROM python:3 AS Builder", label, "RUN a &&   b", label,
        "FROM localhost/person/alice/base", label, "COPY --chown=1:1 --from=builder /a /b",
        "COPY --from=0 /c /d", "COPY --from=alpine:3 /e /f", "ADD x.tar /x", "LABEL a=b",
        'CMD ["x"]', label,
    ]  # fmt: skip
    assert made.images == ("python:3", "localhost/person/alice/base:latest", "alpine:3")


def test_a_context_is_written_anew() -> None:
    given_, taken = context({"./Dockerfile": f"FROM {IMAGE}", "a/b": "text"}), io.BytesIO()
    made = rebuilt(given_, taken, "Dockerfile", ALICE)
    assert made.images == (IMAGE,)
    taken.seek(0)
    with tarfile.open(fileobj=taken) as tar:
        assert tar.getnames() == ["Dockerfile", "a/b", DOCKERFILE]
        assert tar.extractfile(DOCKERFILE).read().decode() == made.text  # type: ignore[union-attr]
        assert tar.extractfile("a/b").read() == b"text"  # type: ignore[union-attr]


def test_of_two_dockerfiles_the_one_that_was_read_is_built() -> None:
    data, taken = context({"Dockerfile": "FROM busybox"}), io.BytesIO()
    more = context({"Dockerfile": f"FROM {IMAGE}"}).getvalue()
    both = io.BytesIO(data.getvalue()[:1024] + more)
    made = rebuilt(both, taken, "Dockerfile", ALICE)
    assert made.images == (IMAGE,)
    taken.seek(0)
    with tarfile.open(fileobj=taken) as tar:
        assert tar.extractfile(DOCKERFILE).read().decode() == made.text  # type: ignore[union-attr]


def _entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "bad",
    [
        context({"Dockerfile": "FROM x", "../x": ""}),
        context({"Dockerfile": "FROM x", "/etc/x": ""}),
        context({"Dockerfile": "FROM x", DOCKERFILE: "FROM y"}),
        context({"Dockerfile": "FROM x"}, _entry("x", tarfile.LNKTYPE, "Dockerfile")),
        context({"Dockerfile": "FROM x"}, _entry("x", tarfile.BLKTYPE)),
        context({}, _entry("Dockerfile", tarfile.SYMTYPE, "/etc/passwd")),
        context({"other": "FROM x"}),
        io.BytesIO(b"\x1f\x8b not a tar file"),
        io.BytesIO(context({"Dockerfile": "FROM x" * 1000}).getvalue()[:2000]),
        io.BytesIO(b""),
    ],
    ids=["above", "root", "ours", "hard link", "device", "link", "no file", "gzip", "cut", "empty"],
)
def test_a_context_is_refused(bad: io.BytesIO) -> None:
    bad.seek(0)
    with pytest.raises(Refused):
        rebuilt(bad, io.BytesIO(), "Dockerfile", ALICE)


def test_a_build_is_limited_and_labelled() -> None:
    target = (
        "/build?t=localhost/person/alice/web:1&rm=1&version=1&memory=0&cpuquota=0&cgroupparent="
        "&ulimits=null&cachefrom=%5B%5D&labels=%7B%22a%22:%22b%22%7D&buildargs=%7B%22X%22:null%7D"
        "&networkmode=default&dockerfile=a/Dockerfile"
    )
    allowed = ask(ALICE, "POST", target)
    assert allowed.context == "a/Dockerfile"
    assert allowed.query["dockerfile"] == DOCKERFILE
    assert allowed.query["memory"] == str(1 << 30)
    assert allowed.query["cpuquota"] == "150000"
    assert allowed.query["networkmode"] == "person_alice_default"
    assert json.loads(allowed.query["labels"]) == {
        "a": "b", IMAGE_OWNER: "person/alice", OWNER: "",
    }  # fmt: skip
    assert json.loads(allowed.query["buildargs"]) == {"X": None}


# -- names and settings ----------------------------------------------------------------------------


def test_no_two_people_share_a_prefix() -> None:
    slugs = ["a", "a-2db", "alice", "alice2", "a.b", "1"]
    people = [Who(slug) for slug in slugs]
    for one in people:
        for other in people:
            if one is not other:
                assert not one.prefix.startswith(other.prefix)
                assert not one.repository.startswith(other.repository)
    for bad in ("A", "a_b", "a/b", "..", "-a", "a-", "é", "a" * 201, "a\n"):
        with pytest.raises(Refused):
            Who(bad)


def test_names_of_images() -> None:
    assert str(reference("python")) == "python:latest"
    assert reference("docker.io/library/python:latest") == reference("python")
    assert reference("localhost/x:1").host == "localhost"
    assert reference("a.b:5000/x/y").host == "a.b:5000"
    assert reference("library/x") == reference("x")
    for bad in (
        "",
        "Python",
        "x:",
        "x y",
        "../x",
        "x@sha256:1",
        "0" * 64,
        "x:1:2",
        "x//y",
        "a" * 600,
    ):
        with pytest.raises(Refused):
            reference(bad)


def test_the_oldest_version_that_is_taken() -> None:
    assert OLDEST_API == (1, 41)
    for good in ("/v1.41/version", "/v1.52/version", "/version"):
        assert judge(Request("GET", good), HUB, RULES).path == good


def test_settings_are_read_and_all_faults_told_at_once() -> None:
    good = {"DOCKER_NOTEBOOK_IMAGE": IMAGE, "DOCKER_NETWORK_NAME": NETWORK,
            "SOCKET_PERSON_MEMORY": "512m", "SOCKET_NESTED": "1",
            "SOCKET_KEPT_IMAGES": "familiar-hub:1, traefik:v3",
            "SOCKET_HUB_GROUP": "1000"}  # fmt: skip
    found = SocketSettings.from_environment(good)
    assert found.rules.images == (reference(IMAGE),)
    assert found.rules.limits.memory == 512 << 20
    assert found.rules.nested
    assert not found.rules.gpu
    assert found.group == 1000
    assert found.rules.keeps(reference("traefik:v4"))
    bad = {"SOCKET_PERSON_CPUS": "many", "SOCKET_NESTED": "yes", "SOCKET_PREFIX": "x",
           "SOCKET_PEOPLE_ON_HOST": "relative", "SOCKET_KEPT_IMAGES": "Bad"}  # fmt: skip
    with pytest.raises(SocketSettingsError) as told:
        SocketSettings.from_environment(bad)
    names = {"DOCKER_NOTEBOOK_IMAGE", "DOCKER_NETWORK_NAME", *bad}
    assert {fault.split()[0] for fault in told.value.faults} == names
