"""Where the notebook is: its path, the Jupyter server that serves it, and a link to it.

A kernel is not told much. jupyter_server (2 and later) puts the notebook's path into
``JPY_SESSION_NAME`` and its own process number into ``JPY_PARENT_PID``, and keeps a file named
after that number in Jupyter's runtime directory, readable by the person alone, with its address and
token. In a JupyterHub the token is the server's own, in ``JUPYTERHUB_API_TOKEN``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from jupyter_core.paths import jupyter_runtime_dir

_EVERYWHERE = ("0.0.0.0", "::", "")
"""Addresses at which a server listens, and that lead nowhere as part of a link."""


class Server(NamedTuple):
    """A Jupyter server: its address with a slash at the end, its token (a secret, may be empty) and
    its folder."""

    url: str
    token: str
    folder: str


def notebook(environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of the notebook in which this kernel was started, or nothing."""
    return environ.get("JPY_SESSION_NAME", "")


def server(environ: Mapping[str, str] = os.environ) -> Server | None:
    """Return the server that started this kernel, or None where it was not one."""
    parent = environ.get("JPY_PARENT_PID", "")
    if not parent.isdecimal():
        return None
    path = Path(jupyter_runtime_dir()) / f"jpserver-{parent}.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        url, token = str(facts["url"]), str(facts.get("token", ""))
        folder = str(facts.get("root_dir", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # started by nbclient, a terminal, another front end
    if not url.startswith(("http://", "https://")):
        return None  # it listens at a socket in the file system
    return Server(f"{url.rstrip('/')}/", token or environ.get("JUPYTERHUB_API_TOKEN", ""), folder)


def link(environ: Mapping[str, str] = os.environ) -> str:
    """Return a link that opens the notebook in JupyterLab, without any token; or nothing where none
    is known that works elsewhere than in this process."""
    path, known = notebook(environ), server(environ)
    if not path or known is None:
        return ""
    base = environ.get("JUPYTERHUB_PUBLIC_URL", "") or known.url
    if urlsplit(base).hostname in _EVERYWHERE:
        return ""
    try:
        inside = PurePath(path).relative_to(known.folder)
    except ValueError:
        return ""
    return f"{base.rstrip('/')}/lab/tree/{quote(inside.as_posix())}"
