"""Traefik with our files: what it lets through as it is, and what it does by itself."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import tornado.httpclient
import tornado.websocket
from tornado.ioloop import IOLoop

from compose.edge import Edge, running_edge
from hub_setup import authority, certificates


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running_edge(tmp_path_factory.mktemp("edge")) as edge:
        yield edge


def _get(edge: Edge, path: str = "/", **more: Any) -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    return session.get(
        f"https://localhost:{edge.https}{path}",
        verify=str(edge.folders.given / "ca.pem"),
        timeout=20,
        allow_redirects=False,
        **more,
    )


def test_people_without_tls_are_sent_to_the_address_with_it(edge: Edge) -> None:
    answer = requests.get(
        f"http://localhost:{edge.http}/hub/login?next=%2Fhub%2Fhome",
        allow_redirects=False,
        timeout=20,
    )
    assert answer.status_code == 301
    assert answer.headers["Location"] == (
        f"https://localhost:{edge.https}/hub/login?next=%2Fhub%2Fhome"
    )


def test_what_the_hub_hears_of_who_asks(edge: Edge) -> None:
    names = ("X-Forwarded-For", "X_Forwarded_For", "X-Real-Ip")
    forged = {"X-Forwarded-Proto": "http", **dict.fromkeys(names, "6.6.6.6")}
    told = _get(edge, headers=forged).json()
    assert told["X-Forwarded-Proto"] == "https"
    assert told["X-Forwarded-For"] == "127.0.0.1"
    assert told["X-Forwarded-Host"] == told["Host"] == f"localhost:{edge.https}"
    assert "6.6.6.6" not in str(told)


def test_what_browsers_are_told(edge: Edge) -> None:
    headers = _get(edge).headers
    assert headers["Strict-Transport-Security"] == "max-age=15552000"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "Server" not in headers


_OF_AN_ORIGIN = ("Service-Worker-Allowed", "Cross-Origin-Opener-Policy")


@pytest.mark.parametrize("path", ["/user/ada/sw.js", "/hubs/", "/services/mlflow/", "/"])
def test_a_lab_says_nothing_about_the_origin_that_all_have(edge: Edge, path: str) -> None:
    answer = _get(edge, path)
    assert answer.json()["path"] == path
    assert not [name for name in _OF_AN_ORIGIN if name in answer.headers]
    assert answer.headers["X-Content-Type-Options"] == "nosniff", "the rest is said as well"
    assert _get(edge, "/hub/home").headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_another_host_is_nobody_s(edge: Edge) -> None:
    before = len(edge.asked)
    for host in ("other.example", "localhost.other.example", ""):
        assert _get(edge, headers={"Host": host}).status_code in (400, 404)
    assert len(edge.asked) == before


def test_there_is_no_dashboard(edge: Edge) -> None:
    for path in ("/dashboard/", "/api/rawdata", "/ping", "/metrics"):
        # The hub's answer, or whoever is behind: none of Traefik's own.
        assert _get(edge, path).json()["path"] == path


@pytest.mark.parametrize(
    "path",
    ["/a%2Fb", "/50%25.ipynb", "/why%3F.ipynb", "/a%23b", "/a%3Bb", "/a%5Cb", "/%C3%BC", "/a%20b"],
)
def test_names_of_files_come_through_as_they_are(edge: Edge, path: str) -> None:
    # By hand: a library would write some of them in another way.
    context = ssl.create_default_context(cafile=str(edge.folders.given / "ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", edge.https), 20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as raw,
    ):
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    assert f'"path": "{path}"' in answer


def test_a_connection_becomes_a_websocket(edge: Edge) -> None:
    async def talk() -> list[Any]:
        request = tornado.httpclient.HTTPRequest(
            f"wss://localhost:{edge.https}/ws", ca_certs=str(edge.folders.given / "ca.pem")
        )
        there = await tornado.websocket.websocket_connect(request)
        heard = []
        for message in ("ü", b"\0" * 300_000):
            await there.write_message(message, binary=isinstance(message, bytes))
            heard.append(await there.read_message())
        there.close()
        return heard

    assert IOLoop(make_current=False).run_sync(talk, timeout=20) == ["ü", b"\0" * 300_000]


def test_a_large_upload_arrives_whole(edge: Edge) -> None:
    piece, count = bytes(range(256)) * 4096, 200
    answer = requests.put(
        f"https://localhost:{edge.https}/upload",
        data=(piece for _ in range(count)),
        verify=str(edge.folders.given / "ca.pem"),
        timeout=120,
    )
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(piece)
    assert answer.json() == {"size": count * len(piece), "sha256": digest.hexdigest()}


def test_a_renewed_certificate_is_shown_without_a_restart(edge: Edge) -> None:
    before = _shown(edge)
    leaf = edge.folders.authority / "leaf.pem"
    old = authority.Pair(leaf.read_bytes(), leaf.with_suffix(".key").read_bytes())
    by = authority.Pair(
        *((edge.folders.authority / name).read_bytes() for name in ("ca.pem", "ca.key"))
    )
    # One that was made so long ago that it ends in a week.
    then = authority.now() - timedelta(days=authority.LEAF_DAYS - 7)
    aged = authority.new_leaf(by, authority.names_of("localhost"), then)
    leaf.write_bytes(aged.certificate)
    leaf.with_suffix(".key").write_bytes(aged.key)
    _, told = certificates.made(edge.folders, "localhost", False, authority.now())
    assert [line for line in told if "ends soon" in line]
    edge.write()
    deadline = time.monotonic() + 20
    while _shown(edge) == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert leaf.read_bytes() not in (old.certificate, aged.certificate)
    assert _shown(edge) == ssl.PEM_cert_to_DER_cert(leaf.read_text())


def _shown(edge: Edge) -> bytes:
    context = ssl.create_default_context(cafile=str(edge.folders.given / "ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", edge.https), 20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as raw,
    ):
        return raw.getpeercert(binary_form=True) or b""


def test_without_tls_there_is_none(tmp_path: Path) -> None:
    with running_edge(tmp_path, "http://localhost") as edge:
        answer = requests.get(f"http://localhost:{edge.http}/x", timeout=20)
        assert answer.json()["path"] == "/x"
        assert "Strict-Transport-Security" not in answer.headers
        assert "Service-Worker-Allowed" not in answer.headers
        assert not list(edge.folders.edge.glob("*.pem"))


def test_labs_with_hosts_of_their_own(tmp_path: Path) -> None:
    with running_edge(tmp_path, "https://localhost", subdomains=True) as edge:
        assert "Service-Worker-Allowed" in _get(edge, "/user/ada/x").headers, "its own origin"
        context = ssl.create_default_context(cafile=str(edge.folders.given / "ca.pem"))
        for host, status in (("ada.localhost", 200), ("a.b.localhost", 404), ("localhost", 200)):
            with (
                socket.create_connection(("127.0.0.1", edge.https), 20) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as raw,
            ):
                raw.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                assert raw.recv(12) == f"HTTP/1.1 {status}"[:12].encode(), host
