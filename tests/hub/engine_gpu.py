"""An Engine that has GPUs, for machines that have none: the real one behind, with two differences.

It says of itself that it has NVIDIA's runtime; and what is asked of GPUs for a container is taken
out of the request, and written down.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deploy.engines import Engine


@dataclass
class WithGpus:
    """An Engine with GPUs.

    Attributes:
        socket: where it listens.
        asked: containers' names, and what was asked of GPUs for each.
    """

    socket: Path
    asked: dict[str, Any] = field(default_factory=dict)


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


@contextlib.contextmanager
def with_gpus(engine: Engine, path: Path) -> Iterator[WithGpus]:
    """Let an Engine have GPUs for the time of a ``with`` block.

    Args:
        engine: the real one.
        path: where it listens then.
    """
    found = WithGpus(path)
    behind = engine.variables["DOCKER_HOST"].removeprefix("unix://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            path = re.sub(r"^/v[\d.]+", "", url.path)
            if path == "/containers/create":
                body = json.loads(sent)
                [name] = parse_qs(url.query)["name"]
                found.asked[name] = body["HostConfig"].pop("DeviceRequests", None)
                sent = json.dumps(body).encode()
            connection = _Unix(behind)
            try:
                told = {"Content-Type": "application/json"} if sent else {}
                connection.request(self.command, self.path, sent or None, told)
                answer = connection.getresponse()
                data = answer.read()
            finally:
                connection.close()
            if path == "/info":
                data = json.dumps({**json.loads(data), "Runtimes": {"nvidia": {}}}).encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
            if answer.status not in (204, 304):
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = pass_on

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
