"""The policy proxy of the Engine's socket: ``python -m familiar_hub.socket_proxy``.

Who asks is known by the socket that they use: one for the hub, and one for each person of the
docker-privileged group in a folder that is mounted into that person's labs and nowhere else. So
there is no token that could leak through an environment or a log, no port that a neighbour on the
network could try, and docker and docker-py work with ``DOCKER_HOST`` alone. The hub opens and
closes people's sockets by requests to the proxy itself; one that is closed ends its connections.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h11

from .socket_exchange import Client, Exchange
from .socket_http import Side, asked
from .socket_policy import Request
from .socket_reading import Refused
from .socket_rules import HUB, SLUG, Who
from .socket_settings import SocketSettings, SocketSettingsError

NAME = "docker.sock"
CONNECTIONS = {True: 64, False: 512}
"""How many connections a person, and the hub, may have."""
# From Python 3.13 on, a server that is closed would remove the file, which says who has a socket.
_KEPT: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
_OWN = re.compile(rf"/familiar/people(?:/({SLUG}))?")


@dataclass
class _Door:
    """A socket that is open, and the connections that came through it."""

    server: asyncio.Server
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Proxy:
    """All sockets of the proxy.

    Args:
        settings: where they are, and the rules.
        record: takes a line of the audit log.
    """

    def __init__(self, settings: SocketSettings, record: Callable[[str], None]) -> None:
        self._settings, self._record = settings, record
        self._doors: dict[str, _Door] = {}
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Listen for the hub, and for everybody whose socket was open when the proxy last ended.

        Raises:
            OSError: a socket cannot be made.
        """
        people = self._settings.folder / "people"
        # The hub's folder is for the hub alone. That of people is for the proxy: what is mounted
        # into a lab is a folder in it, which needs no way there.
        people.mkdir(parents=True, exist_ok=True)
        people.chmod(0o700)
        for folder in sorted(people.iterdir()):
            if re.fullmatch(SLUG, folder.name) and stat.S_ISSOCK(_mode(folder / NAME)):
                await self._open(Who(folder.name))
        await self._open(HUB)

    async def stop(self) -> None:
        """End all connections. The sockets' files stay, and say who had one."""
        for slug in list(self._doors):
            await self._close(slug)

    # -- sockets -----------------------------------------------------------------------------------

    async def _open(self, who: Who) -> None:
        if who.slug in self._doors:
            return
        folder = self._folder(who)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755 if who.slug else 0o711)
        listening = _bound(folder)
        if who.slug:
            # Whoever is in the lab is that person, whatever the lab's user is called outside.
            (folder / NAME).chmod(0o666)
        else:
            if self._settings.group is not None:
                os.chown(folder / NAME, -1, self._settings.group)
            (folder / NAME).chmod(0o660)
        client = Client(
            who=who,
            engine=self._settings.engine,
            rules=self._settings.rules,
            tell=lambda event, **facts: self._tell(event, who, **facts),
            is_open=lambda slug: slug in self._doors,
            serve_own=self._no_own if who.slug else self._serve_own,
        )
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is None or len(tasks) >= CONNECTIONS[bool(who.slug)]:
                writer.transport.abort()
                return
            tasks.add(task)
            try:
                await Exchange(client, Side(h11.SERVER, reader, writer)).run()
            except asyncio.CancelledError:
                return  # the socket was closed; asyncio would tell of it as of an error
            finally:
                tasks.discard(task)

        server = await asyncio.start_unix_server(serve, sock=listening, backlog=128, **_KEPT)
        self._doors[who.slug] = _Door(server, tasks)

    async def _close(self, slug: str) -> None:
        door = self._doors.pop(slug)
        door.server.close()
        for task in (tasks := set(door.tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _folder(self, who: Who) -> Path:
        folder = self._settings.folder
        return folder / "people" / who.slug if who.slug else folder / "hub"

    # -- what the hub asks of the proxy itself -----------------------------------------------------

    async def _no_own(self, request: Request) -> Any:
        return None

    async def _serve_own(self, request: Request) -> Any:
        """Answer ``GET /familiar/people``, and PUT and DELETE of one of them."""
        found = _OWN.fullmatch(request.target)
        if not found:
            return None
        slug = found[1] or ""
        async with self._turn:
            if request.method == "GET" and not slug:
                return sorted(filter(None, self._doors))
            if request.method == "PUT" and slug:
                await self._open(Who(slug))
            elif request.method == "DELETE" and slug:
                if slug in self._doors:
                    await self._close(slug)
                (self._folder(Who(slug)) / NAME).unlink(missing_ok=True)
            else:
                raise Refused(f"{request.method} {request.target[:80]} is not open here.")
        self._tell(
            "socket.opened" if request.method == "PUT" else "socket.closed", HUB, person=slug
        )
        return {"person": slug, "open": slug in self._doors}

    def _tell(self, event: str, who: Who, **facts: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = {key: value[:500] for key, value in facts.items()}
        self._record(json.dumps({"at": at, "event": event, "by": str(who), **told}))


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def _bound(folder: Path) -> socket.socket:
    """Return a socket in a folder, in place of one that was left there.

    The name of a socket may have a hundred characters, and a person's may have more; so it is
    reached through the folder's descriptor.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if stat.S_ISSOCK(_mode(folder / NAME)):
            (folder / NAME).unlink()
        # For nobody, until its mode is set.
        before = os.umask(0o177)
        try:
            listening.bind(f"/proc/self/fd/{descriptor}/{NAME}")
        finally:
            os.umask(before)
    except OSError:
        listening.close()
        raise
    finally:
        os.close(descriptor)
    listening.setblocking(False)
    return listening


async def run(settings: SocketSettings, record: Callable[[str], None]) -> None:
    """Serve until the process is told to end."""
    proxy, ended = Proxy(settings, record), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await proxy.start()
    print(f"The hub's socket is {settings.folder}/hub/{NAME}.", file=sys.stderr, flush=True)
    await ended.wait()
    await proxy.stop()


def main() -> int:
    """Run the proxy, or with ``--check`` ask a running one whether the Engine answers.

    Returns:
        the exit status.
    """
    try:
        settings = SocketSettings.from_environment(os.environ)
    except SocketSettingsError as err:
        print(err, file=sys.stderr)
        return 2
    try:
        if sys.argv[1:] == ["--check"]:
            path = settings.folder / "hub" / NAME
            status, _ = asyncio.run(asked(path, "GET", "/_ping", None))
            return 0 if status == 200 else 1
        asyncio.run(run(settings, lambda line: print(line, flush=True)))
    except (OSError, Refused) as err:
        print(f"The socket proxy cannot work: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
