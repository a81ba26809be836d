"""GPUs: asked of the engine, tried once, and never waited for."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import docker
import pytest

from familiar_hub import gpu
from hub.core_engine import Engine, running_engine

NVIDIA: dict[str, object] = {"Runtimes": {"runc": {}, "nvidia": {}}}
Start = Callable[..., Engine]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(**given: object) -> Engine:
            engine = Engine(**given)
            engine.silent.set()
            return stack.enter_context(running_engine(engine))

        yield begin


def look(engine: Engine) -> gpu.Gpu:
    client = docker.APIClient(base_url=engine.url, version="auto", timeout=10)
    try:
        return gpu.look(client, "familiar-lab:1", "jupyterlab")
    finally:
        client.close()


def test_an_engine_without_gpus_runs_nothing(start: Start) -> None:
    engine = start(info={"Runtimes": {"runc": {}}})
    assert look(engine).state == "no"
    assert engine.asked == ["GET /version", "GET /info"]


@pytest.mark.parametrize("info", [{}, {"Runtimes": None}, {"DiscoveredDevices": None}])
def test_an_engine_that_says_little(info: dict[str, object]) -> None:
    assert gpu.from_info(info).state == "no"


def test_an_engine_with_gpus(start: Start) -> None:
    engine = start(info=NVIDIA)
    found = look(engine)
    assert found.state == "yes"
    assert "H100" in found.why
    assert found.request == {"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}
    (body,) = engine.bodies
    assert body["Image"] == "familiar-lab:1"
    assert (body["Entrypoint"], body["Cmd"]) == (["nvidia-smi"], ["-L"])
    assert body["HostConfig"]["NetworkMode"] == "none"
    assert body["HostConfig"]["DeviceRequests"][0]["Capabilities"] == [["gpu"]]
    # Nothing is pulled, and nothing is left.
    assert not any("images" in asked for asked in engine.asked)
    assert engine.asked[-1] == "DELETE /containers/c1"


def test_cdi_devices_are_asked_for_by_name(start: Start) -> None:
    devices = [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]
    engine = start(info={"Runtimes": {"runc": {}}, "DiscoveredDevices": devices})
    assert look(engine).state == "yes"
    (request,) = engine.bodies[0]["HostConfig"]["DeviceRequests"]
    assert (request["Driver"], request["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=all"])


def test_a_runtime_without_gpus(start: Start) -> None:
    refused = start(info=NVIDIA, refuses="could not select device driver")
    found = look(refused)
    assert (found.state, dict(found.request)) == ("no", {})
    assert "could not select device driver" in found.why
    assert refused.asked[-1] == "DELETE /containers/c1"
    failed = start(info=NVIDIA, exit=9)
    assert look(failed).state == "no"
    assert failed.asked[-1] == "DELETE /containers/c1"


def test_an_image_that_is_not_there_leaves_it_open(start: Start) -> None:
    engine = start(info=NVIDIA, image=False)
    found = look(engine)
    assert (found.state, dict(found.request)) == ("open", {})
    assert not any("images" in asked for asked in engine.asked)


def known(probe: gpu.Probe, patience: float = 10.0) -> gpu.Gpu:
    return asyncio.run(probe.known(patience))


@pytest.mark.parametrize(("setting", "state"), [("0", "no"), ("1", "yes")])
def test_a_setting_that_decides_asks_nobody(setting: str, state: str) -> None:
    def ask() -> gpu.Gpu:
        raise AssertionError("asked")

    assert known(gpu.Probe(setting, ask)).state == state


def test_a_silent_engine_holds_up_nothing(start: Start) -> None:
    engine = start(info=NVIDIA)
    engine.silent.clear()
    probe = gpu.Probe("2", lambda: look(engine))
    began = time.monotonic()
    probe.begin()
    assert time.monotonic() - began < 5
    assert known(probe, 0.2).state == "open"
    # It is still the one question, and its answer is there when it comes.
    assert known(probe, 0.2).state == "open"
    engine.silent.set()
    assert known(probe).state == "yes"
    assert engine.asked.count("GET /info") == 1


def test_an_engine_that_is_not_there_leaves_it_open_and_is_asked_again(start: Start) -> None:
    answers: list[Callable[[], gpu.Gpu]] = []
    probe = gpu.Probe("2", lambda: answers.pop(0)())
    gone = Engine(info={}, url="tcp://127.0.0.1:1")
    answers += [lambda: look(gone), lambda: look(start(info=NVIDIA))]
    first = known(probe)
    assert first.state == "open"
    assert "did not say" in first.why
    assert known(probe).state == "yes"
    # And what is there stays there.
    assert known(probe).state == "yes"
    assert answers == []


def test_a_no_is_asked_again_later_and_many_ask_once() -> None:
    answers = [gpu.OFF, gpu.ON]
    asked = threading.Event()

    def ask() -> gpu.Gpu:
        asked.wait(10)
        return answers.pop(0)

    probe = gpu.Probe("2", ask, again=0.0)

    async def many() -> list[gpu.Gpu]:
        waiting = [asyncio.create_task(probe.known(10)) for _ in range(20)]
        await asyncio.sleep(0.05)
        asked.set()
        return list(await asyncio.gather(*waiting))

    assert {found.state for found in asyncio.run(many())} == {"no"}
    assert known(probe).state == "yes"
    assert answers == []


def test_a_copy_of_the_configuration_asks_the_same_engine() -> None:
    probe = gpu.Probe("1", lambda: gpu.OFF)
    assert copy.deepcopy({"a": [probe]})["a"][0] is probe
