"""The socket proxy before a real Docker Engine: attacks, the hub, people who come and go, bytes."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.engines import Engine
from familiar_hub.socket_rules import OWNER
from hub.socket_attacks import ATTACKS, IMAGE, NETWORK, OUTSIDE, PREFIX, Attack
from hub.socket_fixtures import (
    OURS,
    SHARED,
    VERSION,
    Proxied,
    ask,
    exchange,
    made,
    removed,
    running_proxy,
)

docker_py: Any = importlib.import_module("docker")

pytest_plugins = ["hub.socket_fixtures"]
# Another run of the tests, or another worker, may have the Engine for minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


# -- attacks ---------------------------------------------------------------------------------------


def told(proxied: Proxied, attack: Attack, path: Path) -> tuple[int, Any]:
    versioned = attack.target.startswith(("/v1.", "//", "/familiar"))
    target = attack.target if versioned else VERSION + attack.target
    return ask(path, attack.method, target, attack.data or None, attack.kind)


@pytest.mark.parametrize("who", ["hub", "alice"])
def test_attacks_are_refused_and_leave_nothing(proxied: Proxied, victims: None, who: str) -> None:
    before = everything(proxied)
    went: list[object] = []
    for attack in (one for one in ATTACKS if one.who == who):
        status, answer = told(proxied, attack, proxied.socket(who))
        sentence = answer.get("message") if isinstance(answer, dict) else None
        if attack.method not in ("GET", "POST", "PUT", "DELETE"):
            sentence = sentence or "-"
        if status != attack.status or not sentence:
            went.append((attack.name, status, answer))
    assert not went
    assert everything(proxied) == before


def everything(proxied: Proxied) -> dict[str, Any]:
    """Return what the Engine has of these tests; other tests use it at the same time."""
    listed = {
        "containers": "/containers/json?all=1",
        "volumes": "/volumes",
        "networks": "/networks",
    }
    found = {name: proxied.ask("raw", "GET", path)[1] for name, path in listed.items()}
    return {
        "containers": sorted(
            (one["Id"], one["State"], *one["Names"])
            for one in found["containers"]
            if one["Image"] == IMAGE or one["Names"][0][1:].startswith(OURS)
        ),
        "volumes": sorted(
            one["Name"] for one in found["volumes"]["Volumes"] if one["Name"].startswith(OURS)
        ),
        "networks": sorted(
            one["Name"]
            for one in found["networks"]
            if one["Name"].startswith(OURS) and not one["Name"].endswith("_default")
        ),
    }


def test_the_same_attacks_work_on_the_engine_itself(proxied: Proxied, victims: None) -> None:
    proxied.socket("alice")
    other: list[object] = []
    worked = 0
    for attack in (one for one in ATTACKS if one.raw):
        status, answer = told(proxied, attack, proxied.raw)
        if status != attack.raw:
            other.append((attack.who, attack.name, status, answer))
        worked += status in (200, 201)
        if attack.target.startswith("/containers/create") and status == 201:
            removed(proxied, answer["Id"])
        if attack.target == "/volumes/create" and status == 201:
            proxied.ask("raw", "DELETE", f"/volumes/{answer['Name']}")
    assert not other
    assert worked >= 60


@pytest.mark.parametrize(
    "name",
    [
        "privileged in small letters",
        "HostConfig in small letters",
        "privileged twice",
        "privileged twice, in two cases",
        "HostConfig twice",
        "an escape in a key",
    ],
)
def test_the_engine_reads_such_keys(proxied: Proxied, name: str) -> None:
    """What a filter that looks for ``HostConfig.Privileged`` alone would let through."""
    [attack] = [one for one in ATTACKS if one.name == name and one.who == "hub"]
    status, answer = told(proxied, attack, proxied.raw)
    assert status == 201
    try:
        made_ = proxied.ask("raw", "GET", f"/containers/{answer['Id']}/json")[1]
        assert made_["HostConfig"]["Privileged"] is True
    finally:
        removed(proxied, answer["Id"])


def test_an_attack_on_the_engine_itself_has_the_host(proxied: Proxied, tmp_path: Path) -> None:
    """What the refusals are for: a folder of the machine, read from a container."""
    (tmp_path / "secret").write_text("of the host")
    done = proxied.engine.run(
        "run", "--rm", "--network=none", f"--volume={tmp_path}:/x", IMAGE, "cat", "/x/secret"
    )
    assert done.stdout == "of the host"
    tried = proxied.docker(
        "alice", "run", "--rm", f"--volume={tmp_path}:/x", IMAGE, "cat", "/x/secret", check=False
    )
    assert tried.returncode != 0
    assert "no folders of the machine" in tried.stderr


# -- the hub ---------------------------------------------------------------------------------------


def client(proxied: Proxied, who: str) -> Any:
    path = proxied.socket(who)
    return docker_py.APIClient(base_url=f"unix://{path}", version="auto", timeout=60)


def test_the_hub_works_with_docker_py(proxied: Proxied) -> None:
    proxied.engine.run("volume", "create", SHARED)
    hub = client(proxied, "hub")
    name = f"{PREFIX}carol"
    host = hub.create_host_config(
        binds={
            f"{name}-home": {"bind": "/home/jovyan", "mode": "rw"},
            SHARED: {"bind": "/shared", "mode": "ro"},
        },
        auto_remove=False, network_mode=NETWORK, mem_limit="128m", cpu_period=100_000,
        cpu_quota=50_000, pids_limit=100, links={}, mounts=[],
    )  # fmt: skip
    host["CapDrop"] = ["ALL"]
    command = ["python3", "-c", "print('up', flush=True); import time; time.sleep(600)"]
    container = hub.create_container(
        image=IMAGE, name=name, command=command, environment={"A": "b"}, host_config=host,
        volumes=["/home/jovyan", "/shared"], ports={"8888/tcp": None},
    )["Id"]  # fmt: skip
    try:
        hub.start(container)
        state = hub.inspect_container(name)
        assert state["State"]["Running"]
        assert state["Config"]["Labels"][OWNER] == "hub"
        assert state["HostConfig"]["IpcMode"] == "private"
        assert [m["Name"] for m in state["Mounts"] if m["Destination"] == "/home/jovyan"] == [
            f"{name}-home"
        ]
        assert state["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
        deadline = time.monotonic() + 20
        while hub.logs(container) != b"up\n":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        hub.restart(container, timeout=1)
        assert [c["Id"] for c in hub.containers(filters={"name": name})] == [container]
        assert not hub.containers(filters={"name": OUTSIDE})
        assert hub.inspect_volume(f"{name}-home")["Labels"] == {OWNER: "hub"}
        assert f"{name}-home" in {v["Name"] for v in hub.volumes()["Volumes"]}
        hub.stop(container, timeout=1)
        assert hub.wait(container)["StatusCode"] == 137
    finally:
        hub.remove_container(container, v=True, force=True)
    hub.remove_volume(f"{name}-home")
    with pytest.raises(docker_py.errors.NotFound):
        hub.inspect_container(name)
    with pytest.raises(docker_py.errors.NotFound):
        hub.inspect_image("busybox")
    assert hub.inspect_image(IMAGE)["Id"]
    assert set(hub.info()) >= {"Runtimes", "NCPU"}


def test_a_refusal_is_a_sentence_for_docker_py(proxied: Proxied) -> None:
    hub = client(proxied, "hub")
    host = hub.create_host_config(privileged=True, network_mode=NETWORK)
    with pytest.raises(docker_py.errors.APIError) as refused:
        hub.create_container(image=IMAGE, name=f"{PREFIX}x", host_config=host)
    assert refused.value.response.status_code == 403
    assert refused.value.explanation == "HostConfig.Privileged may not be set here: leave it out."


# -- people come and go ----------------------------------------------------------------------------


def test_a_socket_that_is_closed_ends_what_goes_through_it(proxied: Proxied) -> None:
    container = made(proxied, "frank", start=True)
    path = proxied.socket("frank")
    ended = threading.Event()

    def follow() -> None:
        request = f"GET {VERSION}/containers/{container}/logs?follow=1&stdout=1 HTTP/1.1\r\n"
        exchange(path, f"{request}Host: x\r\n\r\n".encode(), end=False, wait=60)
        ended.set()

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        time.sleep(0.5)
        assert not ended.is_set()
        status, told_ = proxied.ask("hub", "DELETE", "/familiar/people/frank", version="")
        assert (status, told_) == (200, {"person": "frank", "open": False})
        assert ended.wait(5)
        with pytest.raises(OSError, match=r".*"):
            ask(path, "GET", "/_ping")
        assert "frank" not in proxied.ask("hub", "GET", "/familiar/people", version="")[1]
        mount = {"Type": "bind", "Source": str(path.parent), "Target": "/x", "ReadOnly": True}
        body = {"Image": IMAGE, "HostConfig": {"NetworkMode": "none", "Mounts": [mount]}}
        create = f"/containers/create?name={PREFIX}frank"
        assert proxied.ask("hub", "POST", create, body)[0] == 403
    finally:
        follower.join(10)
        proxied.opened.discard("frank")
        removed(proxied, container)


def test_a_lab_reaches_its_persons_socket_and_no_other(proxied: Proxied) -> None:
    path = proxied.socket("alice")
    proxied.socket("bob")
    mount = {"Type": "bind", "Source": str(path.parent), "Target": "/run/d", "ReadOnly": True}
    code = (
        "import socket, os; s = socket.socket(socket.AF_UNIX); s.connect('/run/d/docker.sock');"
        "s.sendall(b'GET /_ping HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n');"
        "print(s.recv(15), os.listdir('/run/d'), os.getuid())"
    )
    body = {
        "Image": IMAGE, "Cmd": ["python3", "-c", code], "User": "1000",
        "HostConfig": {"NetworkMode": "none", "Mounts": [mount], "CapDrop": ["ALL"]},
    }  # fmt: skip
    name = f"{PREFIX}with-socket"
    status, told_ = proxied.ask("hub", "POST", f"/containers/create?name={name}", body)
    assert status == 201, told_
    try:
        hub = client(proxied, "hub")
        hub.start(name)
        assert hub.wait(name)["StatusCode"] == 0, hub.logs(name)
        assert hub.logs(name) == b"b'HTTP/1.1 200 \\r\\n' ['docker.sock'] 1000\n"
    finally:
        removed(proxied, name)


def test_a_proxy_that_starts_again_knows_who_had_a_socket(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_proxy(engine, tmp_path_factory.mktemp("q")) as proxied:
        long = "a" * 200
        for slug in ("alice", "gone", long):
            assert proxied.ask(slug, "GET", "/_ping")[0] == 200 if slug != long else True
            proxied.ask("hub", "PUT", f"/familiar/people/{slug}", version="")
        proxied.ask("hub", "DELETE", "/familiar/people/gone", version="")
        assert proxied.stop() == 0
        assert proxied.socket("alice").exists()
        proxied.start()
        assert proxied.ask("hub", "GET", "/familiar/people", version="")[1] == sorted(
            [long, "alice"]
        )
        assert proxied.ask("alice", "GET", "/_ping")[0] == 200
        people = proxied.folder / "people"
        assert people.stat().st_mode & 0o777 == 0o700
        assert (proxied.folder / "hub" / "docker.sock").stat().st_mode & 0o777 == 0o660
        for bad in ("a/b/c", "a/b-c", "a/", "A", "a_b", "..", "%2e%2e", "a/b/things"):
            status, _ = proxied.ask("hub", "PUT", f"/familiar/people/{bad}", version="")
            assert status == 403, bad


def test_an_account_finds_nothing_of_an_earlier_one_of_its_name(proxied: Proxied) -> None:
    def put(account: str) -> None:
        told = proxied.ask("hub", "PUT", f"/familiar/people/gone/{account}", version="")
        assert told == (200, {"person": "gone", "open": True})

    def listed() -> list[str]:
        found = ask(path, "GET", f"{VERSION}/containers/json?all=1")
        assert found[0] == 200
        return [one["Id"] for one in found[1]]

    path = proxied.folder / "people" / "gone" / "docker.sock"
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    put("A1")
    status, told_ = ask(path, "POST", f"{VERSION}/containers/create", body)
    assert status == 201
    assert listed() == [told_["Id"]]
    put("B2")
    assert listed() == []
    for method, action in (("GET", "/json"), ("POST", "/start"), ("DELETE", "?force=1")):
        where = f"{VERSION}/containers/{told_['Id']}{action}"
        assert ask(path, method, where)[0] == 404
    # It is known after a new start, and the earlier account's end leaves the present one alone.
    proxied.stop()
    proxied.start()
    known = proxied.ask("hub", "GET", "/familiar/people", version="")[1]
    assert "gone/B2" in known
    assert listed() == []
    proxied.ask("hub", "DELETE", "/familiar/people/gone/A1/things", version="")
    assert proxied.ask("raw", "GET", f"/containers/{told_['Id']}/json")[0] == 404
    assert listed() == []
    assert proxied.ask("hub", "DELETE", "/familiar/people/gone/B2", version="")[0] == 200
    assert not path.exists()


def test_it_checks_itself_and_tells_when_the_engine_is_away(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("r")
    nowhere = Engine("docker", "docker", {"DOCKER_HOST": f"unix://{folder}/none"})
    with running_proxy(nowhere, folder) as proxied:
        status, answer = proxied.ask("hub", "GET", "/containers/json")
        assert status == 502
        assert answer == {
            "message": "The Engine does not listen (No such file or directory): tell an operator."
        }
        command = [sys.executable, "-m", "familiar_hub.socket_proxy"]
        env = {**os.environ, **proxied.variables}
        assert subprocess.run([*command, "--check"], env=env, check=False).returncode == 1
        bad = subprocess.run(
            command, env={**env, "SOCKET_NESTED": "yes", "DOCKER_NETWORK_NAME": ""},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert bad.returncode == 2
        assert {line.split()[0] for line in bad.stderr.splitlines()} == {
            "SOCKET_NESTED", "DOCKER_NETWORK_NAME",
        }  # fmt: skip


def test_what_was_done_and_refused_is_on_record(proxied: Proxied) -> None:
    body = {"Image": IMAGE, "Env": ["TOKEN=of-the-lab"], "HostConfig": {"Privileged": True}}
    proxied.ask("hub", "POST", f"/containers/create?name={PREFIX}x", body)
    last = proxied.audit()[-1]
    assert last.pop("at").endswith("+00:00")
    assert last == {
        "event": "socket.refused", "by": "hub", "method": "POST",
        "path": f"{VERSION}/containers/create",
        "why": "HostConfig.Privileged may not be set here: leave it out.",
    }  # fmt: skip
    container = made(proxied, "alice")
    removed(proxied, container)
    done = proxied.audit()[-1]
    assert (done["event"], done["by"]) == ("socket.allowed", "person/alice")
    assert "of-the-lab" not in proxied.log.read_text()


# -- on the wire -----------------------------------------------------------------------------------

_LIST = f"GET {VERSION}/containers/json HTTP/1.1\r\nHost: x\r\n"
_CREATE = f"POST {VERSION}/containers/create?name={PREFIX}wire HTTP/1.1\r\nHost: x\r\n"
_BAD = json.dumps({"Image": IMAGE, "HostConfig": {"Privileged": True}})
_SMUGGLED = f"POST {VERSION}/containers/prune HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

WIRE = {
    "HTTP/1.0": f"GET {VERSION}/containers/json HTTP/1.0\r\nHost: x\r\n\r\n",
    "HTTP/0.9": f"GET {VERSION}/containers/json\r\n",
    "HTTP/2 by prior knowledge": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an upgrade to h2c": f"{_LIST}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "an upgrade where there is none": f"{_LIST}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
    "an absolute target": "GET http://docker/v1.41/containers/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target of all": "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "two lengths": f"{_CREATE}Content-Length: 2\r\nContent-Length: 90\r\n\r\n{{}}",
    "a length and chunks": f"{_CREATE}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    f"0\r\n\r\n{_SMUGGLED}",
    "chunks in two ways": f"{_CREATE}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"
    "0\r\n\r\n",
    "another encoding": f"{_CREATE}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a length with a sign": f"{_CREATE}Content-Length: +2\r\n\r\n{{}}",
    "a length below nothing": f"{_CREATE}Content-Length: -1\r\n\r\n{{}}",
    "a length that is huge": f"{_CREATE}Content-Length: {10**18}\r\n\r\n{{}}",
    "two hosts": f"GET {VERSION}/containers/json HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": f"GET {VERSION}/containers/json HTTP/1.1\r\n\r\n",
    "a header before its colon": f"{_LIST}X : y\r\n\r\n",
    "a header of a megabyte": f"{_LIST}X: {'y' * (1 << 20)}\r\n\r\n",
    "a chunk of a bad size": f"{_CREATE}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n",
    "chunks without end": f"{_CREATE}Transfer-Encoding: chunked\r\n\r\n"
    + f"{1 << 16:x}\r\n{' ' * (1 << 16)}\r\n" * 17,
    "a privileged body in chunks": f"{_CREATE}Transfer-Encoding: chunked\r\n\r\n"
    + "".join(f"1\r\n{letter}\r\n" for letter in _BAD) + "0\r\n\r\n",
    "a body with GET": f"{_LIST}Content-Length: {len(_SMUGGLED)}\r\n\r\n{_SMUGGLED}",
    "a body that is a second request": f"{_CREATE}Content-Length: {len(_SMUGGLED)}\r\n\r\n"
    f"{_SMUGGLED}",
    "a method in small letters": f"get {VERSION}/containers/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "another method in a header": f"{_LIST}X-HTTP-Method-Override: POST\r\n\r\n",
    "a wait for leave": f"{_CREATE}Content-Length: {len(_BAD)}\r\nExpect: 100-continue\r\n\r\n"
    + _BAD,
}  # fmt: skip
"""Requests in bytes, none of which may make or remove anything."""
HARMLESS = {"a body with GET", "another method in a header"}
"""They are answered as what they are: lists. What was hidden in them is not seen by the Engine."""


@pytest.mark.parametrize("name", list(WIRE))
def test_bytes_are_refused(proxied: Proxied, victims: None, name: str) -> None:
    before = everything(proxied)
    found = exchange(proxied.socket("hub"), WIRE[name].encode(), end=False, wait=3)
    found = found.removeprefix(b"HTTP/1.1 100 \r\n\r\n")
    status = found.split(b" ")[1] if found else b""
    if name in HARMLESS:
        assert status == b"200", found
        assert found.count(b"HTTP/1.1 ") == 1
    else:
        assert status in (b"403", b"400", b"404", b""), found
        assert not found or b'"message"' in found
        assert found.count(b"HTTP/1.1 4") <= 1, "nothing follows a request that was refused so"
    assert everything(proxied) == before
    assert proxied.process.poll() is None


def test_each_request_of_a_connection_is_judged(proxied: Proxied, victims: None) -> None:
    before = everything(proxied)
    good = f"{_LIST}\r\n"
    bad = f"{_CREATE}Content-Length: {len(_BAD)}\r\n\r\n{_BAD}"
    found = exchange(
        proxied.socket("hub"), (good + bad + good + _SMUGGLED + good).encode(), end=False, wait=3
    )
    statuses = [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"403", b"200", b"403", b"200"]
    assert everything(proxied) == before


def test_it_asks_for_a_body_that_is_waited_for(proxied: Proxied) -> None:
    body = b'{"Name": "socketlab-expected"}'
    head = f"POST {VERSION}/volumes/create HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(proxied.socket("hub")))
        raw.sendall(head.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 100 ")
        raw.sendall(body)
        assert raw.recv(15) == b"HTTP/1.1 201 \r\n"
    assert proxied.ask("hub", "DELETE", "/volumes/socketlab-expected")[0] == 204


def test_the_other_builder_is_not_offered(proxied: Proxied) -> None:
    head = f"GET {VERSION}/_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    assert b"builder-version: 1\r\n" in exchange(proxied.socket("alice"), head).lower()
