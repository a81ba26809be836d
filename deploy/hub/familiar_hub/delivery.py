"""Delivers broadcasts to the labs that run, many at a time, and remembers what became of them.

A lab belongs to its person, who may run anything in it, so nothing it says is trusted: it gets a
token that opens that lab alone and lives for minutes, is given a fixed time, is not followed
elsewhere, and of its answer only the status counts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyterhub import orm
from jupyterhub.utils import make_ssl_context, url_path_join
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from . import metrics
from .audit import record
from .broadcast import Broadcast, Delivery, Notice, after_restart, fault_of, with_latest

log = logging.getLogger("JupyterHub.familiar.broadcast")

INGEST = "jupyterlab-notifications-extension/ingest"
"""The extension's published path, below a server's address."""
LIMIT = 5.0
"""Seconds that one lab has."""
AT_ONCE = 32
"""Labs that are talked to at the same time. Each asks the hub about its token, and the hub answers
these questions one after another: more at once would only wait longer."""
TOKEN_LIFE = 300
_LARGEST_ANSWER = 64 << 10
_FORMAT = 1

Target = tuple[Any, Any]
"""A person and one of their spawners, as the hub knows them."""


class BusyError(Exception):
    """A broadcast is under way already."""


class History:
    """The broadcasts of the past, in a file of the hub's own.

    Args:
        file: where they are kept; None to forget them with the process.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.broadcasts = after_restart(self._read())

    async def add(self, broadcast: Broadcast) -> None:
        """Add a broadcast, or bring one up to date. A file that cannot be written is logged."""
        self.broadcasts = with_latest(self.broadcasts, broadcast)
        known = [one.as_dict() for one in self.broadcasts]
        if self._file is not None:
            try:
                await asyncio.to_thread(_replace, self._file, {"format": _FORMAT, "known": known})
            except OSError as err:
                log.error("the history of broadcasts was not written: %s", err)

    def _read(self) -> list[Broadcast]:
        if self._file is None or not self._file.exists():
            return []
        try:
            data = json.loads(self._file.read_text(encoding="utf-8"))
            if data["format"] != _FORMAT:
                raise ValueError(f"its format is {data['format']}, not {_FORMAT}")
            return [Broadcast.from_dict(one) for one in data["known"]]
        except (OSError, ValueError, KeyError, TypeError) as err:
            aside = self._file.with_suffix(".unreadable")
            log.error("the history of broadcasts cannot be read (%s); see %s", err, aside)
            os.replace(self._file, aside)
            return []


def _replace(file: Path, data: object) -> None:
    made = file.with_name(f".{file.name}.new")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        json.dump(data, output)
    os.replace(made, file)


class Broadcasts:
    """Sends broadcasts, one after another, and knows those of the past.

    Args:
        file: where the history is kept; None to forget it with the process.
        limit: seconds that one lab has.
        at_once: labs that are talked to at the same time.
    """

    def __init__(self, file: Path | None, limit: float = LIMIT, at_once: int = AT_ONCE) -> None:
        self._history = History(file)
        self._limit, self._at_once = limit, at_once
        self._latest: Broadcast | None = None
        self._deliveries: list[Delivery] = []
        self._began = 0.0
        self._task: asyncio.Task[None] | None = None

    def history(self) -> list[Broadcast]:
        """Return the broadcasts of the past, the newest first."""
        return list(self._history.broadcasts)

    def find(self, identity: str) -> Broadcast | None:
        """Return a broadcast. The last one has all its deliveries, the others their failures."""
        latest = self._latest
        if latest is not None and latest.id == identity:
            if latest.state == "under way":
                return latest.having(self._deliveries, time.monotonic() - self._began)
            return latest
        return next((one for one in self._history.broadcasts if one.id == identity), None)

    def begin(
        self, notice: Notice, by: str, users: Any, db: Any, settings: Mapping[str, Any]
    ) -> Broadcast:
        """Begin to send a notice to every server that runs.

        Args:
            notice: what to say.
            by: the name of who says it.
            users: the hub's users.
            db: the hub's database.
            settings: the hub's application's.

        Returns:
            the broadcast, which goes on by itself.

        Raises:
            BusyError: another one is under way.
        """
        if self._task is not None and not self._task.done():
            raise BusyError("A broadcast is under way; wait until it has ended.")
        targets = list(running(users))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        broadcast = Broadcast(secrets.token_hex(8), now, by, notice, len(targets))
        self._latest, self._deliveries, self._began = broadcast, [], time.monotonic()
        self._task = asyncio.create_task(self._send(broadcast, targets, db, settings))
        return broadcast

    async def _send(
        self, broadcast: Broadcast, targets: list[Target], db: Any, settings: Mapping[str, Any]
    ) -> None:
        try:
            await self._history.add(broadcast)
            sender = Sender(db, settings, broadcast.notice, self._limit, self._at_once)
            try:
                await sender.send(targets, self._deliveries)
            finally:
                sender.close()
        except Exception:
            # Nobody awaits this task, so this is where it becomes known.
            log.exception("the broadcast %s was cut off", broadcast.id)
        took = time.monotonic() - self._began
        self._latest = broadcast.having(self._deliveries, took).ended()
        metrics.BROADCASTS.inc()
        metrics.BROADCAST_SECONDS.observe(took)
        record(
            "broadcast.sent",
            by=broadcast.by,
            admin=True,
            broadcast=broadcast.id,
            message=broadcast.notice.message,
            kind=broadcast.notice.kind,
            servers=broadcast.servers,
            delivered=self._latest.delivered,
            failed=self._latest.failed,
            seconds=round(took, 3),
        )
        await self._history.add(self._latest)


