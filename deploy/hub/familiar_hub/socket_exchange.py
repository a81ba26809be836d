"""One client's connection: requests are judged, asked of the Engine anew, and answered.

Each request has a connection of its own to the Engine, so that nothing which one leaves behind can
become part of the next. Refusals are answered as the Engine answers errors, so that its clients
show the sentence.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

import h11

from . import socket_answers, socket_http
from .socket_build import rebuilt
from .socket_http import GoneError, Side, TooLargeError
from .socket_looks import Look, Unclear, question, settle
from .socket_policy import Allowed, Request, body_limit, judge
from .socket_reading import Missing, Refused
from .socket_rules import Rules, Who

PATIENCE = 60.0
"""Seconds in which a request has to come whole, once it has begun, or its next piece."""
IDLE = 600.0
"""Seconds that a connection is kept between two requests."""
LOOKS = 8
"""How many looks of a client are under way at a time."""
_UPGRADE: socket_http.Headers = [(b"Connection", b"Upgrade"), (b"Upgrade", b"tcp")]
_RAW = (b"application/vnd.docker.raw-stream", b"application/vnd.docker.multiplexed-stream")

Tell = Callable[..., None]
"""Takes what was done, and facts about it."""


@dataclass
class Client:
    """Somebody with a socket: what their connections share.

    Attributes:
        who: it is.
        engine: the Engine's socket.
        rules: the operator's.
        tell: puts on record what was done, or refused.
        is_open: says whether a person's socket is there.
        serve_own: answers requests to the proxy itself; None for what is none.
        turn: what is counted waits here for its turn.
        builds: one build goes on at a time; the next one's context is not taken before.
        looking: few answers of the Engine are read at a time, and fewer still (``whole``) are held
            until the client has taken them: its connections together must not fill the memory.
    """

    who: Who
    engine: Path
    rules: Rules
    tell: Tell
    is_open: Callable[[str], bool]
    serve_own: Callable[[Request], Awaitable[Any]]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    builds: asyncio.Lock = field(default_factory=asyncio.Lock)
    looking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKS))
    whole: asyncio.Lock = field(default_factory=asyncio.Lock)


class Exchange:
    """One connection of a client.

    Args:
        client: whose it is.
        side: the connection.
    """

    def __init__(self, client: Client, side: Side) -> None:
        self._client, self._side = client, side
        self._method = ""

    async def run(self) -> None:
        """Serve requests until the client has had enough."""
        try:
            while await self._serve():
                self._side.http.start_next_cycle()
        except (GoneError, TimeoutError):
            pass  # the client has gone, or was too slow; there is nobody to tell
        finally:
            await self._side.close()

    async def _serve(self) -> bool:
        """Serve one request and say whether another may follow."""
        method, sent = "?", "?"
        try:
            head = await self._side.next(IDLE)
            if not isinstance(head, h11.Request):
                return False
            method, sent = head.method.decode("ascii"), head.target.decode("ascii", "replace")
            self._method = method
            await self._judged(head, method, sent)
        except h11.RemoteProtocolError as err:
            await self._refuse(method, sent, Refused(f"This is no HTTP as it should be: {err}."))
            return False
        except TooLargeError:
            await self._refuse(method, sent, Refused("The request, or its answer, is too large."))
            return False
        except Refused as err:
            await self._refuse(method, sent, err)
        states = (self._side.http.our_state, self._side.http.their_state)
        return states == (h11.DONE, h11.DONE)

    async def _judged(self, head: h11.Request, method: str, sent: str) -> None:
        client, named = self._client, [name for name, _ in head.headers]
        if head.http_version != b"1.1":
            raise Refused("Use HTTP/1.1.")
        if named.count(b"content-length") + named.count(b"transfer-encoding") > 1:
            raise Refused("The request says its length twice.")
        most = body_limit(method, sent, client.who, client.rules)
        for name, value in head.headers:
            if name == b"content-length" and int(value) > most:
                raise TooLargeError
        upgrade = b"upgrade" in named
        if upgrade and dict(head.headers)[b"upgrade"].lower() != b"tcp":
            raise Refused("A connection can be upgraded to tcp only.")
        async with AsyncExitStack() as stack:
            context = None
            if most == client.rules.limits.context and method == "POST":
                await stack.enter_async_context(client.builds)
                context = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            body = await self._body(most, context)
            request = Request(method, sent, body, upgrade)
            if (own := await client.serve_own(request)) is not None:
                await self._answer(200, own)
                return
            allowed = judge(request, client.who, client.rules)
            if allowed.counted:
                await stack.enter_async_context(client.turn)
            recipe_looks: tuple[Look, ...] = ()
            if allowed.context:
                if context is None:
                    raise Refused("The build's context is missing.")
                made = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
                recipe = await asyncio.to_thread(
                    rebuilt, context, made, allowed.context, client.who
                )
                context = made
                recipe_looks = tuple(Look("image", i, "base", into=None) for i in recipe.images)
            path, told = await self._looked(allowed, (*allowed.looks, *recipe_looks))
            if method not in ("GET", "HEAD"):
                named_ = {"name": allowed.query["name"]} if "name" in allowed.query else {}
                client.tell("socket.allowed", method=method, path=path, **named_)
            signed = [
                (name, value)
                for name, value in head.headers
                if allowed.pulls and name == b"x-registry-auth"
            ]
            await self._passed(allowed, path, told, signed, context if allowed.context else None)

    async def _body(self, most: int, into: IO[bytes] | None) -> bytes:
        if self._side.http.they_are_waiting_for_100_continue:
            await self._side.send(h11.InformationalResponse(status_code=100, headers=[]))
        pieces = []
        async for piece in self._side.body(most, PATIENCE):
            if into is not None:
                await asyncio.to_thread(into.write, piece)
            else:
                pieces.append(piece)
        if into is not None:
            into.seek(0)
        return b"".join(pieces)

    async def _looked(self, allowed: Allowed, looks: tuple[Look, ...]) -> tuple[str, Any]:
        """Take the looks; return the path and the body with the IDs that they found."""
        client, path, body = self._client, [], dict(allowed.body or {})
        for first in looks:
            found: str | Look = first
            while isinstance(found, Look):
                found = await self._settled(found)
            if first.into == "":
                path.append(found)
            elif first.into:
                body[first.into] = found
        if client.who.slug and not client.is_open(client.who.slug):
            raise Refused("Your socket is closed: you are no longer in the group.")
        return allowed.path.format(*path), body if allowed.body is not None else None

    async def _settled(self, look: Look) -> str | Look:
        client = self._client
        if look.kind == "person":
            if not client.is_open(look.name):
                raise Refused(f"{look.name} has no socket: open it first.")
            return ""
        asked = question(look, client.who)
        async with client.looking:
            status, answer = await socket_http.asked(
                client.engine, asked.method, asked.target, asked.body
            )
            return settle(look, status, answer, client.who, client.rules)

    # -- the Engine's answer -----------------------------------------------------------------------

    async def _passed(
        self,
        allowed: Allowed,
        path: str,
        body: Any,
        more: socket_http.Headers,
        context: IO[bytes] | None,
    ) -> None:
        target = f"{path}?{urlencode(allowed.query)}" if allowed.query else path
        data = json.dumps(body).encode() if body is not None else None
        engine = await socket_http.connected(self._client.engine)
        try:
            if context is not None:
                length = context.seek(0, 2)
                context.seek(0)
                more = [*more, (b"Content-Type", b"application/x-tar")]
                await engine.send(*socket_http.request(allowed.method, target, None, more, length))
                await _sent(engine, context)
            else:
                more = [*more, *(_UPGRADE if allowed.upgrade else [])]
                await engine.send(*socket_http.request(allowed.method, target, data, more))
            answer = await engine.next()
            if isinstance(answer, h11.InformationalResponse) and answer.status_code == 101:
                await self._stream(engine, answer)
            elif isinstance(answer, h11.Response):
                await self._told(allowed, engine, answer)
            else:
                raise Unclear("The Engine closed the connection: try again.")
        except h11.RemoteProtocolError:
            raise Unclear("The Engine broke its answer off: try again.") from None
        finally:
            await engine.close()

    async def _told(self, allowed: Allowed, engine: Side, answer: h11.Response) -> None:
        client = self._client
        if allowed.shown not in ("", "ping") and answer.status_code == 200:
            async with client.whole:
                whole = await socket_http.whole_json(engine)
                shown = socket_answers.shown(allowed.shown, whole, client.who, client.rules)
                await self._answer(200, shown)
            return
        headers = [(n, v) for n, v in answer.headers if n in socket_answers.HEADERS]
        headers += [(n, v) for n, v in answer.headers if n == b"content-length"]
        if allowed.shown == "ping":
            # The other builder takes commands of its own over a stream that nobody can read.
            headers.append((b"Builder-Version", b"1"))
        start = h11.Response(status_code=answer.status_code, headers=headers)
        await self._side.send(start)
        gone = asyncio.create_task(self._left())
        try:
            await self._copied(engine, gone)
        finally:
            gone.cancel()
        await self._side.send(h11.EndOfMessage())

    async def _copied(self, engine: Side, gone: asyncio.Task[None]) -> None:
        """Pass a body on as it comes, for as long as the client is there."""
        while True:
            coming = asyncio.create_task(engine.next())
            try:
                await asyncio.wait((coming, gone), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    raise GoneError
                event = coming.result()
            finally:
                coming.cancel()
            if not isinstance(event, h11.Data):
                return
            await self._side.send(h11.Data(data=bytes(event.data)))

    async def _left(self) -> None:
        """Return when the client has closed its side; what it sends ahead is kept, to a bound."""
        ahead = 0
        while data := await self._side.reader.read(socket_http.PIECE):
            self._side.http.receive_data(data)
            ahead += len(data)
            if ahead > socket_http.PIECE:
                return

    async def _stream(self, engine: Side, answer: h11.InformationalResponse) -> None:
        kind = dict(answer.headers).get(b"content-type", _RAW[0])
        headers = [*_UPGRADE, (b"Content-Type", kind if kind in _RAW else _RAW[0])]
        await self._side.send(h11.InformationalResponse(status_code=101, headers=headers))
        ways = (_pump(engine, self._side), _pump(self._side, engine))
        out, given = (asyncio.create_task(way) for way in ways)
        try:
            # What comes from the container ends it; that the client has no more to say does not.
            await out
        finally:
            out.cancel()
            given.cancel()
            await asyncio.gather(out, given, return_exceptions=True)

    # -- our own answers ---------------------------------------------------------------------------

    async def _refuse(self, method: str, sent: str, err: Refused) -> None:
        path = sent.partition("?")[0][:200]
        if not isinstance(err, Missing):
            self._client.tell("socket.refused", method=method, path=path, why=str(err))
        if self._side.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._answer(err.status, {"message": str(err)})

    async def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        headers: socket_http.Headers = [
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(data)),
        ]
        if self._side.http.their_state in (h11.SEND_BODY, h11.ERROR):
            headers.append((b"Connection", b"close"))
        response = h11.Response(status_code=status, headers=headers)
        rest = [] if self._method == "HEAD" else [h11.Data(data=data)]
        await self._side.send(response, *rest, h11.EndOfMessage())


async def _sent(engine: Side, context: IO[bytes]) -> None:
    """Send a build's context. An Engine that has seen enough of it has answered already."""
    try:
        while piece := await asyncio.to_thread(context.read, socket_http.PIECE):
            await engine.send(h11.Data(data=piece))
        await engine.send(h11.EndOfMessage())
    except GoneError:
        return


async def _pump(source: Side, to: Side) -> None:
    """Copy plain bytes until there are no more, and say so."""
    data = source.http.trailing_data[0]
    try:
        while data or not source.reader.at_eof():
            if data:
                await to.write(data)
            data = await source.reader.read(socket_http.PIECE)
        if to.writer.can_write_eof():
            to.writer.write_eof()
    except (OSError, GoneError):
        pass  # one of the two is gone; whoever waits for the other closes both
