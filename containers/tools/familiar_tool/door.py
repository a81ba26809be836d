"""The door before a tool: whom JupyterHub gives access is let in, and nobody else.

Authentication is JupyterHub's (HubOAuth: a browser goes through the hub, a program sends a token),
and passing on is jupyter-server-proxy's. Its own ``jupyter standaloneproxy`` is not used: 4.6 asks
nobody who they are where they open a websocket, hands the tool their tokens and cookies, and leaves
a tool that has ended for dead.
"""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Any
from urllib.parse import urlsplit

from jupyter_server_proxy.handlers import NamedLocalProxyHandler, RewritableResponse
from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated
from tornado import httpclient, tcpclient, web
from tornado.websocket import WebSocketHandler

from .settings import Settings
from .tools import LOOPBACK, PORT

HEALTH = "/healthz"
LARGEST = 256 * 2**20
"""Bytes of a request or an answer; each lies in memory as a whole, twice for a moment."""
LARGEST_OF_STRANGERS = 64 * 2**10
"""Bytes of a request that are read before somebody is let in."""
log = logging.getLogger("familiar.tool")
# What it tells of each request holds the whole address.
_proxy_log = logging.getLogger("familiar.tool.proxy")
_proxy_log.setLevel(logging.ERROR)
_SOMEWHERE = "192.0.2.1"
"""An address that is nobody's, for where requests are from: a tool may trust loopback too far."""
_ASKED_AGAIN = 60
"""Seconds after which the hub is asked anew whether somebody still has access."""
_NOT_PASSED_ON = re.compile(
    # Who somebody is is the door's business, and what page a request is from. The tools would take
    # exception to any host but their own.
    r"authorization|cookie|origin|referer|forwarded|x-forwarded-.*|x-real-ip|x-scheme|x-xsrftoken",
    re.IGNORECASE,
)


def make_app(settings: Settings, closed: str = "", port: int = PORT) -> web.Application:
    """Return the door.

    Args:
        settings: where the hub is.
        closed: a regular expression for paths of the tool that are open to nobody.
        port: where the tool listens.
    """
    prefix = re.escape(settings.prefix)
    # Passing on makes clients of its own, which this is for.
    httpclient.AsyncHTTPClient.configure(None, max_buffer_size=LARGEST, max_body_size=LARGEST)
    return web.Application(
        [
            (re.escape(HEALTH), Health),
            (prefix[:-1], web.RedirectHandler, {"url": settings.prefix}),
            (f"{prefix}oauth_callback", Callback),
            (f"{prefix}(.*)", Door, {"rewrite_response": tidied}),
        ],
        base_url=settings.prefix,
        # Whoever is in stays in when the door starts anew.
        cookie_secret=hashlib.sha256(f"cookies {settings.token}".encode()).hexdigest(),
        hub_auth=_hub_auth(settings),
        tool_port=port,
        closed=re.compile(closed) if closed else None,
        log_function=_log_request,
    )


def _hub_auth(settings: Settings) -> HubOAuth:
    # All is said here, and nothing left to the environment, which the tool might inherit.
    hub_prefix = f"{settings.base_url}hub/"
    return HubOAuth(
        api_url=f"{settings.hub}{hub_prefix}api",
        api_token=settings.token,
        base_url=settings.prefix,
        hub_prefix=hub_prefix,
        # Relative addresses are right wherever hub and service have one origin.
        hub_host=settings.origin if settings.services_origin else "",
        oauth_client_id=f"service-{settings.name}",
        oauth_redirect_uri=f"{settings.services_origin}{settings.prefix}oauth_callback",
        access_scopes={settings.scope},
        cache_max_age=_ASKED_AGAIN,
        cookie_options={"samesite": "Lax", **({"secure": True} if settings.tls else {})},
        allow_token_in_url=False,
    )


class _AtTheHub(HubOAuthenticated):
    """Whoever asks is known to this hub."""

    @property
    def hub_auth(self) -> HubOAuth:
        found: HubOAuth = self.settings["hub_auth"]
        return found


class Callback(_AtTheHub, HubOAuthCallbackHandler):
    """Where the hub sends browsers back to."""


