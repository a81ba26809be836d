"""What ``helm test`` runs: the lab answers, lets its person in, and nobody else.

It reads FAMILIAR_URL, the address inside the cluster, FAMILIAR_FRONT, what stands there (``token``
or ``proxy``), and, for a token, FAMILIAR_TOKEN. The Pod may have become ready a moment ago, so an
address that does not answer is tried for a while.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

PATIENCE = float(os.environ.get("FAMILIAR_PATIENCE", "60"))
"""Seconds."""


class _Here(urllib.request.HTTPRedirectHandler):
    """Follows nothing: that somebody is sent away to sign in is an answer."""

    def redirect_request(self, *args, **kwargs):
        return None


# No proxy of the environment either: what is asked is next door.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Here).open


def ask(path, token=""):
    """Return the status and the text of an answer."""
    request = urllib.request.Request(os.environ["FAMILIAR_URL"].rstrip("/") + path)
    if token:
        request.add_header("Authorization", f"token {token}")
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with _open(request, timeout=10) as answer:
                return answer.status, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as err:
            return err.code, ""
        except (OSError, urllib.error.URLError) as err:
            if time.monotonic() > until:
                sys.exit(f"FAILED: {request.full_url} does not answer: {err}")
            time.sleep(2)


def check(what, holds):
    """Say whether something holds; end where it does not."""
    if not holds:
        sys.exit(f"FAILED: {what}")
    print(f"ok: {what}", flush=True)


if os.environ["FAMILIAR_FRONT"] == "proxy":
    status, _ = ask("/ping")
    check(f"the proxy answers ({status})", status == 200)
else:
    status, text = ask("/api")
    check(f"JupyterLab answers ({status})", status == 200 and "version" in json.loads(text))
    status, text = ask("/api/status", os.environ["FAMILIAR_TOKEN"].strip())
    check(f"the token opens it ({status})", status == 200 and "kernels" in json.loads(text))
    status, _ = ask("/api/status", "wrong")
    check(f"another token does not ({status})", status in (401, 403))

for path in ("/api/status", "/api/contents", "/lab"):
    status, _ = ask(path)
    # 302 leads to where one signs in.
    check(f"{path} is closed without signing in ({status})", status in (302, 401, 403))
