"""A tool for the tests of the door: it tells what reaches it, and how it is run.

It is started as the real ones are: by the door, on a port of loopback.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler


class Size(RequestHandler):
    """Takes as much as it is sent, and sends as much as it is asked for."""

    def post(self) -> None:
        self.finish(str(len(self.request.body)))

    def get(self) -> None:
        self.finish(b"x" * int(self.get_query_argument("bytes")))


class Told(RequestHandler):
    """Answers with all that it was sent."""

    def _tell(self) -> None:
        self.set_header("Set-Cookie", "tool=tossed; Path=/")
        self.finish(
            json.dumps(
                {
                    "method": self.request.method,
                    "uri": self.request.uri,
                    "headers": dict(self.request.headers),
                    "body": self.request.body.decode(),
                    "environment": dict(os.environ),
                    "arguments": sys.argv,
                }
            )
        )

    get = post = put = delete = patch = _tell


class Elsewhere(RequestHandler):
    """Sends on to a path of its own, as tools do."""

    def get(self) -> None:
        self.redirect("/there?now=1")


class Echo(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, isinstance(message, bytes))


async def main() -> None:
    Application(
        [("/socket", Echo), ("/elsewhere", Elsewhere), ("/size", Size), ("/.*", Told)]
    ).listen(int(sys.argv[1]), "127.0.0.1", max_buffer_size=300 * 2**20)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
