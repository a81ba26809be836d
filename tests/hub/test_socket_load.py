"""What a person of docker-privileged could use up of the Engine and the proxy, and may not."""

from __future__ import annotations

import io
import json
import tarfile
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from familiar_hub import socket_build
from familiar_hub.socket_build import LONGEST_HEADER, rebuilt
from familiar_hub.socket_looks import COMMANDS, Look, settle
from familiar_hub.socket_policy import Request, body_limit, judge
from familiar_hub.socket_reading import Refused, reference
from familiar_hub.socket_rules import HUB, Limits, Rules, Who
from hub.socket_attacks import IMAGE, NETWORK
from hub.socket_fixtures import SLEEP, VERSION, Proxied, made, removed

pytest_plugins = ["hub.socket_fixtures"]

EVE = Who("eve")
RULES = Rules(images=(reference(IMAGE),), network=NETWORK, limits=Limits(volumes=3))
BLOCK = 512
END = b"\0" * 2 * BLOCK


def body(**more: Any) -> dict[str, Any]:
    """Return what the Engine is told to make for Eve."""
    told = json.dumps({"Image": IMAGE, **more}).encode()
    made_ = judge(Request("POST", f"{VERSION}/containers/create", told), EVE, RULES).body
    assert made_
    return dict(made_)


# -- containers ------------------------------------------------------------------------------------


def test_nobody_goes_before_others_at_the_processors() -> None:
    assert body(HostConfig={"CpuShares": 1024})["HostConfig"]["CpuShares"] == 1024
    with pytest.raises(Refused, match="CpuShares"):
        body(HostConfig={"CpuShares": 1025})


def test_an_images_healthcheck_does_not_say_how_often_it_runs() -> None:
    half_a_minute = 30 * 10**9
    asked = body()["Healthcheck"]
    assert asked == {"Interval": half_a_minute, "StartInterval": half_a_minute}
    assert body(Healthcheck={"Interval": 10**10})["Healthcheck"]["Interval"] == 10**10
    with pytest.raises(Refused, match="Interval"):
        body(Healthcheck={"Interval": 10**6})


def test_no_container_holds_up_the_engines_end() -> None:
    assert body(StopTimeout=60)["StopTimeout"] == 60
    with pytest.raises(Refused, match="StopTimeout"):
        body(StopTimeout=61)


def test_volumes_without_names_are_counted() -> None:
    assert len(body(Volumes={f"/v{n}": {} for n in range(3)})["Volumes"]) == 3
    with pytest.raises(Refused, match="3 volumes"):
        body(Volumes={f"/v{n}": {} for n in range(4)})
    unnamed = [{"Type": "volume", "Target": f"/v{n}"} for n in range(4)]
    with pytest.raises(Refused, match="3 volumes"):
        body(HostConfig={"Mounts": unnamed})
    image = {"Id": "x", "RepoTags": [IMAGE], "Config": {"Volumes": {f"/v{n}": {} for n in "1234"}}}
    with pytest.raises(Refused, match="3 volumes"):
        settle(Look("image", IMAGE, "runs"), 200, image, EVE, RULES)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_volumes_without_names_go_with_their_container(proxied: Proxied) -> None:
    def of_the_engine() -> set[str]:
        return {one["Name"] for one in proxied.ask("raw", "GET", "/volumes")[1]["Volumes"] or ()}

    container = made(proxied, "eve", Mounts=[{"Type": "volume", "Target": "/x"}])
    mounts = proxied.ask("eve", "GET", f"/containers/{container}/json")[1]["Mounts"]
    assert {one["Name"] for one in mounts} <= of_the_engine()
    assert proxied.ask("eve", "DELETE", f"/containers/{container}?v=0")[0] == 204
    assert not {one["Name"] for one in mounts} & of_the_engine()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_commands_that_are_never_started_are_counted(proxied: Proxied) -> None:
    container = made(proxied, "eve", start=True)
    try:
        target, command = f"/containers/{container}/exec", {"Cmd": ["true"]}
        with ThreadPoolExecutor(8) as pool:
            asked = [
                pool.submit(proxied.ask, "eve", "POST", target, command)
                for _ in range(COMMANDS + 8)
            ]
            answers = [one.result() for one in asked]
        assert Counter(status for status, _ in answers) == {201: COMMANDS, 403: 8}
        # One that has run makes room.
        first = next(told["Id"] for status, told in answers if status == 201)
        assert proxied.ask("eve", "POST", f"/exec/{first}/start", {})[0] == 200
        deadline = time.monotonic() + 20
        while (answer := proxied.ask("eve", "POST", target, command))[0] != 201:
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)
    finally:
        removed(proxied, container)


