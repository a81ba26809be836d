"""A lab for the tests of the hub: a server with the notifications extension's address, and nothing
else. Standard library only, so that it runs in any image.

It asks the hub who stands behind a token, as a real one does, and writes down what it was told.
Its person's name says how it behaves: ``slow``, ``bare`` (no extension), ``broken``, ``elsewhere``
(sends whoever asks to another address), ``endless``, ``torn`` (hangs up), or well.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PREFIX = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
INGEST = f"{PREFIX}jupyterlab-notifications-extension/ingest"
SLOW = 20.0
BEGAN = time.time()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.rstrip("/") == f"{PREFIX}api":
            told = {"version": "0", "began": BEGAN, "address": socket.gethostname()}
            self._answer(200, json.dumps(told))
        else:
            self._answer(404, "{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("Authorization", "").removeprefix("token ")
        if self.path != INGEST:
            self._answer(404, "{}")
            return
        who = _asked(token)
        if who is None:
            self._answer(403, "{}")
            return
        told = {"body": json.loads(body), "token": token, "scopes": who["scopes"]}
        self._behave(told | {"name": who["name"]})

    def _behave(self, told: dict[str, object]) -> None:
        kind = os.environ["JUPYTERHUB_USER"].partition("-")[0]
        file = Path(os.environ["LAB_FOLDER"], f"{os.environ['LAB_NAME']}.jsonl")
        with file.open("a") as output:
            output.write(json.dumps(told) + "\n")
        if kind == "slow":
            time.sleep(SLOW)
        elif kind == "bare":
            self._answer(404, '{"message": "nothing of that kind"}')
            return
        elif kind == "broken":
            self._answer(500, f"<b>{told['token']}</b>")  # what it says may be shown nowhere
            return
        elif kind == "elsewhere":
            self._answer(307, "", Location=f"http://{self.headers['Host']}{PREFIX}caught")
            return
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(2000):
                self.wfile.write(b"x" * 65536)
            return
        elif kind == "torn":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(200, '{"success": true}')

    def _answer(self, status: int, text: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def _asked(token: str) -> dict[str, list[str]] | None:
    request = urllib.request.Request(
        f"{os.environ['JUPYTERHUB_API_URL']}/user", headers={"Authorization": f"token {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            found: dict[str, list[str]] = json.load(answer)
    except urllib.error.HTTPError:
        return None
    wanted = f"access:servers!server={os.environ['JUPYTERHUB_USER']}/"
    return found if any(scope.startswith(wanted) for scope in found["scopes"]) else None


class Server(ThreadingHTTPServer):
    """A server that does not ask a name service for its own name, which may take long."""

    daemon_threads = True
    request_queue_size = 64

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "lab", self.server_address[1]


def main() -> None:
    address = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    place = (os.environ.get("LAB_IP") or address.hostname or "127.0.0.1", address.port or 8888)
    with Server(place, Handler) as server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    main()
