"""What the hub's benchmark runs against: labs that are sockets of one process, and a hub's spawner
and proxy that only keep the books. So what is measured is the hub's own part.

``python -m benchmarks.hub_stand NAMES PORTS HUB`` is the labs' process: it listens at one port for
each name, writes the ports down, and does as a lab does: it asks the hub about every token that it
is shown. Once it is told to (any request to ``/turn``), the labs named ``slow...`` do not answer
any more, and those named ``dead...`` are gone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import Application, RequestHandler

_FOR_EVER = 3600.0


class Labs:
    """All labs.

    Args:
        hub: the hub's address.
    """

    def __init__(self, hub: str) -> None:
        self._hub = hub
        self._client = SimpleAsyncHTTPClient(force_instance=True, max_clients=1000)
        self._servers: dict[str, HTTPServer] = {}
        self.turned = False

    def open(self, name: str) -> int:
        """Open a lab and return its port."""
        server = HTTPServer(Application([(r"/.*", Lab, {"name": name, "labs": self})]))
        sockets = bind_sockets(0, "127.0.0.1", backlog=64)
        server.add_sockets(sockets)
        self._servers[name] = server
        return int(sockets[0].getsockname()[1])

    def turn(self) -> None:
        self.turned = True
        for name, server in self._servers.items():
            if name.startswith("dead"):
                server.stop()

    async def lets_in(self, name: str, authorization: str) -> bool:
        """Whether the hub says that who is shown may enter a lab."""
        answer = await self._client.fetch(
            HTTPRequest(
                f"{self._hub}/hub/api/user",
                headers={"Authorization": authorization},
                request_timeout=60,
            ),
            raise_error=False,
        )
        wanted = f"access:servers!server={name}/"
        return answer.code == 200 and wanted in json.loads(answer.body)["scopes"]


class Lab(RequestHandler):
    """One lab's server."""

    def initialize(self, name: str, labs: Labs) -> None:
        self._name, self._labs = name, labs

    def get(self) -> None:
        if self.request.path == "/turn":
            self._labs.turn()
        self.finish({"version": "0"})

    async def post(self) -> None:
        if self._labs.turned and self._name.startswith("slow"):
            await asyncio.sleep(_FOR_EVER)
        may = await self._labs.lets_in(self._name, self.request.headers["Authorization"])
        self.set_status(200 if may else 403)
        self.finish({"success": may})


async def serve(names: Path, ports: Path, hub: str) -> None:
    """Serve until the process is ended."""
    labs = Labs(hub)
    made = ports.with_suffix(".new")
    made.write_text(json.dumps({name: labs.open(name) for name in json.loads(names.read_text())}))
    made.replace(ports)
    await asyncio.Event().wait()


def books(ports: Path) -> tuple[type, type]:
    """Return the spawner and the proxy for a hub's configuration; called in the hub's process."""
    from jupyterhub.proxy import Proxy
    from jupyterhub.spawner import Spawner

    class Sockets(Spawner):
        """Starts nothing: the labs are there."""

        _known: dict[str, int] = json.loads(ports.read_text())
        _runs = False

        async def start(self) -> tuple[str, int]:
            self._runs = True
            return "127.0.0.1", self._known[self.user.name]

        async def stop(self, now: bool = False) -> None:
            self._runs = False

        async def poll(self) -> int | None:
            return None if self._runs else 0

    class Book(Proxy):
        """Routes nothing, and remembers what it should."""

        _routes: dict[str, dict[str, Any]] = {}  # noqa: RUF012
        should_start = False

        async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
            self._routes[routespec] = {"routespec": routespec, "target": target, "data": data}

        async def delete_route(self, routespec: str) -> None:
            self._routes.pop(routespec, None)

        async def get_all_routes(self) -> dict[str, dict[str, Any]]:
            return dict(self._routes)

    return Sockets, Book


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
