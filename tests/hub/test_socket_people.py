"""The socket proxy before a real Docker Engine: what a person does with docker, and its bounds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from familiar_hub.socket_rules import IMAGE_OWNER, OWNER
from hub.socket_attacks import DOCKERFILES, IMAGE, OUTSIDE
from hub.socket_fixtures import SLEEP, VERSION, Proxied, exchange, made, removed

pytest_plugins = ["hub.socket_fixtures"]
# Another run of the tests, or another worker, may have the Engine for minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


# -- a person with docker --------------------------------------------------------------------------


def test_docker_runs_and_passes_streams(proxied: Proxied) -> None:
    done = proxied.docker(
        "alice", "run", "--rm", "-i", "--network=none", IMAGE, "python3", "-c",
        "import sys; data = sys.stdin.read(); print(len(data)); print('err', file=sys.stderr)",
        given="x" * 300_000,
    )  # fmt: skip
    assert done.stdout == "300000\n", "the end of what is given arrives, and the answer after it"
    assert done.stderr == "err\n"
    failed = proxied.docker(
        "alice", "run", "--rm", "--network=none", IMAGE, "sh", "-c", "exit 7", check=False
    )
    assert failed.returncode == 7
    assert not proxied.docker("alice", "ps", "--all", "--quiet").stdout


def test_docker_works_with_ones_own_container(proxied: Proxied) -> None:
    alice = proxied.docker
    name = "person_alice_web"
    run = (
        "run",
        "--detach",
        f"--name={name}",
        "--volume=person_alice_data:/data",
        IMAGE,
        "sh",
        "-c",
    )
    alice("alice", *run, "echo begun; touch /data/x; exec sleep 600")
    try:
        assert alice("alice", "ps", "--format={{.Names}}").stdout == f"{name}\n"
        assert alice("bob", "ps", "--all", "--format={{.Names}}").stdout.count(name) == 0
        assert alice("alice", "exec", name, "ls", "/data").stdout == "x\n"
        echoed = alice("alice", "exec", "-i", name, "cat", given="through")
        assert echoed.stdout == "through"
        assert alice("alice", "logs", name).stdout == "begun\n"
        state = json.loads(alice("alice", "inspect", name).stdout)[0]
        host = state["HostConfig"]
        assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (256 << 20, 256 << 20, 64)
        assert host["NanoCpus"] == 1_500_000_000
        assert host["NetworkMode"] == "person_alice_default"
        limit = alice("alice", "exec", name, "sh", "-c", "ulimit -a >/dev/null; cat /proc/1/status")
        assert "CapEff:\t00000000a80425fb" in limit.stdout, "the Engine's defaults, and not more"
        assert alice("alice", "volume", "ls", "--quiet").stdout == "person_alice_data\n"
        assert alice("alice", "network", "ls", "--format={{.Name}}").stdout == (
            "person_alice_default\n"
        )
        for other in (name, "person_alice_data"):
            for command in (("inspect", other), ("rm", "--force", other)):
                alice("bob", *command, check=False)
        assert alice("bob", "exec", name, "id", check=False).returncode != 0
        assert "No such container" in alice("bob", "logs", name, check=False).stderr
        assert alice("alice", "exec", name, "true").returncode == 0
    finally:
        alice("alice", "rm", "--force", name)
    alice("alice", "volume", "rm", "person_alice_data")
    alice("alice", "network", "rm", "person_alice_default")


def test_logs_are_followed_and_end_with_the_client(proxied: Proxied) -> None:
    container = made(proxied, "alice")
    path = proxied.socket("alice")
    try:
        proxied.ask("alice", "POST", f"/containers/{container}/start")
        connections = _at_rest(proxied)
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(path))
            request = f"GET {VERSION}/containers/{container}/logs?follow=1&stdout=1 HTTP/1.1"
            raw.sendall(f"{request}\r\nHost: x\r\n\r\n".encode())
            assert raw.recv(15) == b"HTTP/1.1 200 \r\n"
            assert len(_connections(proxied)) > connections
        deadline = time.monotonic() + 10
        while len(_connections(proxied)) > connections:
            assert time.monotonic() < deadline, "the connection to the Engine is let go"
            time.sleep(0.05)
    finally:
        removed(proxied, container)


def _at_rest(proxied: Proxied) -> int:
    """Return how many connections there are when nothing goes on."""
    calm, before = 0, -1
    while calm < 10:
        now = len(_connections(proxied))
        calm, before = (calm + 1 if now == before else 0), now
        time.sleep(0.05)
    return before


def _connections(proxied: Proxied) -> list[Any]:
    return psutil.Process(proxied.process.pid).net_connections(kind="unix")


def test_a_terminal_can_be_resized(proxied: Proxied) -> None:
    container = made(proxied, "alice", start=True)
    try:
        command = {"Cmd": ["sh"], "Tty": True, "AttachStdin": True, "AttachStdout": True}
        status, told_ = proxied.ask("alice", "POST", f"/containers/{container}/exec", command)
        assert status == 201
        assert proxied.ask("alice", "GET", f"/exec/{told_['Id']}/json")[0] == 200
        assert proxied.ask("bob", "GET", f"/exec/{told_['Id']}/json")[0] == 404
        assert proxied.ask("bob", "POST", f"/exec/{told_['Id']}/start", {})[0] == 404
        body = b'{"Tty": true}'
        head = (
            f"POST {VERSION}/exec/{told_['Id']}/start HTTP/1.1\r\nHost: x\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(20)
            raw.connect(str(proxied.socket("alice")))
            raw.sendall(head.encode() + body)
            found = b""
            while b"\r\n\r\n" not in found:
                found += raw.recv(4096)
            assert found.startswith(b"HTTP/1.1 101 ")
            assert proxied.ask("alice", "POST", f"/exec/{told_['Id']}/resize?h=33&w=77")[0] in (
                200, 201,
            )  # fmt: skip
            raw.sendall(b"stty size; exit\n")
            while piece := raw.recv(4096):
                found += piece
        assert b"33 77" in found
    finally:
        removed(proxied, container)


# -- builds ----------------------------------------------------------------------------------------


def build(
    proxied: Proxied, who: str, folder: Path, dockerfile: str, *more: str
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    return proxied.docker(who, "build", "--network=none", *more, str(folder), check=False)


def test_docker_builds_ones_own_image(proxied: Proxied, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("text")
    tag = "localhost/person/alice/web:1"
    text = f"FROM {IMAGE} AS first\nRUN echo made > /made\nFROM {IMAGE}\nCOPY file /file\n"
    text += f"COPY --from=first /made /made\nLABEL {OWNER}=hub {IMAGE_OWNER}=x a=b\n"
    text += 'CMD ["cat", "/made"]\n'
    done = build(proxied, "alice", tmp_path / "a", text, f"--tag={tag}")
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        run = proxied.docker("alice", "run", "--rm", "--network=none", tag)
        assert run.stdout == "made\n"
        labels = json.loads(proxied.docker("alice", "image", "inspect", tag).stdout)[0]["Config"]
        assert labels["Labels"][IMAGE_OWNER] == "person/alice", "the proxy has the last word"
        assert labels["Labels"][OWNER] == ""
        assert labels["Labels"]["a"] == "b"
        images = proxied.docker("alice", "images", "--format={{.Repository}}:{{.Tag}}").stdout
        assert tag in images.split()
        # An operator who runs it makes no container of that person's.
        proxied.engine.run("run", "--detach", "--network=none", f"--name={OUTSIDE}-run", tag)
        assert not proxied.docker("alice", "ps", "--all", "--quiet").stdout
        proxied.engine.run("rm", "--force", f"{OUTSIDE}-run")
        assert (
            tag not in proxied.docker("bob", "images", "--format={{.Repository}}:{{.Tag}}").stdout
        )
        assert proxied.docker("bob", "image", "inspect", tag, check=False).returncode != 0
        stolen = proxied.docker("bob", "run", "--rm", "--network=none", tag, check=False)
        assert stolen.returncode != 0
        for line in (f"FROM {tag}", f"FROM {IMAGE}\nCOPY --from={tag} /made /x"):
            taken = build(proxied, "bob", tmp_path / "b", line)
            assert taken.returncode != 0
            assert "No such image" in taken.stderr + taken.stdout
    finally:
        proxied.docker("alice", "rmi", tag)
    assert proxied.engine.run("image", "inspect", tag, check=False).returncode != 0


def test_people_share_no_cache(proxied: Proxied, tmp_path: Path) -> None:
    """HTTP_PROXY is no part of a step's key: one could bring what the other's step would find."""
    text = f"FROM {IMAGE}\nRUN echo ${{HTTP_PROXY:-clean}} > /x\nCMD cat /x\n"
    tags = {who: f"localhost/person/{who}/cache:1" for who in ("alice", "bob")}
    poison = "--build-arg=HTTP_PROXY=http://evil.invalid"
    try:
        first = build(proxied, "alice", tmp_path / "a", text, poison, f"--tag={tags['alice']}")
        assert first.returncode == 0, first.stdout + first.stderr
        run = proxied.docker("alice", "run", "--rm", "--network=none", tags["alice"])
        assert run.stdout == "http://evil.invalid\n"
        done = build(proxied, "bob", tmp_path / "b", text, f"--tag={tags['bob']}")
        assert done.returncode == 0, done.stdout + done.stderr
        run = proxied.docker("bob", "run", "--rm", "--network=none", tags["bob"])
        assert run.stdout == "clean\n"
    finally:
        for who, tag in tags.items():
            proxied.docker(who, "rmi", tag, check=False)


@pytest.mark.parametrize("name", list(DOCKERFILES))
def test_a_build_is_refused(proxied: Proxied, tmp_path: Path, name: str) -> None:
    done = build(proxied, "alice", tmp_path / "a", DOCKERFILES[name].format(image=IMAGE))
    assert done.returncode != 0
    assert "Dockerfile" in done.stderr + done.stdout, "it says where"


def test_a_context_that_is_too_large_is_refused(proxied: Proxied, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(6 << 20))
    done = build(proxied, "alice", folder, f"FROM {IMAGE}\nCOPY large /x\n")
    assert done.returncode != 0


# -- bounds ----------------------------------------------------------------------------------------


def test_a_person_has_no_more_than_allowed(proxied: Proxied) -> None:
    body = {"Image": IMAGE, "Cmd": SLEEP, "HostConfig": {"NetworkMode": "none"}}
    with ThreadPoolExecutor(12) as pool:
        asked = [
            pool.submit(proxied.ask, "dora", "POST", "/containers/create", body) for _ in range(12)
        ]
        answers = [one.result() for one in asked]
    ids = [told_["Id"] for status, told_ in answers if status == 201]
    try:
        assert len(ids) == 4, "all at once are counted as well"
        refusals = {told_["message"] for status, told_ in answers if status == 403}
        assert refusals == {"You have 4 containers, and may have 4: remove one."}
    finally:
        removed(proxied, *ids)
    names = [f"person_dora_{number}" for number in range(4)]
    statuses = [proxied.ask("dora", "POST", "/volumes/create", {"Name": n})[0] for n in names]
    assert statuses == [201, 201, 201, 403]
    bound = {**body["HostConfig"], "Binds": [f"{names[3]}:/x"]}  # type: ignore[dict-item]
    status, _ = proxied.ask("dora", "POST", "/containers/create", {**body, "HostConfig": bound})
    assert status == 403, "nor by a mount"
    for name in names[:3]:
        assert proxied.ask("dora", "DELETE", f"/volumes/{name}")[0] == 204


def test_connections_are_counted(proxied: Proxied) -> None:
    path = proxied.socket("eve")
    held = []
    try:
        for _ in range(64):
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(str(path))
        deadline = time.monotonic() + 10
        while exchange(path, b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", wait=5):
            assert time.monotonic() < deadline
        assert proxied.ask("bob", "GET", "/_ping")[0] == 200, "others have theirs"
    finally:
        for one in held:
            one.close()
