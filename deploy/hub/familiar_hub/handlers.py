"""The pages and the API of this package, and what the hub must be told to have them.

``HANDLERS`` goes through the authenticator's ``get_handlers``; ``TEMPLATES`` before other template
paths; ``tornado_settings`` into ``c.JupyterHub.tornado_settings``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.static import CacheControlStaticFilesHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from .audit import log_request_and_act, name_of, record
from .broadcast import KINDS, LONGEST, LONGEST_STAY, NoticeError, notice_of
from .delivery import AT_ONCE, LIMIT, Broadcasts, BusyError, running
from .restart import LIMIT as RESTART_LIMIT
from .selfservice import LabAPI, ResetAPI, RestartAPI

_HERE = Path(__file__).parent
TEMPLATES = str(_HERE / "templates")
STATIC = _HERE / "static"
MAY_BROADCAST = "admin:servers"
"""Whoever may do anything to all servers; no person has it for their own."""


def tornado_settings(
    folder: Path,
    *,
    broadcast_limit: float = LIMIT,
    broadcast_at_once: int = AT_ONCE,
    restart_limit: float = RESTART_LIMIT,
) -> dict[str, Any]:
    """Return what the hub's application must have for these pages.

    Args:
        folder: the hub's own, where the history of broadcasts is kept.
        broadcast_limit: seconds that one lab has to take a broadcast.
        broadcast_at_once: labs that a broadcast is sent to at the same time.
        restart_limit: seconds that a restart may take.
    """
    return {
        "log_function": log_request_and_act,
        "familiar_broadcast_history": str(folder / "broadcasts.json"),
        "familiar_broadcast_limit": broadcast_limit,
        "familiar_broadcast_at_once": broadcast_at_once,
        "familiar_restart_limit": restart_limit,
    }


def static_version() -> str:
    """Return what changes with the static files, so that no browser shows old ones."""
    digest = hashlib.sha256()
    for file in sorted(STATIC.iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def template_vars() -> dict[str, Any]:
    """Return what the templates must know: for ``c.JupyterHub.template_vars``."""
    return {"familiar_version": static_version()}


def _broadcasts(settings: dict[str, Any]) -> Broadcasts:
    known = settings.get("familiar_broadcasts")
    if not isinstance(known, Broadcasts):
        file = settings.get("familiar_broadcast_history")
        known = settings["familiar_broadcasts"] = Broadcasts(
            Path(file) if file else None,
            float(settings.get("familiar_broadcast_limit", LIMIT)),
            int(settings.get("familiar_broadcast_at_once", AT_ONCE)),
        )
    return known


class BroadcastPage(BaseHandler):
    """``/broadcast``: where administrators write to everybody."""

    @web.authenticated
    @needs_scope(MAY_BROADCAST)
    async def get(self) -> None:
        self.finish(
            await self.render_template(
                "broadcast.html", kinds=KINDS, longest=LONGEST, longest_stay=LONGEST_STAY
            )
        )


class BroadcastsAPI(APIHandler):
    """``/api/broadcasts``: GET for those of the past, POST for a new one."""

    audited = True

    @needs_scope(MAY_BROADCAST)
    async def get(self) -> None:
        history = _broadcasts(self.settings).history()
        servers = sum(1 for _ in running(self.users))
        self.finish(
            json.dumps({"servers": servers, "broadcasts": [one.as_dict() for one in history]})
        )

    @needs_scope(MAY_BROADCAST)
    async def post(self) -> None:
        by = name_of(self.current_user)
        try:
            notice = notice_of(self.get_json_body())
            begun = _broadcasts(self.settings).begin(notice, by, self.users, self.db, self.settings)
        except (NoticeError, BusyError) as err:
            record("broadcast.refused", by=by, admin=True, reason=str(err))
            status = 409 if isinstance(err, BusyError) else 400
            self.set_status(status)
            self.finish(json.dumps({"status": status, "message": str(err)}))
            return
        self.set_status(202)
        self.finish(json.dumps(begun.as_dict()))


class BroadcastAPI(APIHandler):
    """``/api/broadcasts/ID``: what became of one. ``?since=N`` leaves out the first deliveries."""

    @needs_scope(MAY_BROADCAST)
    async def get(self, identity: str) -> None:
        found = _broadcasts(self.settings).find(identity)
        if found is None:
            raise web.HTTPError(404, "There is no such broadcast, or it was too long ago.")
        since = self.get_query_argument("since", "0")
        if not since.isdecimal():
            raise web.HTTPError(400, "since is a number of deliveries.")
        told = found.as_dict()
        told["deliveries"] = told["deliveries"][int(since) :]
        self.finish(json.dumps(told))


class Files(CacheControlStaticFilesHandler):
    """The scripts and styles of these pages."""


HANDLERS: list[tuple[Any, ...]] = [
    (r"/broadcast", BroadcastPage),
    (r"/api/broadcasts", BroadcastsAPI),
    (r"/api/broadcasts/([0-9a-f]+)", BroadcastAPI),
    (r"/api/users/([^/]+)/lab", LabAPI),
    (r"/api/users/([^/]+)/volumes/([^/]+)/reset", ResetAPI),
    (r"/api/users/([^/]+)/server/restart", RestartAPI),
    (r"/api/users/([^/]+)/servers/([^/]*)/restart", RestartAPI),
    (r"/familiar/static/(.*)", Files, {"path": str(STATIC)}),
]
