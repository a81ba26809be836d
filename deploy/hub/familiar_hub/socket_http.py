"""HTTP/1.1 over a unix socket, on either side of the proxy, with h11 as the one parser.

h11 and not aiohttp, since a stream that was upgraded (attach, exec) must be closed on one side
while the other still writes (`docker run -i`), which aiohttp's server cannot; and since it reads
strictly: two lengths, two hosts and the like are errors.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import h11

from .socket_looks import Unclear

PIECE = 64 * 1024
"""Bytes that are read at once."""
LARGEST_ANSWER = 32 << 20
"""Bytes of an answer that is read as a whole."""
Headers = list[tuple[bytes, bytes]]


class TooLargeError(Exception):
    """A body has more bytes than it may have."""


class GoneError(Exception):
    """The other side has closed the connection."""


class Side:
    """One end of a connection: h11's view of it, and the streams.

    Args:
        role: h11.SERVER towards a client, h11.CLIENT towards the Engine.
        reader: from there.
        writer: to there.
    """

    def __init__(
        self,
        role: type[h11.SERVER] | type[h11.CLIENT],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=PIECE)
        self.reader, self.writer = reader, writer

    async def next(self, patience: float | None = None) -> Any:
        """Return h11's next event.

        Args:
            patience: seconds in which something has to come; None for no limit.

        Raises:
            h11.RemoteProtocolError: the other side does not speak HTTP as it should.
            TimeoutError: nothing came.
        """
        while (event := self.http.next_event()) is h11.NEED_DATA:
            try:
                async with asyncio.timeout(patience):
                    data = await self.reader.read(PIECE)
            except ConnectionError:
                data = b""
            self.http.receive_data(data)
        return event

    async def body(self, most: int, patience: float | None = None) -> AsyncIterator[bytes]:
        """Yield the body that comes now.

        Raises:
            TooLargeError: it is longer than that.
        """
        size = 0
        while not isinstance(event := await self.next(patience), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise GoneError
            size += len(event.data)
            if size > most:
                raise TooLargeError
            yield bytes(event.data)

    async def send(self, *events: Any) -> None:
        """Send events, and wait until the other side takes more.

        Raises:
            GoneError: it will not.
        """
        data = b"".join(self.http.send(event) or b"" for event in events)
        await self.write(data)

    async def write(self, data: bytes) -> None:
        """Send plain bytes, on an upgraded connection."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            raise GoneError from None

    async def close(self) -> None:
        """Close the connection, without waiting for what the other side has not read."""
        self.writer.close()
        try:
            async with asyncio.timeout(1):
                await self.writer.wait_closed()
        except (ConnectionError, TimeoutError):
            self.writer.transport.abort()


class _Reader(asyncio.StreamReader):
    """A reader that yields what has come, also where the Engine then resets the connection.

    It does that when it has answered without having read all of a build's context.
    """

    def set_exception(self, exc: Any) -> None:
        if isinstance(exc, ConnectionError):
            self.feed_eof()
        else:
            super().set_exception(exc)


async def connected(path: Path) -> Side:
    """Return a new connection to the Engine.

    Raises:
        Unclear: it does not listen.
    """
    loop, reader = asyncio.get_running_loop(), _Reader()
    try:
        transport, protocol = await loop.create_unix_connection(
            lambda: asyncio.StreamReaderProtocol(reader), str(path)
        )
        return Side(h11.CLIENT, reader, asyncio.StreamWriter(transport, protocol, reader, loop))
    except OSError as err:
        raise Unclear(f"The Engine does not listen ({err.strerror}): tell an operator.") from err


def request(
    method: str, target: str, body: bytes | None, more: Headers, length: int | None = None
) -> list[Any]:
    """Return the events of a request to the Engine.

    Args:
        method: of it.
        target: path and query.
        body: JSON; None for none.
        more: headers beside the framing.
        length: of a body that is sent later; then the request is not ended.
    """
    headers: Headers = [(b"Host", b"docker"), *more]
    if length is not None:
        headers.append((b"Content-Length", b"%d" % length))
    elif body is not None:
        headers += [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
    elif method in ("POST", "PUT"):
        headers.append((b"Content-Length", b"0"))
    events: list[Any] = [h11.Request(method=method, target=target, headers=headers)]
    if length is None:
        events += [h11.Data(data=body)] if body else []
        events.append(h11.EndOfMessage())
    return events


async def asked(path: Path, method: str, target: str, body: Mapping[str, Any] | None) -> Any:
    """Ask the Engine something short.

    Returns:
        the status, and the JSON of the answer; None where that is no JSON.

    Raises:
        Unclear: it does not.
        TooLargeError: the answer is too long to be read as a whole.
    """
    engine = await connected(path)
    try:
        sent = json.dumps(body).encode() if body is not None else None
        await engine.send(*request(method, target, sent, []))
        answer = await engine.next()
        if not isinstance(answer, h11.Response):
            raise Unclear("The Engine closed the connection: try again.")
        return answer.status_code, await whole_json(engine)
    except (GoneError, h11.RemoteProtocolError):
        raise Unclear("The Engine broke its answer off: try again.") from None
    finally:
        await engine.close()


async def whole_json(engine: Side) -> Any:
    """Return the JSON of an answer whose body comes now; None where it is none."""
    data = b"".join([piece async for piece in engine.body(LARGEST_ANSWER)])
    try:
        return json.loads(data) if data else None
    except ValueError:
        return None
