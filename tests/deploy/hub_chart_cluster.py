"""A cluster for the tests of the hub on Kubernetes: as much of an API server as KubeSpawner asks,
over real HTTP, whose Pods are processes of this machine.

It takes claims and Pods that the schemas of the newest Kubernetes allow and refuses others. A Pod's
process gets the Pod's variables and an address of its own on loopback.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from deploy.chart import NEWEST
from needs import need

Thing = dict[str, Any]
NAMESPACE = "people"
STAMP = "2026-01-01T00:00:00Z"
_PLURALS = {"pods": "Pod", "persistentvolumeclaims": "PersistentVolumeClaim", "events": "Event"}


class Cluster:
    """What is in the namespace. Every method may be called from any thread.

    Attributes:
        things: by plural and name.
        asked: "METHOD plural/name" of each request that changes something.
        keep: names of claims that something else in the cluster has; they stay while being deleted.
    """

    def __init__(self, program: list[str], folder: Path) -> None:
        self.things: dict[str, dict[str, Thing]] = {plural: {} for plural in _PLURALS}
        self.asked: list[str] = []
        self.keep: set[str] = set()
        self.changed = threading.Condition()
        self._events: list[tuple[int, str, str, Thing]] = []
        self._program = program
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # Nobody else's: tests run beside one another.
        self._addresses = iter(
            f"127.{1 + os.getpid() % 200}.{1 + os.getpid() // 200 % 250}.{last}"
            for last in range(2, 250)
        )

    @property
    def version(self) -> int:
        return len(self._events)

    def add(self, plural: str, thing: Thing) -> tuple[int, Thing]:
        """Make a thing, as POST does. Returns the status and what is told."""
        name = thing["metadata"]["name"]
        with self.changed:
            self.asked.append(f"POST {plural}/{name}")
            if name in self.things[plural]:
                return 409, _status(409, "AlreadyExists")
            validate = importlib.import_module("kubernetes_validate")
            try:
                validate.validate(_plain(thing), NEWEST, strict=True)
            except validate.ValidationError as error:
                return 422, _status(422, error.message)
            metadata = {"namespace": NAMESPACE, "uid": str(uuid.uuid4()), **thing["metadata"]}
            thing = {**thing, "metadata": metadata | {"creationTimestamp": STAMP}}
            if plural == "pods":
                thing["status"] = {"phase": "Pending"}
            self.things[plural][name] = thing
            self._tell("ADDED", plural, thing)
        if plural == "pods":
            self._run(thing)
        return 201, thing

    def remove(self, plural: str, name: str) -> tuple[int, Thing]:
        """Delete a thing, as DELETE does."""
        with self.changed:
            self.asked.append(f"DELETE {plural}/{name}")
            thing = self.things[plural].get(name)
            if thing is None:
                return 404, _status(404, "NotFound")
            if name in self.keep:
                # As the finalizer of claims that something has.
                thing["metadata"]["deletionTimestamp"] = STAMP
                return 200, thing
            del self.things[plural][name]
            if process := self._processes.pop(name, None):
                process.kill()
                process.wait()
            self._tell("DELETED", plural, thing)
        return 200, thing

    def labs(self) -> dict[str, Thing]:
        """Return the Pods by name."""
        with self.changed:
            return dict(self.things["pods"])

    def claims(self) -> dict[str, Thing]:
        """Return the claims by name."""
        with self.changed:
            return dict(self.things["persistentvolumeclaims"])

    def _run(self, pod: Thing) -> None:
        """Start what a Pod stands for here, and say that it runs."""
        name, address = pod["metadata"]["name"], next(self._addresses)
        (container,) = pod["spec"]["containers"]
        told = {one["name"]: one["value"] for one in container["env"] if one.get("value")}
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self._program,
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], **told, "LAB_IP": address, "LAB_NAME": name}
                | {"LAB_FOLDER": str(self._folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        with self.changed:
            self._processes[name] = process
            running = {"name": "notebook", "ready": True, "state": {"running": {}}}
            running |= {"image": container["image"], "imageID": "", "restartCount": 0}
            pod["status"] = {
                "phase": "Running",
                "podIP": address,
                "containerStatuses": [running],
                "conditions": [{"type": "Ready", "status": "True"}],
            }
            self._tell("MODIFIED", "pods", pod)

    def _tell(self, what: str, plural: str, thing: Thing) -> None:
        thing["metadata"]["resourceVersion"] = str(self.version + 1)
        self._events.append((self.version + 1, what, plural, json.loads(json.dumps(thing))))
        self.changed.notify_all()

    def since(self, version: int, plural: str) -> list[tuple[int, str, Thing]]:
        """Return what happened to a plural's things after a version."""
        return [
            (number, what, thing)
            for number, what, which, thing in self._events
            if number > version and which == plural
        ]

    def end(self) -> None:
        """End all processes."""
        for process in self._processes.values():
            process.kill()
            process.wait()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def do_GET(self) -> None:
        plural, name, query = self._where()
        if name:
            thing = self.cluster.things[plural].get(name)
            self._answer(200 if thing else 404, thing or _status(404, "NotFound"))
        elif query.get("watch"):
            self._watch(plural, int(query.get("resourceVersion", "0")))
        else:
            with self.cluster.changed:
                items = list(self.cluster.things[plural].values())
                listed = {"resourceVersion": str(self.cluster.version)}
                kind = f"{_PLURALS[plural]}List"
                told = {"kind": kind, "apiVersion": "v1", "metadata": listed, "items": items}
                self._answer(200, told)

    def do_POST(self) -> None:
        plural, _, _ = self._where()
        size = int(self.headers.get("Content-Length") or 0)
        self._answer(*self.cluster.add(plural, json.loads(self.rfile.read(size))))

    def do_DELETE(self) -> None:
        plural, name, _ = self._where()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(*self.cluster.remove(plural, name))

    def _where(self) -> tuple[str, str, dict[str, str]]:
        split = urlsplit(self.path)
        _, _, _, _, namespace, plural, *name = split.path.split("/")
        assert namespace == NAMESPACE, self.path
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        return plural, name[0] if name else "", query

    def _watch(self, plural: str, version: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(10):
                with self.cluster.changed:
                    new = self.cluster.since(version, plural)
                    if not new:
                        self.cluster.changed.wait(1)
                        new = self.cluster.since(version, plural)
                for number, what, thing in new:
                    version = number
                    self.wfile.write(json.dumps({"type": what, "object": thing}).encode() + b"\n")
                self.wfile.flush()
        self.close_connection = True

    def _answer(self, status: int, told: Thing) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _status(code: int, reason: str) -> Thing:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": reason}


def _plain(thing: Any) -> Any:
    """Return a thing without what is null, as an API server reads it."""
    if isinstance(thing, dict):
        return {key: _plain(value) for key, value in thing.items() if value is not None}
    return [_plain(each) for each in thing] if isinstance(thing, list) else thing


@contextlib.contextmanager
def cluster(lab: Path, folder: Path) -> Iterator[tuple[Cluster, Path]]:
    """Serve a cluster whose labs are a program in Python; yield it, and the file that names it."""
    need("kubernetes_validate")
    it = Cluster([sys.executable, str(lab)], folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": it}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    file = folder / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "it", "cluster": {"server": url}}],
                "users": [{"name": "it", "user": {"token": "none"}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                "current-context": "it",
            }
        )
    )
    try:
        yield it, file
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        it.end()
