"""The rehearsal as an endpoint of its own, which keeps what it was sent.

For tests of what reaches the Messages API, and for kernels that run as if they were signed in.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from familiar_kernel.rehearsal.script import load
from familiar_kernel.rehearsal.server import MODEL, create_app


@dataclass
class Endpoint:
    """A running endpoint. ``requests`` are the bodies of all calls of /v1/messages, in order, and
    ``headers`` their headers; ``paths`` are the paths of all calls."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What leads a kernel here, as a person's own settings would."""
        return {"ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_API_KEY": "for-a-test"}

    @property
    def last(self) -> dict[str, Any]:
        """The newest request that was part of the conversation, and none of the CLI's own."""
        return next(r for r in reversed(self.requests) if r.get("tools"))


@contextlib.contextmanager
def running_endpoint(
    script: Path, model: str = "", only: tuple[str, ...] = ()
) -> Iterator[Endpoint]:
    """Serve a script on a free port of 127.0.0.1 for the time of a ``with`` block.

    Args:
        script: the rehearsal's script.
        model: the name under which it answers, so that it passes for a real model.
        only: paths that it serves; others are not found. Empty: all.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    endpoint = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}")
    app = create_app(load(script))
    config = uvicorn.Config(
        _recording(app, endpoint, model, only),
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "the endpoint did not start"
            time.sleep(0.01)
        yield endpoint
    finally:
        app.state.closing.set()
        server.should_exit = True
        thread.join(5)
        listener.close()


def _recording(app: ASGIApp, endpoint: Endpoint, model: str, only: tuple[str, ...]) -> ASGIApp:
    """Wrap an application so that what it is sent is kept, and that it passes for another."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            endpoint.paths.append(scope["path"])
        if only and scope.get("path") not in only:
            await PlainTextResponse("not found", 404)(scope, receive, send)
            return
        if scope["type"] != "http" or scope["path"] != "/v1/messages":
            await app(scope, receive, send)
            return
        endpoint.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
        body = bytearray()

        async def listen() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body") and body:
                endpoint.requests.append(json.loads(body))
                body.clear()
            return message

        async def say(message: Message) -> None:
            if model and (told := message.get("body")):
                message = {**message, "body": told.replace(MODEL.encode(), model.encode())}
            await send(message)

        await app(scope, listen, say)

    return wrapped