# -- the proxy's own memory ------------------------------------------------------------------------


def test_what_the_engine_keeps_is_short() -> None:
    create = "/v1.41/containers/create"
    assert body_limit("POST", create, EVE, RULES) < body_limit("POST", create, HUB, RULES)


def _peak(proxied: Proxied) -> int:
    """Return the most megabytes that the proxy has had."""
    for line in Path(f"/proc/{proxied.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) >> 10
    raise AssertionError("there is no VmHWM")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_answers_at_the_same_time_do_not_fill_the_memory(proxied: Proxied) -> None:
    large = {"a": "x" * 240_000}
    told = {"Image": IMAGE, "Cmd": SLEEP, "Labels": large, "HostConfig": {"NetworkMode": "none"}}
    made_ = [proxied.ask("eve", "POST", "/containers/create", told) for _ in range(4)]
    containers = [one["Id"] for status, one in made_ if status == 201]
    try:
        assert len(containers) == 4, made_
        before = _peak(proxied)
        with ThreadPoolExecutor(60) as pool:
            asked = [
                pool.submit(proxied.ask, "eve", "GET", "/containers/json?all=1") for _ in range(60)
            ]
            assert {one.result()[0] for one in asked} == {200}
        assert _peak(proxied) - before < 60
    finally:
        removed(proxied, *containers)


def _header(kind: bytes, size: int) -> bytes:
    made_ = tarfile.TarInfo("x")
    made_.type, made_.size = kind, size
    return made_.tobuf()


def _extended(size: int) -> bytes:
    """Return a member with an extended header of that many bytes."""
    start = b"%d comment=" % size
    text = start + b"y" * (size - len(start) - 1) + b"\n"
    padding = b"\0" * (-size % BLOCK)
    return _header(b"x", size) + text + padding + tarfile.TarInfo("a").tobuf() + END


def test_a_long_header_is_not_read() -> None:
    context = io.BytesIO(_extended(32 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="header"):
            rebuilt(context, io.BytesIO(), "Dockerfile", EVE)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(Refused, match="no Dockerfile"):
        rebuilt(io.BytesIO(_extended(LONGEST_HEADER // 2)), io.BytesIO(), "Dockerfile", EVE)


def test_headers_about_headers_end_the_context() -> None:
    one = _header(b"L", 1) + b"y".ljust(BLOCK, b"\0")
    with pytest.raises(Refused, match="no tar file"):
        rebuilt(io.BytesIO(one * 5000), io.BytesIO(), "Dockerfile", EVE)


def test_members_are_counted_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = io.BytesIO(tarfile.TarInfo("a").tobuf() * 5000 + END)
    with (tmp_path / "made").open("w+b") as made_:
        tracemalloc.start()
        try:
            with pytest.raises(Refused, match="no Dockerfile"):
                rebuilt(context, made_, "Dockerfile", EVE)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()
        monkeypatch.setattr(socket_build, "MEMBERS", 4999)
        context.seek(0)
        with pytest.raises(Refused, match="4,999 files"):
            rebuilt(context, made_, "Dockerfile", EVE)
