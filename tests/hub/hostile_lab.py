"""A lab whose person serves what they like: a page for whoever comes."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Lab(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = b"<!doctype html><title>Look here</title><body></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    ThreadingHTTPServer((where.hostname or "127.0.0.1", where.port or 0), Lab).serve_forever()
