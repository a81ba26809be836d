"""What only the network can say of a proxy: whether tor listens, and by which address one goes out.

``python -m familiar_kernel.proxy_exit`` asks a server for that address, the exit: it is what the
world sees of this environment's traffic. It is fetched in a process of its own, so that nothing can
hold up who asks: not a look-up of a name, which cannot be given a time limit, and not a socket that
the person's code has replaced. The address of the proxy is in the environment that the process
inherits, and in no argument list.

urllib knows neither SOCKS nor a proxy that itself speaks TLS, and curl is not on every machine;
asyncio does the latter, and the former is a few bytes (RFC 1928, RFC 1929).
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from .proxy import TOR, Proxy, ProxyError, shown, tor

URL = "FAMILIAR_PROXY_STATUS_URL"
USUAL = "https://api.ipify.org"
"""Says the caller's address as plain text."""
LIMIT = 5.0
"""Seconds that the whole of it may take."""
_KNOCK = 2.0
"""Seconds in which tor must take a connection; it runs on the same machine, or beside it."""
_START = 10.0
"""Seconds more that a busy machine has to start the process."""
_MOST = 8192
"""Bytes of an answer that are read."""
_SHOWN = 100
"""Characters of it that are shown."""
_SOCKS_FAULTS = {
    2: "does not lead to {host}",
    3: "cannot reach {host}",
    4: "cannot reach {host}",
    5: "was refused by {host}",
    6: "cannot reach {host}",
}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ExitError(Exception):
    """The exit is not known; the message says why, and holds nothing secret."""


def running_tor(environ: Mapping[str, str]) -> Proxy:
    """Return tor's proxy.

    Raises:
        ProxyError: nobody listens there, or it has no address.
    """
    proxy = tor(environ)
    parts = urlsplit(proxy.url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), _KNOCK):
            return proxy
    except OSError:
        pass
    raise ProxyError(
        f"nobody takes connections at {shown(proxy.url)}; start tor there, or name another place "
        f"in {TOR}"
    )


def ask() -> tuple[str, str]:
    """Ask, in a process of its own.

    Returns:
        the exit's address, and who says so; or nothing, and why it is not known.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT + _START,
            check=True,
        )
        told = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return "", f"no answer within {LIMIT:.0f} s"
    except (OSError, subprocess.CalledProcessError, ValueError) as err:
        return "", f"the process that asks failed: {type(err).__name__}"
    return str(told.get("exit", "")), str(told.get("told", ""))


# -- in the process --------------------------------------------------------------------------------


def main() -> dict[str, str]:
    """Return what :func:`ask` is told."""
    try:
        url = _target(os.environ.get(URL) or USUAL)
        # Not asyncio.run, which at its end waits for a look-up that hangs.
        body = asyncio.new_event_loop().run_until_complete(_fetched(url, _proxy_for(url)))
        return {"exit": plain(body), "told": str(url.hostname)}
    except ExitError as err:
        return {"told": str(err)}


def plain(body: bytes) -> str:
    """Return what may be shown of an answer: one short line of printable characters.

    Raises:
        ExitError: there is nothing in it.
    """
    text = "".join(c if c.isprintable() else " " for c in body.decode("utf-8", "replace"))
    text = " ".join(text.split())
    if not text:
        raise ExitError("the answer is empty")
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _target(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        well = None
    if not well or not url.isascii() or not url.isprintable() or " " in url:
        raise ExitError(f"{URL} is not written like {USUAL}")
    return parts


def _proxy_for(url: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment has for an address, as other clients read it."""
    proxies = getproxies_environment()
    found = proxies.get(url.scheme) or proxies.get("all")
    if not found or proxy_bypass(str(url.hostname)):
        return None
    try:
        parts = urlsplit(found if "://" in found else f"http://{found}")
        well = parts.hostname and parts.port
    except ValueError:
        well = None
    if not well:
        raise ExitError("the address of the proxy cannot be read")
    return parts


async def _fetched(url: SplitResult, proxy: SplitResult | None) -> bytes:
    try:
        async with asyncio.timeout(LIMIT):
            return await _answer(url, proxy)
    except TimeoutError:
        raise ExitError(f"no answer within {LIMIT:.0f} s") from None
    except ssl.SSLError as err:
        raise ExitError(f"no secure connection: {err.reason or 'it broke'}") from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, http.client.HTTPException):
        raise ExitError("what came back is no answer that can be understood") from None
    except OSError as err:
        raise ExitError(f"the connection failed: {err.strerror or type(err).__name__}") from None


