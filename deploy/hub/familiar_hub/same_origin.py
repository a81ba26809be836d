"""Keeps the hub's pages from the scripts of labs where all have one origin.

Whoever has a lab chooses what it answers, and without subdomains a browser takes its pages for the
hub's own: a script there could fetch a page of the hub in the name of whoever looks at it, read the
token that stands in it, and send with it what that person may. So the hub's pages go to windows and
not to scripts, and no window that a lab has opened, or that has opened a lab, reaches into the
hub's. What this cannot do is keep one lab from another; that takes subdomains.
"""

from __future__ import annotations

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform


class ForWindows(OutputTransform):
    """What tornado does with each of the hub's answers: for ``transforms`` of its application.

    Args:
        request: that it answers.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        # Browsers set it, and no script can. Programs have none, nor cookies of a person.
        self._by_script = request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate"

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Return an answer as it is sent: without the page, where a script has asked for one."""
        # Styles, scripts and fonts that a browser has are answered with 304, which has no type. No
        # page is: what is sent here is never stored.
        if not headers.get("Content-Type", "").startswith("text/html"):
            return status_code, headers, chunk
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        # A script could have what a window got from the browser's store.
        headers["Cache-Control"] = "no-store"
        headers.pop("Etag", None)
        if not self._by_script or status_code in (301, 302, 303, 307, 308):
            return status_code, headers, chunk
        headers.pop("Set-Cookie", None)
        headers["Content-Length"] = "0"
        return 403, headers, b""

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        """Return a further part of an answer; the hub sends its pages in one."""
        return chunk
