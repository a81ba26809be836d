"""Browsers in which somebody has signed in before: their wrong passwords are counted apart.

A name is locked after some wrong passwords, whoever sent them. So a stranger who keeps sending them
would keep a person out, the administrator above all. A browser with a cookie of here is no
stranger's; it has the same few attempts, and nobody else takes them away.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

COOKIE = "familiar-known-browser"
DAYS = 180


def counted_as(handler: Any, name: str) -> str:
    """Return under what the passwords of a request are counted.

    Args:
        handler: the request's, of JupyterHub.
        name: whose password it is said to be.
    """
    told = handler.get_secure_cookie(COOKIE, max_age_days=DAYS)
    if told is None:
        return name
    # It is signed, so it is as it was written.
    owner, browser = json.loads(told)
    return json.dumps([owner, browser]) if owner == name else name


def remember(handler: Any, name: str) -> None:
    """Give the browser its cookie: somebody has signed in there."""
    told = json.dumps([name, secrets.token_hex(16)])
    handler._set_cookie(COOKIE, told, expires_days=DAYS, path=handler.hub.base_url)
