"""Real proxies, and a real site to reach through them: tinyproxy, microsocks, tor.

What went through a proxy is read from its own log. The site listens on 127.0.0.2, which is this
machine as well, but which no list of exceptions names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

from needs import need

HERE = "127.0.0.2"
NAME, PASSWORD = "somebody", "s3cret"
EXIT = "203.0.113.7"
READY = 20.0
"""Seconds that a proxy may take to listen; it takes a tenth of one where nothing else runs."""


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        port: int = found.getsockname()[1]
        return port


@dataclass
class Proxy:
    """A running proxy: its address, as PROXY_URLS would name it, and where it writes its log."""

    url: str
    log: Path
    port: int

    def went_through(self, port: int) -> int:
        """How many connections to a port of the site it has logged."""
        return self.log.read_text(errors="replace").count(f"{HERE}:{port}")


def _started(command: list[str], log: Path, port: int, **options: Any) -> subprocess.Popen[bytes]:
    """Start a proxy and return it once it listens."""
    with log.open("wb") as to:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.STDOUT, **options
        )
    until = time.monotonic() + READY
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise AssertionError(log.read_text(errors="replace"))


@contextlib.contextmanager
def _running(command: list[str], log: Path, port: int, **options: Any) -> Iterator[None]:
    process = _started(command, log, port, **options)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def http_proxy(folder: Path) -> Iterator[Proxy]:
    """Run an HTTP proxy that leads on by CONNECT as well, and wants a name and a password."""
    port, log = free_port(), folder / "tinyproxy.log"
    settings = folder / "tinyproxy.conf"
    settings.write_text(
        f'Listen 127.0.0.1\nPort {port}\nAllow 127.0.0.1\nLogFile "{log}"\nLogLevel Connect\n'
        f"BasicAuth {NAME} {PASSWORD}\nMaxClients 50\nTimeout 60\n"
    )
    settings.chmod(0o600)
    command = [need("tinyproxy"), "-d", "-c", str(settings)]
    said = folder / "tinyproxy.out"
    with _running(command, said, port):
        yield Proxy(f"http://{NAME}:{PASSWORD}@127.0.0.1:{port}", log, port)


@contextlib.contextmanager
def socks_proxy(folder: Path) -> Iterator[Proxy]:
    """Run a SOCKS5 proxy that wants a name and a password."""
    port, log = free_port(), folder / "microsocks.log"
    command = [need("microsocks"), "-i", "127.0.0.1", "-p", str(port), "-u", NAME, "-P", PASSWORD]
    with _running(command, log, port):
        yield Proxy(f"socks5h://{NAME}:{PASSWORD}@127.0.0.1:{port}", log, port)


@contextlib.contextmanager
def tor(folder: Path) -> Iterator[Proxy]:
    """Run tor. It knows one authority only, at a port of this machine where nobody is: so it
    listens, and reaches nobody."""
    port, data, log = free_port(), folder / "tor", folder / "tor.log"
    data.mkdir(mode=0o700)
    nobody = f"test orport={free_port()} v3ident={'A' * 40} 127.0.0.1:{free_port()} {'A' * 40}"
    settings = folder / "torrc"
    settings.write_text(
        f"SocksPort 127.0.0.1:{port}\nDataDirectory {data}\nDirAuthority {nobody}\n"
        "UseDefaultFallbackDirs 0\nClientOnly 1\nLog notice stdout\n"
    )
    command = [need("tor"), "--defaults-torrc", os.devnull, "-f", str(settings)]
    with _running(command, log, port, env={"PATH": os.environ["PATH"], "HOME": str(folder)}):
        yield Proxy(f"socks5h://127.0.0.1:{port}", log, port)


# -- the site --------------------------------------------------------------------------------------


@dataclass
class Site:
    """A site that is served with and without TLS, from a folder.

    Attributes:
        port, secure_port: where.
        folder: what it serves.
        authority: the file of whoever has signed its certificate.
        asked: the paths that were asked for, in order.
    """

    port: int
    secure_port: int
    folder: Path
    authority: Path
    asked: list[str] = field(default_factory=list)

    def url(self, path: str = "", secure: bool = False) -> str:
        """Return the address of something on it."""
        there = f"https://{HERE}:{self.secure_port}" if secure else f"http://{HERE}:{self.port}"
        return f"{there}/{path}"

    @property
    def trusted(self) -> dict[str, str]:
        """The variables by which the clients of the tests trust its certificate."""
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
        return dict.fromkeys(names, str(self.authority))


def _slow(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(600):
            handler.wfile.write(b"1")
            handler.wfile.flush()
            time.sleep(0.2)


def _huge(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(2000):
            handler.wfile.write(b"1000\r\n" + b"9" * 4096 + b"\r\n")


def _marked(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"<img src=x> | `x` $y$ [a](b)\x1b[2J\n# head")


_SPECIAL: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "/slow": _slow,
    "/huge": _huge,
    "/marked": _marked,
}


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Run the site for the time of a ``with`` block."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HERE, "127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    served = folder / "served"
    served.mkdir()
    (served / "exit").write_text(f"{EXIT}\n")

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(served))

        def do_GET(self) -> None:
            found.asked.append(self.path)
            special = _SPECIAL.get(self.path)
            if special is None:
                super().do_GET()
                return
            self.close_connection = True
            special(self)

        def log_message(self, *_: Any) -> None:
            pass

    with contextlib.ExitStack() as stack:
        ports = []
        for secure in (False, True):
            server = ThreadingHTTPServer((HERE, 0), Handler)
            server.daemon_threads = True
            if secure:
                # The handshake is each connection's own thread's: one that hangs holds up no other.
                server.socket = context.wrap_socket(
                    server.socket, server_side=True, do_handshake_on_connect=False
                )
            stack.callback(server.server_close)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(server.shutdown)
            ports.append(server.server_port)
        found = Site(ports[0], ports[1], served, folder / "authority.pem")
        yield found


def make_repository(place: Path) -> None:
    """Make a bare repository that any web server can serve."""
    work = place.with_suffix(".work")
    git = [need("git"), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    git += ["-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false"]
    for command in (
        [*git, "init", "--quiet", str(work)],
        [*git, "-C", str(work), "commit", "--quiet", "--allow-empty", "-m", "first"],
        [*git, "clone", "--quiet", "--bare", str(work), str(place)],
        [*git, "-C", str(place), "update-server-info"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(work)


@contextlib.contextmanager
def front(to: tuple[str, int], host: str, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Take connections on another address and lead them on, with or without TLS; give the port."""
    listener = socket.create_server((host, 0))

    def lead(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve(taken: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client = context.wrap_socket(taken, server_side=True) if context else taken
            server = socket.create_connection(to)
            with client, server:
                back = threading.Thread(target=lead, args=(server, client), daemon=True)
                back.start()
                lead(client, server)
                back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # or the thread would go on waiting
        listener.close()
