"""Playing frames over HTTP: the pauses are kept, chunk borders stay where they were put, cuts cut.

The responses here are plain ASGI. Whatever waits gives up at once when the client leaves or the
server closes, so that a silence of an hour holds nobody up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from .events import BEFORE_CUT, Frame, Part, error_body, whole
from .steps import Cut, Raw, Reply

LARGEST_WRITE = 64 * 1024
"""Bytes that are gathered into one write while there is nothing to wait for."""

_cutting: ContextVar[bool] = ContextVar("familiar_rehearsal_cutting", default=False)


class Played(Response):
    """A response that plays frames."""

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: Iterator[Frame],
        closing: asyncio.Event,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Prepare to play.

        Args:
            frames: what to send, and when.
            closing: set when the server closes; the response ends there.
            headers: HTTP headers besides the usual ones of an event stream.
        """
        usual = {"cache-control": "no-cache", "request-id": request_id()}
        super().__init__(headers=usual | (headers or {}))
        if "content-length" not in (headers or {}):
            del self.headers["content-length"]
        self.frames = frames
        self.closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames. A cut is a response that never completes: the server drops the line."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        gone = asyncio.ensure_future(_gone(receive))
        # In effect until the server has looked at how this call ended; see quiet_about_cuts.
        _cutting.set(True)
        try:
            if await self._play(gone, send):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                _cutting.set(False)
        finally:
            gone.cancel()

    async def _play(self, gone: asyncio.Future[None], send: Send) -> bool:
        """Send all frames; return whether the answer came to its end."""

        async def write(data: bytes) -> None:
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

        gathered = bytearray()
        for frame in self.frames:
            if frame.alone or frame.pause or frame.cut or len(gathered) > LARGEST_WRITE:
                await write(bytes(gathered))
                gathered.clear()
            if frame.pause and not await pause(frame.pause, gone, self.closing):
                return False
            if gone.done() or self.closing.is_set():
                return False
            if frame.alone:
                await write(frame.data)
            else:
                gathered += frame.data
            if frame.cut:
                return False
        await write(bytes(gathered))
        return True


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def pause(seconds: float, gone: asyncio.Future[None], closing: asyncio.Event) -> bool:
    """Wait ``seconds``; return False at once if the client leaves or the server closes."""
    closed = asyncio.ensure_future(closing.wait())
    either: set[asyncio.Future[Any]] = {gone, closed}
    try:
        done, _ = await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closed.cancel()
    return not done


async def pause_before(seconds: float, request: Request, closing: asyncio.Event) -> bool:
    """Wait as :func:`pause` does, before there is a response."""
    gone = asyncio.ensure_future(_gone(request.receive))
    try:
        return await pause(seconds, gone, closing)
    finally:
        gone.cancel()


def in_one_piece(reply: Reply, part: Part, closing: asyncio.Event) -> Response:
    """Answer a request without ``stream``; what breaks a stream breaks this answer as well."""
    body = json.dumps(whole(reply, part)).encode("ascii")
    headers = {"content-type": "application/json", "request-id": request_id()}
    half = body[: len(body) // 2]
    if any(isinstance(step, Cut) for step in reply):
        frames = iter((Frame(half), Frame(pause=BEFORE_CUT, cut=True)))
        return Played(frames, closing, headers | {"content-length": str(len(body))})
    if any(isinstance(step, Raw) for step in reply):
        return Response(half, headers=headers)
    return Response(body, headers=headers)


def cut_off(closing: asyncio.Event) -> Response:
    """Answer with a response that breaks off before its first byte."""
    return Played(iter((Frame(cut=True),)), closing)


def api_error(
    status: int, type_: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    """Answer with an error as the Messages API words it."""
    id_ = request_id()
    body = error_body(type_, message, id_)
    return JSONResponse(body, status, headers={"request-id": id_} | (headers or {}))


def request_id() -> str:
    """Return a new id for a response's ``request-id`` header."""
    return f"req_rehearsal_{uuid.uuid4().hex[:20]}"


def quiet_about_cuts(record: logging.LogRecord) -> bool:
    """Keep uvicorn from reporting as an error what is played on purpose: a logging filter.

    It asks whether a cut is under way in this very task, so that the reports of another server in
    the same process come through.
    """
    return not _cutting.get()