def running(users: Any) -> Iterator[Target]:
    """Yield each server that runs, or is about to, with its person."""
    for user in list(users.values()):
        for spawner in list(user.spawners.values()):
            if spawner.active:
                yield user, spawner


class Sender:
    """Sends one notice to many labs.

    Args:
        db: the hub's database.
        settings: the hub's application's.
        notice: what to say.
        limit: seconds that one lab has.
        at_once: labs that are talked to at the same time.
    """

    def __init__(
        self, db: Any, settings: Mapping[str, Any], notice: Notice, limit: float, at_once: int
    ) -> None:
        self._db, self._limit, self._at_once = db, limit, at_once
        self._body = json.dumps(notice.payload())
        keys = [settings.get(f"internal_ssl_{part}") for part in ("key", "cert", "ca")]
        self._ssl = make_ssl_context(keys[0], keys[1], cafile=keys[2])
        # Not the hub's own client, which is for those who are trusted.
        self._client = SimpleAsyncHTTPClient(
            force_instance=True, max_clients=at_once, max_body_size=_LARGEST_ANSWER
        )

    def close(self) -> None:
        self._client.close()

    async def send(self, targets: Iterable[Target], deliveries: list[Delivery]) -> None:
        """Send to all, and add what became of it to a list, in the order in which it is known."""
        waiting = iter(targets)

        async def some() -> None:
            for user, spawner in waiting:
                delivery = await self._deliver(user, spawner)
                outcome = "delivered" if delivery.delivered else "failed"
                metrics.DELIVERIES.labels(outcome=outcome).inc()
                deliveries.append(delivery)

        await asyncio.gather(*(some() for _ in range(self._at_once)))

    async def _deliver(self, user: Any, spawner: Any) -> Delivery:
        began = time.monotonic()
        person, server = str(user.name), str(spawner.name)
        try:
            reason = await self._try(user, spawner)
        except Exception as err:
            # Whatever is wrong with one lab, the others get theirs.
            log.exception("could not tell %s/%s", person, server)
            reason = f"the hub failed ({type(err).__name__}); its log says why"
        return Delivery(person, server, reason, round(time.monotonic() - began, 3))

    async def _try(self, user: Any, spawner: Any) -> str:
        """Return why a lab did not get the notice; empty if it did."""
        if not spawner.ready:
            return f"its server is not ready ({spawner.pending or 'stopped meanwhile'})"
        address = url_path_join(spawner.server.url, INGEST)
        token = user.new_api_token(
            expires_in=TOKEN_LIFE,
            note="A broadcast is being delivered",
            scopes=[f"access:servers!server={user.name}/{spawner.name}"],
        )
        try:
            return await self._post(address, token)
        finally:
            if found := orm.APIToken.find(self._db, token):
                self._db.delete(found)
                self._db.commit()

    async def _post(self, address: str, token: str) -> str:
        request = HTTPRequest(
            address,
            method="POST",
            body=self._body,
            headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
            connect_timeout=self._limit,
            request_timeout=self._limit,
            follow_redirects=False,  # the token would go along
            decompress_response=False,  # what is small may be large inside
            ssl_options=self._ssl,
        )
        try:
            answer = await self._client.fetch(request, raise_error=False)
        except HTTPTimeoutError:
            return f"its server did not answer within {self._limit:g} s"
        except (OSError, StreamClosedError, HTTPClientError) as err:
            return f"its server was not reached ({_told(err)})"
        return fault_of(answer.code)


def _told(err: Exception) -> str:
    """Return the kind of an error in words; what a lab says stands in none of them."""
    if isinstance(err, OSError) and err.errno:
        return os.strerror(err.errno).lower()
    return "no proper answer"
