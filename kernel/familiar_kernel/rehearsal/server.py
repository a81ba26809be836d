"""The HTTP side of the rehearsal: the Messages API's routes, and a server that lives inside another program.

``create_app`` is an ordinary ASGI application. :class:`Rehearsal` serves it on a loopback socket of an event loop that
runs already; it installs no signal handlers and logs nothing, so a kernel's host or a test can hold one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .conversation import BadRequest, Conversation, read, side_call
from .events import BEFORE_CUT, CHARACTERS_PER_TOKEN, Frame, Part, error_body, opening, stream, whole
from .matching import choose, fallback, spoken_rules
from .script import Cut, Raw, Reply, Script, Text, built_in

MODEL = "rehearsal-not-claude"
"""The model's name in every answer, so that nobody takes one for Claude's."""
LARGEST_WRITE = 64 * 1024
"""Bytes that are gathered into one write while there is nothing to wait for."""
MOST_SESSIONS = 1000
"""Sessions whose uses of ``times`` are remembered; the oldest are forgotten first."""


@dataclass(frozen=True)
class Seen:
    """One request as the rehearsal understood it, for logs and tests."""

    path: str
    session: str
    model: str
    stream: bool
    prompt: str
    turn: int
    results: int
    """How many tool results came back with it."""
    rule: str
    """The id of the rule that answers; empty where none knew, or ``(title)`` and the like for a side call."""

    def line(self) -> str:
        """Return the request as one line of JSON."""
        return json.dumps(asdict(self))


Watcher = Callable[[Seen], None]


class _Play:
    """A script being played: what the routes share."""

    def __init__(self, script: Script, watcher: Watcher | None) -> None:
        self.script = script
        self.watcher = watcher
        self.closing = asyncio.Event()
        self._used: OrderedDict[str, Counter[str]] = OrderedDict()

    def answer(self, conversation: Conversation, path: str) -> tuple[Reply, dict[str, str]]:
        """Return what to reply, counting the rule's use and telling the watcher."""
        said = spoken_rules(self.script, conversation)
        aside = side_call(conversation, said)
        if aside is not None:
            self._tell(conversation, path, f"({aside.kind})")
            return (Text(aside.answer, chunk=1000, literal=True),), {}
        used = self._used.setdefault(conversation.session, Counter())
        self._used.move_to_end(conversation.session)
        while len(self._used) > MOST_SESSIONS:
            self._used.popitem(last=False)
        line = choose(self.script, conversation, used, said)
        if line.rule is None:
            self._tell(conversation, path, "")
            return fallback(self.script, conversation), line.variables
        used[line.rule.id] += 1
        self._tell(conversation, path, line.rule.id)
        return line.rule.reply, line.variables

    def _tell(self, conversation: Conversation, path: str, rule: str) -> None:
        if self.watcher is None:
            return
        now = conversation.now
        streams = bool(conversation.request.get("stream"))
        self.watcher(
            Seen(
                path, conversation.session, conversation.model, streams, now.prompt, now.turn,
                len(now.results), rule,
            )
        )  # fmt: skip

    async def messages(self, request: Request) -> Response:
        """Answer POST /v1/messages."""
        conversation = await _conversation(request)
        reply, variables = self.answer(conversation, request.url.path)
        streams = bool(conversation.request.get("stream"))
        seconds, error = opening(reply, streams)
        if seconds and not await self.wait(seconds, request):
            raise ClientDisconnect
        if error is not None:
            return _error(error.status, error.type, error.message, error.headers)
        part = Part(MODEL, _tokens(conversation.request), variables)
        if streams:
            return _Played(stream(reply, part), self.closing)
        return _one_piece(reply, part, self.closing)

    async def wait(self, seconds: float, request: Request) -> bool:
        """Wait, unless the client leaves or the server closes; return whether to go on."""
        gone = asyncio.ensure_future(_gone(request.receive))
        try:
            return await _pause(seconds, gone, self.closing)
        finally:
            gone.cancel()


