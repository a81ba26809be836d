"""A lab for tests with containers: a server that says whose it is. Standard library only."""

from __future__ import annotations

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ABOUT = {
    "person": os.environ["JUPYTERHUB_USER"],
    "server": os.environ["JUPYTERHUB_SERVER_NAME"],
    "began": time.time(),
}


class Lab(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = json.dumps(ABOUT).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    ThreadingHTTPServer((where.hostname or "0.0.0.0", where.port or 8888), Lab).serve_forever()
