"""Stops labs that nobody uses, and none in which something still works.

``python -m familiar_hub.culling`` is a service of the hub: JupyterHub's idle culler, which asks
here about each lab that looks idle. JupyterHub hears of what kernels send and of what people do. A
cell that computes for hours in silence sends nothing, and neither does a familiar in such a cell;
so the lab itself is asked what its kernels are doing. A familiar in the background does send: its
answer is updated at least each minute.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from jupyterhub_idle_culler import IdleCuller
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

IDLE = "FAMILIAR_HUB_CULLING_IDLE"
BUSY = "FAMILIAR_HUB_CULLING_BUSY"
AGE = "FAMILIAR_HUB_CULLING_AGE"
PROXY = "FAMILIAR_HUB_CULLING_PROXY"
"""The variables by which the hub tells its service; the first three in seconds."""
API = "FAMILIAR_HUB_CULLING_API"
"""The same, where the hub's API is reached in another way than by labs."""
SCOPES = ["list:users", "read:users:activity", "read:servers", "delete:servers", "access:servers"]
"""What the service may. The last is for asking labs what they do."""
_PATIENCE = 10.0


def still_works(
    kernels: Sequence[Mapping[str, Any]],
    terminals: Sequence[Mapping[str, Any]],
    now: datetime,
    limit: timedelta,
) -> bool:
    """Say whether something goes on in a lab. Pure.

    Args:
        kernels: what its ``/api/kernels`` lists.
        terminals: what its ``/api/terminals`` lists.
        limit: how long ago a sign of life may be.
    """
    if any(kernel.get("execution_state") == "busy" for kernel in kernels):
        return True
    signs = [each.get("last_activity") for each in (*kernels, *terminals)]
    return any(now - _moment(sign) < limit for sign in signs if sign)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Arbiter:
    """Decides about one lab after the other.

    Args:
        proxy: where labs are reached, without a path: ``http://127.0.0.1:8000``.
        token: the service's own.
        busy: seconds of silence after which even a working kernel does not keep its lab.
        log: where decisions are told.
    """

    def __init__(self, proxy: str, token: str, busy: float, log: logging.Logger) -> None:
        self._proxy = proxy.rstrip("/")
        self._token = token
        self._busy = busy
        self._log = log

    async def __call__(
        self, inactive: timedelta | None, inactive_limit: float, server: Mapping[str, Any]
    ) -> bool:
        """Say whether to stop a lab; the culler calls it for each that is ready."""
        if inactive is None or inactive.total_seconds() < inactive_limit:
            return False
        if inactive.total_seconds() >= max(self._busy, inactive_limit):
            return True
        address = urlsplit(server["url"])
        url = f"{self._proxy}{address.path}"
        try:
            kernels = await self._ask(f"{url}api/kernels", address.netloc)
            terminals = await self._ask(f"{url}api/terminals", address.netloc)
        except (OSError, ValueError) as error:
            # Perhaps because it works so hard. If it stays so, the other limit ends it.
            self._log.warning("Not stopping %s, which does not answer: %s", server["url"], error)
            return False
        works = still_works(
            kernels, terminals, datetime.now(UTC), timedelta(seconds=inactive_limit)
        )
        if works:
            self._log.info("Not stopping %s: something works there.", server["url"])
        return not works

    async def _ask(self, url: str, host: str) -> list[Mapping[str, Any]]:
        """Return a list that a lab gives; empty where it has no such thing.

        Args:
            host: what the proxy knows the lab by, where each has an origin of its own; else empty.

        Raises:
            OSError: it did not answer, or refused.
            ValueError: it answered something else.
        """
        request = HTTPRequest(
            url,
            headers={"Authorization": f"token {self._token}", **({"Host": host} if host else {})},
            request_timeout=_PATIENCE,
            connect_timeout=_PATIENCE,
            follow_redirects=False,
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        if answer.code == 404:
            return []
        if answer.code != 200:
            # 599 is what tornado says where nobody answered.
            raise ConnectionError(f"{urlsplit(url).path}: {answer.code}")
        listed = json.loads(answer.body)
        if not isinstance(listed, list):
            raise ValueError(f"{urlsplit(url).path} is no list")
        return listed


def main() -> None:
    """Run the service until the hub ends it."""
    culler = IdleCuller.instance()
    culler.initialize([])
    # Else it would read a file of that name wherever it starts.
    culler.config_file = ""
    culler.url = os.environ.get(API) or os.environ["JUPYTERHUB_API_URL"]
    culler.timeout = int(os.environ[IDLE])
    culler.max_age = int(os.environ[AGE])
    culler.cull_every = max(10, min(300, culler.timeout // 4))
    culler.cull_arbiter_hook = Arbiter(
        os.environ[PROXY], os.environ["JUPYTERHUB_API_TOKEN"], float(os.environ[BUSY]), culler.log
    )
    culler.start()


if __name__ == "__main__":
    main()