class _Played(Response):
    """A response that plays frames: their pauses, their chunk borders, and a cut where there is one."""

    media_type = "text/event-stream"

    def __init__(self, frames: Iterator[Frame], closing: asyncio.Event, headers: dict[str, str] | None = None):
        super().__init__(headers={"cache-control": "no-cache", "request-id": _request_id()} | (headers or {}))
        del self.headers["content-length"]
        if headers and "content-length" in headers:
            self.headers["content-length"] = headers["content-length"]
        self.frames = frames
        self.closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames. A cut is an ASGI response that never completes: the server then drops the line."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gone = asyncio.ensure_future(_gone(receive))

        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        try:
            gathered = bytearray()
            for frame in self.frames:
                if gathered and (frame.alone or frame.pause or frame.cut or len(gathered) > LARGEST_WRITE):
                    await write(bytes(gathered))
                    gathered.clear()
                if frame.pause and not await _pause(frame.pause, gone, self.closing):
                    return
                if gone.done() or self.closing.is_set():
                    return
                if frame.alone and frame.data:
                    await write(frame.data)
                else:
                    gathered += frame.data
                if frame.cut:
                    return
            await send({"type": "http.response.body", "body": bytes(gathered), "more_body": False})
        finally:
            gone.cancel()


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _pause(seconds: float, gone: asyncio.Future[None], closing: asyncio.Event) -> bool:
    """Wait ``seconds``; return False at once if the client leaves or the server closes in that time."""
    closed = asyncio.ensure_future(closing.wait())
    try:
        done, _ = await asyncio.wait({gone, closed}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closed.cancel()
    return not done


def _one_piece(reply: Reply, part: Part, closing: asyncio.Event) -> Response:
    """The answer to a request without ``stream``; what breaks a stream breaks this as well."""
    body = json.dumps(whole(reply, part)).encode("ascii")
    length = {"content-length": str(len(body)), "content-type": "application/json"}
    if any(isinstance(step, Cut) for step in reply):
        frames = iter((Frame(body[: len(body) // 2]), Frame(pause=BEFORE_CUT, cut=True)))
        return _Played(frames, closing, length)
    if any(isinstance(step, Raw) for step in reply):
        return Response(body[: len(body) // 2], media_type="application/json")
    return Response(body, media_type="application/json", headers={"request-id": _request_id()})


async def _conversation(request: Request) -> Conversation:
    try:
        body = json.loads(await request.body())
    except ValueError as err:
        raise BadRequest(f"The request body is not valid JSON: {err}") from err
    return read(body, request.headers.get("x-claude-code-session-id", ""))


def _tokens(request: Any) -> int:
    text = json.dumps([request.get(key) for key in ("system", "tools", "messages")])
    return max(1, len(text) // CHARACTERS_PER_TOKEN)


async def _count_tokens(request: Request) -> Response:
    conversation = await _conversation(request)
    return JSONResponse({"input_tokens": _tokens(conversation.request)})


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok", "service": "rehearsal", "claude": False, "model": MODEL})


async def _root(request: Request) -> Response:
    return Response("The rehearsal, not Claude: a scripted stand-in for the Messages API.\n", media_type="text/plain")


def _request_id() -> str:
    return f"req_rehearsal_{uuid.uuid4().hex[:20]}"


def _error(status: int, type_: str, message: str, headers: dict[str, str] | None = None) -> Response:
    request_id = _request_id()
    body = error_body(type_, message, request_id)
    return JSONResponse(body, status, headers={"request-id": request_id} | (headers or {}))


async def _refuse(request: Request, err: Exception) -> Response:
    if isinstance(err, HTTPException) and err.status_code != 404:
        return _error(err.status_code, "invalid_request_error", err.detail, dict(err.headers or {}))
    if isinstance(err, BadRequest):
        return _error(400, "invalid_request_error", str(err))
    return _error(404, "not_found_error", f"Not found: {request.method} {request.url.path}")


def create_app(script: Script | None = None, watcher: Watcher | None = None) -> Starlette:
    """Return the ASGI application that plays a script.

    Args:
        script: what to play; the built-in conversation if None.
        watcher: called with every request to the Messages API before it is answered.
    """
    play = _Play(script or built_in(), watcher)
    app = Starlette(
        routes=[
            Route("/", _root, methods=["GET", "HEAD"]),
            Route("/health", _health, methods=["GET", "HEAD"]),
            Route("/v1/messages", play.messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", _count_tokens, methods=["POST"]),
        ],
        exception_handlers={BadRequest: _refuse, HTTPException: _refuse},
    )
    app.state.closing = play.closing
    return app


class _Server(uvicorn.Server):
    """A server that leaves the program's signal handlers alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Rehearsal:
    """The rehearsal on a loopback socket, inside a running event loop.

    Use ``start`` and ``stop``, or ``async with Rehearsal(script) as rehearsal``.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        port: int = 0,
        watcher: Watcher | None = None,
    ) -> None:
        """Prepare a server.

        Args:
            script: what to play; the built-in conversation if None.
            port: where to listen on 127.0.0.1; 0 takes a free port.
            watcher: called with every request to the Messages API before it is answered.
        """
        self._script = script
        self._wanted_port = port
        self._watcher = watcher
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._app: Starlette | None = None
        self.port = 0
        """The port it listens on, from ``start`` on."""

    @property
    def url(self) -> str:
        """What to give as ``ANTHROPIC_BASE_URL``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment that leads a Claude Code CLI here and nowhere else."""
        return {
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "rehearsal",
            "DISABLE_TELEMETRY": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }

    async def start(self) -> None:
        """Listen. On return the rehearsal answers at :attr:`url`.

        Raises:
            OSError: the port cannot be had.
            RuntimeError: it has been started already.
        """
        if self._task is not None:
            raise RuntimeError("the rehearsal has been started already")
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._wanted_port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._app = create_app(self._script, self._watcher)
        self._server = _Server(
            uvicorn.Config(
                self._app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        # uvicorn reports every cut as an error of ours; here cuts are played on purpose.
        logging.getLogger("uvicorn.error").addFilter(_not_a_cut)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.001)
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Stop answering: streams under way are cut, the port is free on return. Twice does no harm."""
        if self._task is None or self._server is None or self._app is None:
            return
        self._app.state.closing.set()
        self._server.should_exit = True
        task, self._task = self._task, None
        await task

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def __aenter__(self) -> Rehearsal:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _not_a_cut(record: logging.LogRecord) -> bool:
    return "without completing response" not in str(record.msg)
