"""Labs' containers through the socket's policy proxy, beside the Engine's own socket.

What DockerSpawner asks of the Engine for a lab, with docker-py: looks, a container with volumes,
its start, an inspection, its end. Both are the same Engine, the tests' own, one after the other in
each round. It needs dockerd, podman and docker-py; without them it says so and measures nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from .bench import ROOT, Bench
from .report import Row, Target
from .stats import Sample

NAME = "hub-socket"
RATIO = 1.25
"""What is promised of a spawn: a quarter more at most."""
_WARM = 2
"""Rounds before those that count."""


def measure(bench: Bench) -> Iterator[Row]:
    """Measure all of it."""
    missing = [name for name in ("dockerd", "podman") if not shutil.which(name)]
    missing += [name for name in ("docker", "h11") if not importlib.util.find_spec(name)]
    if missing:
        bench.say(f"no socket proxy is measured: {', '.join(missing)} is missing")
        return
    # The tests' helpers and the hub's package are no packages of this environment.
    sys.path[:0] = [str(Path(ROOT, "tests")), str(Path(ROOT, "deploy", "hub"))]
    engines: Any = importlib.import_module("deploy.engines")
    fixtures: Any = importlib.import_module("hub.socket_fixtures")
    podman: Any = importlib.import_module("sandbox.podman")
    rounds = bench.effort.of(full=30, quick=10, smoke=2)
    with engines.running_docker(bench.folder / "d") as engine:
        fixtures.prepare(engine, engines.of_podman(podman.ready()))
        (bench.folder / "proxy").mkdir()
        variables = {"PYTHONPATH": str(Path(ROOT, "deploy", "hub"))}
        with fixtures.running_proxy(engine, bench.folder / "proxy", **variables) as proxied:
            bench.say(f"labs through the proxy and without it, {rounds} times each")
            yield from _rows(proxied, rounds)


def _rows(proxied: Any, rounds: int) -> Iterator[Row]:
    ways = [_Spawns(proxied.socket("hub"), "p"), _Spawns(proxied.raw, "r")]
    parts = {
        "a lab's container, made and started": _Spawns.start,
        "a look at a lab": _Spawns.look,
        "a lab's container, ended": _Spawns.end,
    }
    took: dict[str, list[list[float]]] = {what: [[], []] for what in parts}
    for number in range(rounds + _WARM):
        # Who begins changes, so that neither has the warmer Engine.
        for which in ((0, 1), (1, 0))[number % 2]:
            for what, do in parts.items():
                seconds = _timed(do, ways[which])
                if number >= _WARM:
                    took[what][which].append(1000 * seconds)
    for way in ways:
        way.clear()
    for what, (ours, peer) in took.items():
        target = Target(RATIO) if "started" in what else None
        yield Row(
            NAME, what, "ms", Sample("through the proxy", tuple(ours)),
            Sample("raw socket", tuple(peer)), target,
        )  # fmt: skip
    memory = psutil.Process(proxied.process.pid).memory_info().rss / 1e6
    yield Row(NAME, "the proxy's memory after that", "MB", Sample("proxy", (memory,)))


def _timed(do: Callable[[_Spawns], None], way: _Spawns) -> float:
    began = time.perf_counter()
    do(way)
    return time.perf_counter() - began


class _Spawns:
    """One lab, spawned again and again through one socket.

    Args:
        path: the socket.
        name: of the lab, after the prefix.
    """

    def __init__(self, path: Path, name: str) -> None:
        docker: Any = importlib.import_module("docker")
        attacks: Any = importlib.import_module("hub.socket_attacks")
        self._errors = docker.errors
        self._client = docker.APIClient(base_url=f"unix://{path}", version="1.41", timeout=60)
        self._name, self._image = f"{attacks.PREFIX}{name}", attacks.IMAGE

    def start(self) -> None:
        """Do what DockerSpawner does to start a lab."""
        client = self._client
        try:
            client.inspect_container(self._name)
            raise RuntimeError(f"{self._name} is there already")
        except self._errors.NotFound:
            pass  # as it should be
        kinds = ("home", "workspace", "cache")
        binds = {f"{self._name}-{kind}": {"bind": f"/{kind}", "mode": "rw"} for kind in kinds}
        host = client.create_host_config(
            binds=binds, network_mode="none", mem_limit="512m", cpu_period=100_000,
            cpu_quota=100_000, pids_limit=500, links={}, mounts=[], auto_remove=False,
        )  # fmt: skip
        made = client.create_container(
            image=self._image, name=self._name, command=["sleep", "600"], host_config=host,
            volumes=[f"/{kind}" for kind in kinds], environment={"A": "b"},
            ports={"8888/tcp": None},
        )  # fmt: skip
        client.start(made["Id"])

    def look(self) -> None:
        """Look at it, as a hub does twice a minute for each lab."""
        assert self._client.inspect_container(self._name)["State"]["Running"]

    def end(self) -> None:
        """End it at once."""
        self._client.remove_container(self._name, force=True, v=False)

    def clear(self) -> None:
        """Remove its volumes."""
        for kind in ("home", "workspace", "cache"):
            self._client.remove_volume(f"{self._name}-{kind}")
        self._client.close()