async def _answer(url: SplitResult, proxy: SplitResult | None) -> bytes:
    host, port = str(url.hostname), url.port or (443 if url.scheme == "https" else 80)
    secure = url.scheme == "https"
    streams = await _connected(*((host, port, False) if proxy is None else _way_to(proxy)))
    reader, writer = streams
    headers = {"Host": url.netloc.rpartition("@")[2], "User-Agent": "familiar-kernel"}
    where = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if proxy is not None:
        if proxy.scheme.startswith("socks"):
            await _through_socks(streams, proxy, host, port)
        elif secure:
            await _through_http(streams, proxy, host, port)
        else:
            where = f"http://{_bracketed(host)}:{port}{where}"
            headers |= _credentials(proxy)
    if secure:
        await writer.start_tls(ssl.create_default_context(), server_hostname=host)
    if url.username is not None:
        told = f"{unquote(url.username)}:{unquote(url.password or '')}"
        headers["Authorization"] = _basic(told)
    await _send(writer, f"GET {where} HTTP/1.1", headers | {"Connection": "close"})
    status, body = await _response(reader)
    writer.transport.abort()  # nothing more is wanted of it, not even its goodbye
    if status == 407:
        raise ExitError("the proxy refused the name and the password")
    if status != 200:
        who = host if secure or proxy is None else f"{host}, or the proxy,"
        raise ExitError(f"{who} answered {status}")
    return body


def _way_to(proxy: SplitResult) -> tuple[str, int, bool]:
    return str(proxy.hostname), int(proxy.port or 0), proxy.scheme == "https"


async def _connected(host: str, port: int, secure: bool) -> Streams:
    try:
        context = ssl.create_default_context() if secure else None
        return await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError:
        raise
    except OSError:
        raise ExitError(f"nobody takes connections at {_bracketed(host)}:{port}") from None


async def _send(writer: asyncio.StreamWriter, first: str, headers: dict[str, str]) -> None:
    lines = [first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    await writer.drain()


class _Received:
    """What has been received, as :mod:`http.client` wants to read it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    data = b""
    while len(data) < _MOST and (more := await reader.read(_MOST - len(data))):
        data += more
    response = http.client.HTTPResponse(_Received(data))  # type: ignore[arg-type]
    response.begin()
    return response.status, response.read(_SHOWN * 4 + 1)  # of UTF-8, at most four bytes each


async def _through_http(streams: Streams, proxy: SplitResult, host: str, port: int) -> None:
    """Have an HTTP proxy lead a connection on.

    Raises:
        ExitError: it will not.
    """
    reader, writer = streams
    there = f"{_bracketed(host)}:{port}"
    await _send(writer, f"CONNECT {there} HTTP/1.1", {"Host": there, **_credentials(proxy)})
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status in ([b"407"], [b"401"]):  # the latter is tinyproxy's
        raise ExitError("the proxy refused the name and the password")
    if status != [b"200"]:
        said = b"".join(status).decode("ascii", "replace")
        raise ExitError(f"the proxy answered {said if said.isdecimal() else 'nothing'}")


async def _through_socks(streams: Streams, proxy: SplitResult, host: str, port: int) -> None:
    """Have a SOCKS5 proxy lead a connection on.

    Raises:
        ExitError: it will not.
    """
    reader, writer = streams
    name_of_host = host
    name, password = _named(proxy)
    writer.write(b"\x05\x02\x00\x02" if name else b"\x05\x01\x00")
    version, method = await reader.readexactly(2)
    if version != 5 or method not in (0, 2) or (method == 2 and not name):
        raise ExitError("the proxy wants a name and a password" if version == 5 else "no SOCKS5")
    if method == 2:
        writer.write(b"\x01" + _counted(name) + _counted(password))
        if (await reader.readexactly(2))[1]:
            raise ExitError("the proxy refused the name and the password")
    if proxy.scheme == "socks5":  # as other clients do: the name is looked up here
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        host = str(found[0][4][0])
    writer.write(b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big"))
    _, fault, _, kind = await reader.readexactly(4)
    if fault:
        told = _SOCKS_FAULTS.get(fault, "failed on the way to {host}")
        raise ExitError(f"the proxy {told.format(host=name_of_host)}")
    length = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
    await reader.readexactly(length + 2)


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return b"\x03" + _counted(host.encode("idna"))
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed


def _counted(data: bytes) -> bytes:
    if len(data) > 255:
        raise ExitError("a name or a password is too long for SOCKS5")
    return bytes((len(data),)) + data


def _named(proxy: SplitResult) -> tuple[bytes, bytes]:
    return unquote(proxy.username or "").encode(), unquote(proxy.password or "").encode()


def _credentials(proxy: SplitResult) -> dict[str, str]:
    name, password = _named(proxy)
    told = (name + b":" + password).decode()
    return {"Proxy-Authorization": _basic(told)} if name else {}


def _basic(told: str) -> str:
    return f"Basic {base64.b64encode(told.encode()).decode()}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    print(json.dumps(main()), flush=True)
    os._exit(0)  # nor for the thread that such a look-up keeps
