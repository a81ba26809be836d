"""JupyterLab's notification centre: a real Jupyter server with the extension takes what we send,
and shows it to a listening page at once.

The servers stand for those that people run: with a token, with a certificate that nobody knows,
behind a proxy that alone asks who is there, with a password, and without the extension.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.cookiejar
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_server.auth.security import passwd
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from familiar_kernel.familiar.notices import NO_CENTRE
from familiar_kernel.notifications import Event, Notifications
from kernels import CELL_TIMEOUT
from needs import need

pytestmark = pytest.mark.kernel

TOKEN = "the-token-of-this-test"
EXTENSION = "jupyterlab-notifications-extension"
SPEC = {
    "argv": [sys.executable, "-m", "familiar_kernel", "-f", "{connection_file}"],
    "display_name": "under test",
    "language": "python",
    "interrupt_mode": "message",
}
EVENT = Event("permission", 1, "session", "Claude asks to use Bash", "ls <b>*</b>", 60.0)


@dataclass
class Server:
    """A running Jupyter server."""

    pid: int
    url: str
    root: Path
    runtime: Path

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask for a path, or post to it, as a client that has the token."""
        loopback = ssl.create_default_context()
        loopback.check_hostname = False
        loopback.verify_mode = ssl.CERT_NONE
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {TOKEN}"},
        )
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=loopback),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )
        with opener.open(request, timeout=30) as answer:
            return json.loads(answer.read())

    def notices(self) -> list[dict[str, Any]]:
        """What has come since the last look."""
        found: list[dict[str, Any]] = self.ask(f"{EXTENSION}/notifications")["notifications"]
        return found


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A function that starts servers for this test alone."""
    need("jupyterlab_notifications_extension")
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(
            _serving(tmp_path, arguments, **options)
        )


@contextlib.contextmanager
def _serving(
    home: Path, arguments: tuple[str, ...], *, token: str = TOKEN, extended: bool = True
) -> Iterator[Server]:
    root, runtime = home / "my notebooks", home / "runtime"
    (root / "work").mkdir(parents=True)
    (root / "work" / "a b.ipynb").write_text("{}")
    spec = home / "data" / "kernels" / "under-test"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps(SPEC))
    env = {**os.environ, "JUPYTER_RUNTIME_DIR": str(runtime), "FAMILIAR_REHEARSAL": "1"}
    env |= {"HOME": str(home), "JUPYTER_DATA_DIR": str(home / "data")}
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
                *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.root_dir={root}"),
                f"--IdentityProvider.token={token}",
                "--ServerApp.jpserver_extensions="
                + repr({"jupyterlab_notifications_extension": extended, "jupyterlab": False}),
                *arguments,
            ],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = _address(process, runtime / f"jpserver-{process.pid}.json", log)
        yield Server(process.pid, url, root, runtime)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], file: Path, log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):  # not there, or half written
            facts = json.loads(file.read_text())
            if facts["port"]:
                return str(facts["url"])
        time.sleep(0.1)
    raise RuntimeError(f"no server:\n{log.read_text(errors='replace')[-3000:]}")


def _started_by(server: Server, monkeypatch: pytest.MonkeyPatch) -> Notifications:
    """Notifications of a kernel that this server would have started."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(server.runtime))
    monkeypatch.setenv("JPY_PARENT_PID", str(server.pid))
    monkeypatch.setenv("JPY_SESSION_NAME", str(server.root / "work" / "a b.ipynb"))
    return Notifications()


def test_a_kernel_of_jupyterlabs_tells_it(serve: Serve) -> None:
    server = serve()
    session = {"path": "work/a b.ipynb", "name": "a b.ipynb", "type": "notebook"}
    started = server.ask("api/sessions", {**session, "kernel": {"name": "under-test"}})
    file = server.runtime / f"kernel-{started['kernel']['id']}.json"
    deadline = time.monotonic() + 60
    while not file.exists() or not file.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        assert "lab/tree/work/a%20b.ipynb" in _shown(client, "%claude_notify")
        pushed, shown = asyncio.run(_listen(server, lambda: _shown(client, "%claude_notify test")))
    finally:
        client.stop_channels()
    assert "sent" in shown
    (notice,) = pushed["notifications"]
    assert notice["message"].startswith("Claude says hello (a b.ipynb):")
    assert notice["actions"] == []
    assert [kept["id"] for kept in server.notices()] == [notice["id"]]


async def _listen(server: Server, act: Callable[[], str]) -> tuple[dict[str, Any], str]:
    """Return what a listening page is sent at once while something is done, and what that gave."""
    url = server.url.replace("http", "ws", 1) + f"{EXTENSION}/stream"
    page = await websocket_connect(HTTPRequest(url, headers={"Authorization": f"token {TOKEN}"}))
    done = asyncio.create_task(asyncio.to_thread(act))
    pushed = await asyncio.wait_for(page.read_message(), 30)
    page.close()
    assert pushed is not None
    return json.loads(pushed), await done


def _shown(client: BlockingKernelClient, cell: str) -> str:
    shown: list[str] = []
    reply = client.execute_interactive(
        cell, timeout=CELL_TIMEOUT, output_hook=lambda m: shown.append(json.dumps(m["content"]))
    )
    assert reply["content"]["status"] == "ok", shown
    return "".join(shown)


def test_a_request_stays_until_it_is_seen(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    notifications = _started_by(server, monkeypatch)
    began = time.monotonic()
    notifications.notify(EVENT)
    notifications.notify(EVENT)
    notifications.notify(EVENT._replace(kind="finished", title="Claude has answered"))
    assert time.monotonic() - began < 0.2
    found: list[dict[str, Any]] = []
    while len(found) < 2:
        assert time.monotonic() - began < 20
        found += server.notices()
        time.sleep(0.05)
    time.sleep(1)
    found += server.notices()
    asked, answered = sorted(found, key=lambda notice: str(notice["message"]))
    assert asked["message"] == "Claude asks to use Bash (a b.ipynb): ls <b>*</b>"
    assert (asked["type"], asked["autoClose"]) == ("warning", False)
    assert (answered["type"], answered["autoClose"]) == ("success", 10_000)


def test_a_certificate_of_its_own(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=lab.example", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = serve(f"--ServerApp.keyfile={key}", f"--ServerApp.certfile={certificate}")
    assert server.url.startswith("https:")
    (outcome,) = _started_by(server, monkeypatch).test()
    assert outcome.ok, outcome.error
    assert len(server.notices()) == 1


def test_a_server_that_leaves_asking_to_a_proxy(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("--PasswordIdentityProvider.hashed_password=", token="")
    (outcome,) = _started_by(server, monkeypatch).test()
    assert outcome.ok, outcome.error
    assert len(server.notices()) == 1


def test_a_server_that_knows_only_a_password(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(f"--PasswordIdentityProvider.hashed_password={passwd('of a test')}", token="")
    (outcome,) = _started_by(server, monkeypatch).test()
    assert not outcome.ok
    assert "must have a token" in outcome.error


def test_a_server_without_the_extension(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(extended=False)
    notifications = _started_by(server, monkeypatch)
    (outcome,) = notifications.test()
    assert outcome.error == NO_CENTRE
    assert not notifications.wanted
