"""A hub with 500 labs beside plain JupyterHub: 200 spawns at once, listings, and a broadcast.

Without a broadcast an administrator's script would ask the same of a plain hub for each person: a
token for one server, the notice to that server, the token's end. It is given the same number of
requests at a time. Both hubs run at once, with labs that ask them about every token; the labs,
spawner and proxy keep books only (see :mod:`.hub_stand`), so this is the hub's own part.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from .bench import ROOT, Bench
from .report import Row, Target
from .stats import Sample

NAME = "hub-broadcast"
AT_ONCE = 32
"""Labs that are told at the same time; what a broadcast has as well."""
SLOW_SECONDS = 5.0
"""What a broadcast gives one lab."""
SECONDS = 20.0
"""What is promised for 500 labs of which every tenth is slow or dead."""
TIMEOUT = 180.0
_INGEST = "jupyterlab-notifications-extension/ingest"
_NOTICE = {"message": "Back at noon.", "kind": "info", "auto_close": 30}

_CONFIG = """
import sys
from pathlib import Path

sys.path[:0] = [{root!r}, {root!r} + "/deploy/hub"]
from benchmarks.hub_stand import books
from jupyterhub.auth import DummyAuthenticator

c = get_config()  # noqa: F821
folder = Path({folder!r})
spawner, proxy = books(folder / "ports.json")
c.JupyterHub.spawner_class, c.JupyterHub.proxy_class = spawner, proxy
c.JupyterHub.authenticator_class = DummyAuthenticator
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.db_url = f"sqlite:///{{folder}}/hub.sqlite"
c.JupyterHub.cookie_secret_file = str(folder / "cookie_secret")
c.JupyterHub.log_level = 30
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.services = [{{"name": "bench", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [
    {{"name": "bench", "services": ["bench"], "scopes": ["admin:users", "admin:servers", "tokens"]}}
]
"""
_OURS = """
from familiar_hub import audit, handlers


class Authenticator(DummyAuthenticator):
    def get_handlers(self, app):
        return [*super().get_handlers(app), *handlers.HANDLERS]


audit.configure(folder / "audit.log")
c.JupyterHub.authenticator_class = Authenticator
c.JupyterHub.template_paths = [handlers.TEMPLATES]
c.JupyterHub.template_vars = handlers.template_vars()
c.JupyterHub.tornado_settings = handlers.tornado_settings(folder)
"""


def measure(bench: Bench) -> Iterator[Row]:
    """Measure all of it."""
    count = bench.effort.of(full=500, quick=500, smoke=30)
    rounds = bench.effort.of(full=7, quick=3, smoke=1)
    few = max(1, count // 20)
    names = [f"slow{n}" for n in range(few)] + [f"dead{n}" for n in range(few)]
    names += [f"well{n}" for n in range(count - len(names))]
    with (
        _running(bench, "hub-ours", names, _OURS) as ours,
        _running(bench, "hub-plain", names, "") as plain,
    ):
        yield from _spawns(bench, ours, plain, names, rounds)
        yield from _broadcasts(bench, ours, plain, names, rounds)


def _spawns(
    bench: Bench, ours: _Hub, plain: _Hub, names: Sequence[str], rounds: int
) -> Iterator[Row]:
    batch = names[: 2 * len(names) // 5]
    bench.say(f"{len(batch)} spawns at once on each of two hubs, {rounds} times")
    both: dict[str, list[float]] = {ours.url: [], plain.url: []}
    for hub in (ours, plain):
        hub.make(names)
    for number in range(rounds):
        # In turn, and each of them first as often as the other.
        for hub in (ours, plain) if number % 2 else (plain, ours):
            began = time.perf_counter()
            hub.start(batch)
            both[hub.url].append(time.perf_counter() - began)
            hub.stop(batch)
    what = f"{len(batch)} spawns at once through a spawner that only keeps the books"
    yield _row(what, "s", both[ours.url], "plain JupyterHub", both[plain.url])
    for hub in (ours, plain):
        hub.start(names)


def _broadcasts(
    bench: Bench, ours: _Hub, plain: _Hub, names: Sequence[str], rounds: int
) -> Iterator[Row]:
    count = len(names)
    peer = "script over plain JupyterHub's API"
    bench.say(f"a broadcast to {count} labs, {rounds} times, and a script's")
    before = ours.memory()
    sent, scripted, idle, busy, listed = [], [], [], [], []
    for number in range(-1, rounds):
        took, meanwhile = ours.broadcast(count, 0)
        script = plain.script(names)
        pairs = [(ours.listing(count), plain.listing(count)) for _ in range(5)]
        if number >= 0:  # the first one warms what there is to warm
            sent.append(took)
            scripted.append(script)
            idle += [mine for mine, _ in pairs]
            listed += [theirs for _, theirs in pairs]
            busy += meanwhile
    yield _row(f"broadcast to {count} labs", "s", sent, peer, scripted, Target(1.0))
    yield _row(f"list {count} people with labs", "ms", idle, "plain JupyterHub", listed)
    yield _row("the hub's health page during a broadcast, slowest of each half second", "ms", busy)

    bad = sum(not name.startswith("well") for name in names)
    for hub in (ours, plain):
        hub.turn()
    what = f"broadcast to {count} labs, of which {bad // 2} are slow and {bad // 2} dead"
    bench.say(f"{what}, {rounds} times")
    hurt = [ours.broadcast(count, bad)[0] for _ in range(rounds)]
    target = Target(SECONDS, absolute=True) if count == 500 else None
    yield _row(what, "s", hurt, target=target, note=f"A slow lab is given {SLOW_SECONDS:.0f} s.")
    after = [ours.memory()]
    yield _row(f"memory of a hub with {count} labs", "MB", [before], "plain JupyterHub",
               [plain.memory()])  # fmt: skip
    yield _row(f"memory after {2 * rounds + 1} broadcasts", "MB", after, "before them", [before])


@dataclass
class _Hub:
    """A running hub with its labs."""

    url: str
    token: str
    process: subprocess.Popen[bytes]
    ports: dict[str, int]

    def ask(self, method: str, path: str, body: object = None) -> Any:
        return _ask(method, f"{self.url}/hub/{path}", self.token, body)

    def memory(self) -> float:
        """Return the hub's memory in MB, without what it shares with other processes."""
        return float(psutil.Process(self.process.pid).memory_full_info().uss) / 1e6

    def make(self, names: Sequence[str]) -> None:
        self.ask("POST", "api/users", {"usernames": list(names)})

    def start(self, names: Sequence[str]) -> None:
        """Start labs and wait until the hub has them all."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self.ask("POST", f"api/users/{name}/server"), names))
        for name in names:
            self._wait(name, "to run", lambda servers: bool(servers.get("", {}).get("ready")))

    def stop(self, names: Sequence[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self.ask("DELETE", f"api/users/{name}/server"), names))
        for name in names:
            self._wait(name, "to be stopped", lambda servers: not servers)

    def _wait(self, name: str, what: str, is_so: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not is_so(self.ask("GET", f"api/users/{name}")["servers"]):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the lab of {name} did not come {what}")
            time.sleep(0.05)

    def turn(self) -> None:
        port = next(port for name, port in self.ports.items() if name.startswith("well"))
        _ask("GET", f"http://127.0.0.1:{port}/turn", self.token)

    def listing(self, count: int) -> float:
        """Return how many milliseconds it takes to list all people with their labs."""
        began = time.perf_counter()
        found = self.ask("GET", f"api/users?state=active&limit={count}")
        took = 1000 * (time.perf_counter() - began)
        if len(found) < min(count, 200):  # JupyterHub's pages have 200 people at most
            raise RuntimeError(f"the hub lists {len(found)} people of {count}")
        return took

    def broadcast(self, count: int, bad: int) -> tuple[float, list[float]]:
        """Send one, and return its seconds and how late the hub answered others meanwhile."""
        late: list[float] = []
        begun = self.ask("POST", "api/broadcasts", _NOTICE)
        while True:
            until = time.perf_counter() + 0.5
            slowest = 0.0
            while time.perf_counter() < until:
                began = time.perf_counter()
                self.ask("GET", "health")
                slowest = max(slowest, 1000 * (time.perf_counter() - began))
                time.sleep(0.02)
            late.append(slowest)
            done = self.ask("GET", f"api/broadcasts/{begun['id']}?since={count}")
            if done["state"] == "done":
                break
        if (done["delivered"], done["failed"]) != (count - bad, bad):
            raise RuntimeError(f"delivered {done['delivered']}, failed {done['failed']} of {count}")
        return float(done["seconds"]), late

    def script(self, names: Sequence[str]) -> float:
        """Do the same over a plain hub's API, and return how many seconds that took."""

        def tell(name: str) -> None:
            scopes = [f"access:servers!server={name}/"]
            path = f"api/users/{name}/tokens"
            made = self.ask("POST", path, {"expires_in": 300, "scopes": scopes})
            place = f"http://127.0.0.1:{self.ports[name]}/user/{name}/{_INGEST}"
            _ask("POST", place, made["token"], _NOTICE)
            self.ask("DELETE", f"{path}/{made['id']}")

        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(tell, names))
        return time.perf_counter() - began


def _ask(method: str, url: str, token: str, body: object = None) -> Any:
    request = urllib.request.Request(
        url,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"token {token}", "Content-Type": "application/json"},
        method=method,
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=TIMEOUT) as answer:
        text = answer.read()
    return json.loads(text) if text.strip().startswith((b"{", b"[")) else None


@contextlib.contextmanager
def _running(bench: Bench, name: str, names: Sequence[str], more: str) -> Iterator[_Hub]:
    folder = bench.folder / name
    env = bench.environment(name)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    url, token = f"http://127.0.0.1:{port}", secrets.token_hex(16)
    written, ports = folder / "names.json", folder / "ports.json"
    written.write_text(json.dumps(list(names)))
    config = folder / "jupyterhub_config.py"
    config.write_text(_CONFIG.format(root=ROOT, folder=str(folder), port=port, token=token) + more)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "hub.log").open("wb"))

        def run(*words: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            stack.callback(_end, process)
            return process

        labs = run("-m", "benchmarks.hub_stand", str(written), str(ports), url)
        _wait(ports.exists, labs, folder)
        hub = run("-m", "jupyterhub", f"--config={config}")
        running = _Hub(url, token, hub, json.loads(ports.read_text()))
        _wait(lambda: _answers(running), hub, folder)
        yield running


def _answers(hub: _Hub) -> bool:
    try:
        hub.ask("GET", "health")
    except (OSError, urllib.error.URLError):
        return False
    return True


def _wait(true: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((folder / "hub.log").read_text(errors="replace")[-2000:])
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _row(
    what: str,
    unit: str,
    ours: Sequence[float],
    peer: str = "",
    values: Sequence[float] = (),
    target: Target | None = None,
    note: str = "",
) -> Row:
    other = Sample(peer, tuple(values)) if peer else None
    return Row(NAME, what, unit, Sample("hub", tuple(ours)), other, target, note=note)