@web.stream_request_body
class Door(_AtTheHub, NamedLocalProxyHandler):
    """Lets in, and passes on. What somebody sends is not read before they are let in."""

    def initialize(self) -> None:
        """Say where the tool's own ``/`` is, for what it redirects to."""
        self.proxy_base = "/"
        self._sent: list[bytes] = []

    def data_received(self, chunk: bytes) -> None:
        """Keep a part of what was sent; tornado calls it after :meth:`prepare`."""
        self._sent.append(chunk)

    async def proxy(self, port: int, path: str) -> None:
        """Pass a request on as a whole; jupyter-server-proxy sends no parts."""
        self.request.body = b"".join(self._sent)
        self._sent.clear()
        await super().proxy(port, path)

    @property
    def port(self) -> int:
        """Where the tool listens; NamedLocalProxyHandler asks."""
        found: int = self.settings["tool_port"]
        return found

    @property
    def log(self) -> logging.Logger:
        return _proxy_log

    def set_default_headers(self) -> None:
        """Say that the connection ends here, and leave out what is for a Jupyter server's pages.

        What is refused is not read, so nothing can follow it, and the hub's proxy has to know. What
        is passed on gets the tool's own headers instead.
        """
        self.set_header("Connection", "close")

    async def prepare(self) -> None:
        """Let nobody in whom the hub does not know, whatever the kind of request.

        Raises:
            tornado.web.HTTPError: 400: a token in the address, which ends up in logs. 403: this is
                nobody with access, and no person with a browser that could be sent to the hub; or
                the path is open to nobody.
        """
        headers = self.request.headers
        if "token" in self.request.query_arguments:
            raise web.HTTPError(400, reason="A token goes into the header Authorization")
        # Asked without holding up others; the next line finds the answer.
        await self.hub_auth.get_user(self, sync=False)
        if not self.current_user:
            visiting = (
                self.request.method in ("GET", "HEAD")
                and "Authorization" not in headers
                and not headers.get("Upgrade")
                and headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
                and "text/html" in headers.get("Accept", "")
            )
            if not visiting:
                raise web.HTTPError(403)
            # Somebody who is known and may not come in gets a 403 here, by HubAuthenticated.
            self.redirect(self.get_login_url())
            return
        closed = self.settings["closed"]
        if closed and closed.fullmatch(self.path_args[0]):
            raise web.HTTPError(403)
        self.request.connection.set_max_body_size(LARGEST)
        if headers.get("Accept") == "text/event-stream":
            # What streams would pass by `tidied`, and none of the tools needs it.
            headers["Accept"] = "*/*"

    def check_xsrf_cookie(self) -> None:
        """Refuse what another site's page sends with this person's cookie; HubOAuth asks.

        The pages that may send something are the tool's own, which know nothing of the hub's
        tokens. So the browser's word counts for where a page is from.

        Raises:
            tornado.web.HTTPError: 403.
        """
        headers = self.request.headers
        site = headers.get("Sec-Fetch-Site")
        if site is None:
            origin = headers.get("Origin")
            if origin is None:
                same = self.request.method in ("GET", "HEAD")
            else:
                same = urlsplit(origin).netloc == headers.get("Host")
        else:
            # "none": somebody typed the address.
            same = site == "same-origin" or (site == "none" and self.request.method == "GET")
        if not same:
            raise web.HTTPError(403)

    def check_origin(self, origin: str | None = None) -> bool:
        """Say whether a websocket may be opened from there: from the same host."""
        return WebSocketHandler.check_origin(self, origin or "")

    def proxy_request_headers(self) -> Any:
        """Return what the tool gets to see of a request's headers."""
        headers = super().proxy_request_headers()
        for name in [name for name in headers if _NOT_PASSED_ON.fullmatch(name)]:
            del headers[name]
        headers["Host"] = f"{LOOPBACK}:{self.port}"
        headers["X-Forwarded-For"] = _SOMEWHERE
        return headers

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with a plain page; JupyterHandler's needs a Jupyter server."""
        web.RequestHandler.write_error(self, status_code, **kwargs)


def tidied(response: RewritableResponse) -> None:
    """Take from a tool's answer what could reach beyond the tool; all share the hub's origin."""
    headers = response.headers
    headers.pop("Set-Cookie", None)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    headers.setdefault("Content-Security-Policy", "frame-ancestors 'self'")


class Health(web.RequestHandler):
    """Says whether the tool takes connections. Nothing but the container's own check asks."""

    async def get(self) -> None:
        try:
            stream = await tcpclient.TCPClient().connect(
                LOOPBACK, self.settings["tool_port"], timeout=5
            )
        except OSError as error:
            raise web.HTTPError(503) from error
        stream.close()
        self.finish("ok\n")


def _log_request(handler: web.RequestHandler) -> None:
    """Log a request without its query, where people's words and codes of the hub stand."""
    status, request = handler.get_status(), handler.request
    if request.path == HEALTH and status < 400:
        return
    level = logging.INFO if status < 400 else logging.WARNING
    took = 1000 * request.request_time()
    log.log(level, "%d %s %s (%.0f ms)", status, request.method, request.path, took)
