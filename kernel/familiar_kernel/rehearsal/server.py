"""The HTTP side of the rehearsal: the Messages API's routes, and a server that lives inside another
program.

``create_app`` is an ordinary ASGI application. :class:`Rehearsal` serves it on a loopback socket of
an event loop that runs already; it installs no signal handlers and logs nothing, so a kernel's host
or a test can hold one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
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

from .conversation import BadRequest, Conversation, read, side_call
from .events import CHARACTERS_PER_TOKEN, Part, opening, stream
from .matching import choose, fallback, spoken_rules
from .playing import Played, api_error, cut_off, in_one_piece, pause_before, quiet_about_cuts
from .script import Script, built_in
from .steps import Reply, Text

MODEL = "rehearsal-not-claude"
"""The model's name in every answer, so that nobody takes one for Claude's."""
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
    """The id of the rule that answers; empty where none does, ``(compact)`` and so on for the CLI's
    own requests."""

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
                path=path,
                session=conversation.session,
                model=conversation.model,
                stream=streams,
                prompt=now.prompt,
                turn=now.turn,
                results=len(now.results),
                rule=rule,
            )
        )

    async def messages(self, request: Request) -> Response:
        """Answer POST /v1/messages."""
        conversation = await _conversation(request)
        reply, variables = self.answer(conversation, request.url.path)
        streams = bool(conversation.request.get("stream"))
        seconds, error = opening(reply, streams)
        if seconds and not await pause_before(seconds, request, self.closing):
            return cut_off(self.closing)
        if error is not None:
            return api_error(error.status, error.type, error.message, error.headers)
        part = Part(MODEL, _tokens(conversation.request), variables)
        if streams:
            return Played(stream(reply, part), self.closing)
        return in_one_piece(reply, part, self.closing)


async def _conversation(request: Request) -> Conversation:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as err:
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
    return Response(
        "The rehearsal, not Claude: a scripted stand-in for the Messages API.\n",
        media_type="text/plain",
    )


async def _refuse(request: Request, err: Exception) -> Response:
    if isinstance(err, HTTPException) and err.status_code != 404:
        return api_error(
            err.status_code, "invalid_request_error", err.detail, dict(err.headers or {})
        )
    if isinstance(err, BadRequest):
        return api_error(400, "invalid_request_error", str(err))
    return api_error(404, "not_found_error", f"Not found: {request.method} {request.url.path}")


async def _left(request: Request, err: Exception) -> Response:
    """Answer nobody: the client left while its request was still coming in."""
    return Response(status_code=400)


async def _broke(request: Request, err: Exception) -> Response:
    """Answer for a fault of the rehearsal's own, which Starlette then raises anew."""
    return api_error(500, "api_error", f"The rehearsal itself failed: {type(err).__name__}: {err}")


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
        exception_handlers={
            BadRequest: _refuse,
            HTTPException: _refuse,
            ClientDisconnect: _left,
            Exception: _broke,
        },
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
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(quiet_about_cuts)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.001)
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Stop answering: streams are cut, and the port is free on return. Twice does no harm."""
        if self._task is None or self._server is None or self._app is None:
            return
        self._app.state.closing.set()
        self._server.should_exit = True
        task, self._task = self._task, None
        await task

    async def __aenter__(self) -> Rehearsal:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
