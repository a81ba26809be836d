"""What people do to their own labs, as API: look, reset a volume, restart in place.

Own or admin only. JupyterHub's scopes are asked first, and ``servers`` would also be had by
somebody with whom a server is shared, or by a role that looks after a group: neither of them may
delete a person's files.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from . import restart, volumes
from .audit import as_admin, name_of, record
from .metrics import RESETS, RESTARTS


class LabHandler(APIHandler):
    """What these handlers share. They put their acts on record themselves."""

    audited = True

    def own(self, user_name: str) -> Any:
        """Return the person whose lab is asked for.

        Raises:
            tornado.web.HTTPError: there is nobody of that name, or they are somebody else and who
                asks is no administrator. Which of both is not told.
        """
        asks = self.current_user
        is_own = asks.kind == "user" and asks.name == user_name
        user = self.find_user(user_name)
        if user is None or not (is_own or self.has_scope(f"admin:servers!user={user_name}")):
            raise web.HTTPError(404, "No access to resources or resources not found")
        return user

    def spawner_of(self, user: Any, server_name: str) -> Any:
        # Asking the mapping itself would make a server of this name.
        if server_name and server_name not in user.orm_spawners:
            raise web.HTTPError(404, f"{user.name} has no server of this name.")
        return user.spawners[server_name]

    @property
    def restarts(self) -> restart.Restarts:
        known = self.settings.setdefault("familiar_restarts", restart.Restarts())
        assert isinstance(known, restart.Restarts)
        return known

    def tell(self, status: int, data: dict[str, Any]) -> None:
        self.set_status(status)
        self.finish(json.dumps(data))


class LabAPI(LabHandler):
    """``GET /api/users/NAME/lab``: the person's volumes and servers, and what may be done."""

    @needs_scope("read:servers")
    async def get(self, user_name: str) -> None:
        user = self.own(user_name)
        names = sorted({"", *user.orm_spawners})
        servers = [self._server(user.spawners[name]) for name in names]
        known = [
            {
                "kind": volume.kind,
                "name": volume.name,
                "summary": volume.summary,
                "used_by": volume.used_by,
            }
            for volume in volumes.volumes_of(user)
        ]
        self.tell(200, {"servers": servers, "volumes": known})

    def _server(self, spawner: Any) -> dict[str, Any]:
        last = self.restarts.of(spawner)
        return {
            "name": spawner.name,
            "display_name": getattr(spawner, "display_name", "") or spawner.name,
            "ready": spawner.ready,
            "pending": spawner.pending,
            "restartable": restart.restartable(spawner),
            "restart": last and last.as_dict(),
        }


class ResetAPI(LabHandler):
    """``POST /api/users/NAME/volumes/KIND/reset``: make a volume new and empty."""

    @needs_scope("servers")
    async def post(self, user_name: str, kind: str) -> None:
        user = self.own(user_name)
        body = self.get_json_body()
        confirmation = body.get("confirm") if isinstance(body, dict) else None
        outcome, reason, status = "done", "", 200
        name = ""
        try:
            name = (await volumes.reset(user, kind, confirmation)).name
        except volumes.VolumeUnknownError as err:
            outcome, reason, status = "refused", str(err), 404
        except volumes.VolumeInUseError as err:
            outcome, reason, status = "refused", str(err), 409
        except volumes.VolumeUnconfirmedError as err:
            outcome, reason, status = "refused", str(err), 400
        except volumes.VolumeError as err:
            outcome, reason, status = "failed", str(err), 502
        RESETS.labels(outcome=outcome).inc()
        record(
            "volume.reset",
            by=name_of(self.current_user),
            admin=as_admin(self),
            person=user.name,
            kind=kind,
            volume=name or None,
            outcome=outcome,
            reason=reason or None,
        )
        if reason:
            self.tell(status, {"status": status, "message": reason})
        else:
            self.tell(200, {"kind": kind, "name": name, "outcome": outcome})


class RestartAPI(LabHandler):
    """``/api/users/NAME/server/restart``, ``.../servers/SERVER/restart``: POST to restart a server
    in place, GET for how far that has come."""

    @needs_scope("read:servers")
    async def get(self, user_name: str, server_name: str = "") -> None:
        spawner = self.spawner_of(self.own(user_name), server_name)
        last = self.restarts.of(spawner)
        if last is None:
            raise web.HTTPError(404, "This server was not restarted lately.")
        self.tell(200, last.as_dict())

    @needs_scope("servers")
    async def post(self, user_name: str, server_name: str = "") -> None:
        user = self.own(user_name)
        spawner = self.spawner_of(user, server_name)
        act = functools.partial(
            record,
            "server.restart",
            by=name_of(self.current_user),
            admin=as_admin(self),
            person=user.name,
            server=server_name,
        )
        limit = float(self.settings.get("familiar_restart_limit", restart.LIMIT))

        def ended(this: restart.Restart) -> None:
            seconds = round(this.seconds, 1)
            act(outcome=this.outcome, reason=this.reason or None, seconds=seconds)

        try:
            begun = self.restarts.begin(spawner, self.proxy, self.db, limit, ended)
        except restart.RestartRefusedError as err:
            RESTARTS.labels(outcome="refused").inc()
            act(outcome="refused", reason=str(err))
            self.tell(409, {"status": 409, "message": str(err)})
            return
        self.tell(202, begun.as_dict())
