"""An engine that only answers: a server that says what Docker would, for what no machine has."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Engine:
    """What it answers, and what it was asked.

    Attributes:
        info: its description of itself.
        image: whether it has the labs' image.
        exit: what a container ends with.
        refuses: why a container cannot start; empty if it can.
        silent: it takes requests and does not answer while this is unset.
        asked: method and path of every request, without the API's version.
    """

    info: dict[str, Any]
    image: bool = True
    exit: int = 0
    refuses: str = ""
    silent: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        match f"{method} {path}":
            case "GET /version":
                return 200, {"ApiVersion": "1.43", "MinAPIVersion": "1.12"}
            case "GET /info":
                self.silent.wait(20)
                return 200, self.info
            case "POST /containers/create":
                return (201, {"Id": "c1"}) if self.image else (404, {"message": "No such image: x"})
            case "POST /containers/c1/start":
                return (500, {"message": self.refuses}) if self.refuses else (204, None)
            case "POST /containers/c1/wait":
                return 200, {"StatusCode": self.exit}
            case "GET /containers/c1/json":
                return 200, {"Config": {"Tty": True}}
            case "GET /containers/c1/logs":
                return 200, b"GPU 0: NVIDIA H100 (UUID: GPU-1)\n"
            case "DELETE /containers/c1":
                return 204, None
        return 500, {"message": f"not expected: {method} {path}"}


@contextlib.contextmanager
def running_engine(engine: Engine) -> Iterator[Engine]:
    """Let it answer for the time of a ``with`` block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            path = re.sub(r"^/v[\d.]+", "", urlsplit(self.path).path)
            engine.asked.append(f"{self.command} {path}")
            length = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(length)
            if sent:
                engine.bodies.append(json.loads(sent))
            status, value = engine.answer(self.command, path)
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            data = b"" if value is None else data
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = serve

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    engine.url = f"tcp://127.0.0.1:{server.server_address[1]}"
    try:
        yield engine
    finally:
        engine.silent.set()
        server.shutdown()
        server.server_close()
