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
from .socket_looks import Look, Unclear, question
from .socket_policy import Request
from .socket_reading import Refused
from .socket_rules import ACCOUNT, HUB, SLUG, Who
from .socket_settings import SocketSettings, SocketSettingsError

NAME = "docker.sock"
_ACCOUNTS = "accounts"
"""The folder that says whose the sockets are, for the proxy's next start."""
CONNECTIONS = {True: 64, False: 512}
"""How many connections a person, and the hub, may have."""
# From Python 3.13 on, a server that is closed would remove the file, which says who has a socket.
_KEPT: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
_OWN = re.compile(rf"/familiar/people(?:/({SLUG})(?:/({ACCOUNT})(/things)?)?)?")
_RAW = (
    "FAMILIAR_HUB_RAW_DOCKER_SOCKET=1: labs may have the Engine's own socket, past all rules here;"
    " whoever is in docker-privileged, or breaks into the hub, is root on this machine."
)


@dataclass
class _Door:
    """A socket that is open, whose it is, and the connections that came through it."""

    who: Who
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
        (self._settings.folder / _ACCOUNTS).mkdir(mode=0o700, exist_ok=True)
        for folder in sorted(people.iterdir()):
            if re.fullmatch(SLUG, folder.name) and stat.S_ISSOCK(_mode(folder / NAME)):
                await self._open(Who(folder.name, self._account(folder.name)))
        await self._open(HUB)

    async def stop(self) -> None:
        """End all connections. The sockets' files stay, and say who had one."""
        for slug in list(self._doors):
            await self._close(slug)

    # -- sockets -----------------------------------------------------------------------------------

    async def _open(self, who: Who) -> None:
        if who.slug in self._doors:
            if self._doors[who.slug].who == who:
                return
            await self._close(who.slug)  # an earlier account's of the same name
        folder = self._folder(who)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755 if who.slug else 0o711)
        if who.slug:
            (self._settings.folder / _ACCOUNTS / who.slug).write_text(who.account)
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
        self._doors[who.slug] = _Door(who, server, tasks)

    async def _close(self, slug: str) -> None:
        door = self._doors.pop(slug)
        door.server.close()
        for task in (tasks := set(door.tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _folder(self, who: Who) -> Path:
        folder = self._settings.folder
        return folder / "people" / who.slug if who.slug else folder / "hub"

    def _account(self, slug: str) -> str:
        try:
            found = (self._settings.folder / _ACCOUNTS / slug).read_text()
        except FileNotFoundError:
            return ""
        return found if re.fullmatch(ACCOUNT, found) else ""

    # -- what the hub asks of the proxy itself -----------------------------------------------------

    async def _no_own(self, request: Request) -> Any:
        return None

    async def _serve_own(self, request: Request) -> Any:
        """Answer ``GET /familiar/people``, and PUT and DELETE of one of them.

        A DELETE of a person's things also ends what they run, and leaves what they keep.
        """
        found = _OWN.fullmatch(request.target)
        if not found:
            return None
        slug, account, things = found[1] or "", found[2] or "", bool(found[3])
        async with self._turn:
            if request.method == "GET" and not slug:
                return sorted(door.who.key for door in self._doors.values() if door.who != HUB)
            if request.method == "PUT" and slug and not things:
                await self._open(Who(slug, account))
            elif request.method == "DELETE" and slug:
                await self._shut(Who(slug, account))
                if things:
                    await self._end(Who(slug, account))
            else:
                raise Refused(f"{request.method} {request.target[:80]} is not open here.")
        self._tell(
            "socket.opened" if request.method == "PUT" else "socket.closed", HUB, person=slug
        )
        return {"person": slug, "open": slug in self._doors}

    async def _shut(self, who: Who) -> None:
        """Close a person's socket for good; without an account, whichever it is."""
        door = self._doors.get(who.slug)
        if who.account and door and door.who != who:
            return  # the name is somebody else's by now
        if door:
            await self._close(who.slug)
        (self._folder(who) / NAME).unlink(missing_ok=True)

    async def _end(self, who: Who) -> None:
        """Remove a person's containers, and then their networks. Volumes and images stay."""
        engine = self._settings.engine
        for kind, path, how in (
            ("container", "/containers/", "?force=1&v=1"),
            ("network", "/networks/", ""),
        ):
            listed = question(Look(kind, "", "room"), who)
            status, things = await asked(engine, listed.method, listed.target, None)
            if status != 200:
                raise Unclear(f"The Engine does not list {kind}s: try again.")
            for thing in things:
                status, _ = await asked(engine, "DELETE", f"{path}{thing['Id']}{how}", None)
                if status not in (200, 204, 404):
                    raise Unclear(f"The Engine does not remove a {kind} ({status}): try again.")
                self._tell("socket.ended", who, kind=kind, id=thing["Id"])

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
    if settings.rules.raw:
        print(_RAW, file=sys.stderr, flush=True)
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
