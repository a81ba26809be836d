"""Where the notebook is: its path, the Jupyter server that serves it, and a link to it.

A kernel is not told much. jupyter_server (2 and later) puts the notebook's path into
``JPY_SESSION_NAME`` and its own process number into ``JPY_PARENT_PID``, and keeps a file named
after that number in Jupyter's runtime directory, readable by the person alone, with its address and
token. In a JupyterHub the token is the server's own, in ``JUPYTERHUB_API_TOKEN``, and people come
through the hub's public address, in ``JUPYTERHUB_PUBLIC_URL`` if the hub knows it.

What jupyter_server has told is as old as the kernel: a notebook may have been renamed since, and
a path may also be that of a console, which is no file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from jupyter_core.paths import jupyter_runtime_dir

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""Addresses at which a server listens, and where it is reached from its own machine: as part of a
link they lead nowhere, and a machine may not know its own name."""


class Server(NamedTuple):
    """A Jupyter server.

    Attributes:
        url: its address on this machine, with a slash at the end.
        token: a secret; may be empty.
        folder: the one that it serves.
        public_url: its address for people, with a slash at the end; empty where it is not known.
    """

    url: str
    token: str
    folder: str
    public_url: str


def notebook(environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of the notebook in which this kernel was started, or nothing."""
    path = environ.get("JPY_SESSION_NAME", "")
    if path and not path.startswith("/") and (known := server(environ)):
        return os.path.join(known.folder, path)  # so it comes from clients that give no name
    return path


def server(environ: Mapping[str, str] = os.environ) -> Server | None:
    """Return the server that started this kernel, or None where it was not one."""
    parent = environ.get("JPY_PARENT_PID", "")
    if not parent.isdecimal():
        return None
    path = Path(jupyter_runtime_dir()) / f"jpserver-{parent}.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        url, token = str(facts["url"]), str(facts.get("token") or "")
        folder, ip = str(facts.get("root_dir", "")), str(facts.get("hostname", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # started by nbclient, a terminal, another front end
    if not url.startswith(("http://", "https://")):
        return None  # it listens at a socket in the file system
    parts = urlsplit(url)
    base = f"{parts.path.rstrip('/')}/"
    public = url
    if ip in _EVERYWHERE and parts.port:
        url = f"{parts.scheme}://{_EVERYWHERE[ip]}:{parts.port}{parts.path}"
    # A server that somebody has started in a terminal of the hub's has the same variables.
    if environ.get("JUPYTERHUB_API_TOKEN") and environ.get("JUPYTERHUB_SERVICE_PREFIX") == base:
        token = token or environ["JUPYTERHUB_API_TOKEN"]
        public = environ.get("JUPYTERHUB_PUBLIC_URL", "")
    if not urlsplit(public).netloc or urlsplit(public).hostname in _EVERYWHERE:
        public = ""
    return Server(_with_slash(url), token, folder, public and _with_slash(public))


def _with_slash(url: str) -> str:
    return f"{url.rstrip('/')}/"


def link(environ: Mapping[str, str] = os.environ) -> str:
    """Return a link that opens the notebook in JupyterLab, without any token; or nothing where none
    is known that works elsewhere than in this process."""
    path, known = notebook(environ), server(environ)
    if known is None or not known.public_url or not os.path.isfile(path):
        return ""
    try:
        inside = PurePath(path).relative_to(known.folder)
    except ValueError:
        return ""
    return f"{known.public_url}lab/tree/{quote(inside.as_posix())}"
