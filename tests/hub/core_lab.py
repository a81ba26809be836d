"""A small lab: a server that the hub starts, whose kernels say what a file tells them to.

The file ``kernels.json`` lies in the person's home. Who asks is asked of the hub, as a lab does.
"""

from __future__ import annotations

import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

BASE = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
SERVER = f"access:servers!server={os.environ['JUPYTERHUB_USER']}/"


class Lab(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = urlsplit(self.path).path.removeprefix(BASE)
        if path in ("api/kernels", "api/terminals"):
            if not self.may():
                self.answer(403, {})
                return
            file = Path(f"{path.rpartition('/')[2]}.json")
            self.answer(200, json.loads(file.read_text()) if file.exists() else [])
        else:
            self.answer(200, {})

    def may(self) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("token ")
        request = urllib.request.Request(
            f"{os.environ['JUPYTERHUB_API_URL']}/user", headers={"Authorization": f"token {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                scopes = json.load(answer)["scopes"]
        except OSError:
            return False
        return "access:servers" in scopes or SERVER in scopes

    def answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    ThreadingHTTPServer((where.hostname or "127.0.0.1", where.port or 0), Lab).serve_forever()
