"""Traefik itself on loopback, with our own files, before a server that stands for the hub."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import tornado.web
import tornado.websocket
import yaml

from compose.stack import DEPLOYMENT
from deploy.labs import free_port
from familiar_hub.settings import Settings
from hub_setup import certificates, edge
from hub_setup.authority import now
from needs import need


@dataclass
class Edge:
    """A Traefik that runs.

    Attributes:
        settings: the hub's.
        folders: its certificates.
        http: the port without TLS.
        https: the other one.
        hub: the port of the server behind it.
        asked: the headers of each request that came there.
    """

    settings: Settings
    folders: certificates.Folders
    http: int
    https: int
    hub: int
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def dynamic(self) -> Path:
        return self.folders.edge / "hub.yml"

    def write(self) -> None:
        """Write certificates and routing as the preparation does, and point it at our server."""
        host = edge.host_of(self.settings)
        name = ""
        if self.settings.ssl:
            name, _ = certificates.made(self.folders, host, self.settings.subdomains, now())
        told = yaml.safe_dump(edge.routing(self.settings, name), sort_keys=False)
        assert edge.HUB in told
        told = told.replace(edge.HUB, f"http://127.0.0.1:{self.hub}")
        before = self.dynamic.read_text() if self.dynamic.exists() else ""
        self.dynamic.write_text(told.replace(edge.FOLDER, str(self.folders.edge)))
        certificates.clear(self.folders, before, told)


@contextlib.contextmanager
def running_edge(
    folder: Path, public: str = "https://localhost", **settings: Any
) -> Iterator[Edge]:
    """Run Traefik for the time of a ``with`` block.

    Args:
        folder: for its files.
        public: the address without a port; that of this Traefik is put after it.
        settings: more of the hub's.
    """
    folders = certificates.Folders(*(folder / name for name in ("given", "authority", "edge")))
    for place in (folders.given, folders.authority, folders.edge):
        place.mkdir()
    http, https, ping = free_port(), free_port(), free_port()
    port = https if public.startswith("https") else http
    chosen = Settings(public_url=f"{public}:{port}/", ssl=public.startswith("https"), **settings)
    with _server() as (hub, asked):
        one = Edge(chosen, folders, http, https, hub, asked)
        one.write()
        static = yaml.safe_load((DEPLOYMENT / "traefik" / "traefik.yml").read_text())
        # Only where things are is another place.
        for name, number in (("web", http), ("websecure", https), ("traefik", ping)):
            static["entryPoints"][name]["address"] = f"127.0.0.1:{number}"
        static["providers"]["file"]["directory"] = str(folders.edge)
        (folder / "traefik.yml").write_text(yaml.safe_dump(static))
        log = folder / "traefik.log"
        with log.open("wb") as output:
            command = [need("traefik"), f"--configFile={folder / 'traefik.yml'}"]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            deadline = time.monotonic() + 30
            # The same question as the container's health check.
            while not (_is_healthy(command) and _routes(one)):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield one
        finally:
            # Not in peace: it would wait for connections that somebody keeps.
            process.kill()
            process.wait(20)
        said = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text())
        assert " ERR " not in said, said
        assert " WRN " not in said, said


def _is_healthy(command: list[str]) -> bool:
    asked = [command[0], "healthcheck", *command[1:]]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def _routes(one: Edge) -> bool:
    """Say whether it has read its files; that it is there it says before."""
    port, scheme = (one.https, "https") if one.settings.ssl else (one.http, "http")
    with contextlib.suppress(requests.RequestException):
        trusted = str(one.folders.given / "ca.pem") if one.settings.ssl else True
        url = f"{scheme}://{edge.host_of(one.settings)}:{port}/"
        return requests.get(url, verify=trusted, timeout=5).status_code == 200
    return False


class _Echo(tornado.websocket.WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))


@tornado.web.stream_request_body
class _Upload(tornado.web.RequestHandler):
    def prepare(self) -> None:
        self.size, self.digest = 0, hashlib.sha256()

    def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.digest.update(chunk)

    def put(self, path: str) -> None:
        self.write({"size": self.size, "sha256": self.digest.hexdigest()})


class _Asked(tornado.web.RequestHandler):
    def get(self) -> None:
        self.application.settings["asked"].append(dict(self.request.headers.items()))
        self.set_header("Content-Type", "application/json")
        # What somebody's lab could say.
        self.set_header("Service-Worker-Allowed", "/")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")
        self.write(json.dumps({"path": self.request.uri, **dict(self.request.headers.items())}))


@contextlib.contextmanager
def _server() -> Iterator[tuple[int, list[dict[str, str]]]]:
    asked: list[dict[str, str]] = []
    port = free_port()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def serve() -> None:
        rows: list[Any] = [("/ws", _Echo), ("/upload(.*)", _Upload), (".*", _Asked)]
        app = tornado.web.Application(rows, asked=asked)
        app.listen(port, "127.0.0.1", max_body_size=10**10)
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield port, asked
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
