"""Sends one event to all notifiers, and ends: a process of its own for each event.

It reads its order from standard input, one JSON object (``event``, ``notebook``, ``urls`` with what
may be shown of each, ``command``, ``server``, ``timeout``), uses all notifiers at the same time,
and writes one JSON object a line to standard output for each: ``name``, ``ok`` and ``error``. No
line holds an address, since those hold secrets. Nobody may be left to read these lines: the kernel
may end right after the event, and the notices are sent all the same.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, Queue
from typing import IO, Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from .notices import CENTRE, NO_CENTRE

INGEST = "jupyterlab-notifications-extension/ingest"
"""The extension's published path, below the server's address."""
TOAST = {
    "permission": "warning",
    "question": "warning",
    "finished": "success",
    "failed": "error",
    "budget": "error",
}
"""The kinds of events, with the extension's names for kinds of notices."""
_LONGEST = 140
"""Characters that JupyterLab shows of a notice."""
_COMMANDS: list[subprocess.Popen[bytes]] = []


class NoticeError(Exception):
    """A notice was not sent; the message says why, in one sentence."""


def main() -> NoReturn:
    """Read the order, send, and tell what became of it."""
    order = json.load(sys.stdin)
    # A messenger's library may print; its lines must not stand among the outcomes.
    outcomes = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    deadline = time.monotonic() + order["timeout"]
    waiting = dict(_notifiers(order))
    told: Queue[tuple[str, str]] = Queue()
    for name, send in waiting.items():
        threading.Thread(target=_try, args=(name, send, told), daemon=True).start()
    while waiting:
        try:
            name, error = told.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        del waiting[name]
        _tell(outcomes, name, error)
    for name in waiting:
        _tell(outcomes, name, f"no answer within {order['timeout']:.0f} s")
    for process in _COMMANDS:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has just ended
                os.killpg(process.pid, signal.SIGKILL)
    os._exit(0)  # a notifier that hangs has a thread that does


def _tell(outcomes: IO[str], name: str, error: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # the kernel has ended
        print(
            json.dumps({"name": name, "ok": not error, "error": error}), file=outcomes, flush=True
        )


def _try(name: str, send: Callable[[], None], told: Queue[tuple[str, str]]) -> None:
    try:
        send()
    except NoticeError as err:
        told.put((name, str(err)))
    except Exception as err:
        # A messenger's library may raise anything; its message may hold the address.
        told.put((name, f"it failed with {type(err).__name__}"))
    else:
        told.put((name, ""))


def _notifiers(order: dict[str, Any]) -> list[tuple[str, Callable[[], None]]]:
    """Return the notifiers of an order: a name without secrets, and what sends."""
    event, server = order["event"], order["server"]
    found: list[tuple[str, Callable[[], None]]] = []
    if server:
        found.append((CENTRE, lambda: _jupyterlab(event, order["notebook"], server)))
    for number, (scheme, url) in enumerate(order["urls"], 1):
        name = f"Apprise {number} ({scheme})"
        found.append((name, lambda url=url: _apprise(event, url)))  # type: ignore[misc]
    if order["command"]:
        found.append(("Command", lambda: _command(event, order["command"])))
    return found


def _apprise(event: dict[str, Any], url: str) -> None:
    try:
        from apprise import Apprise, NotifyFormat
    except ImportError:
        raise NoticeError("Apprise is missing: pip install 'familiar-kernel[notify]'") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines hold addresses
    sender = Apprise()
    if not sender.add(url):
        raise NoticeError("Apprise does not understand this URL; compare it with Apprise's pages")
    # Never without any: Apprise takes no notice without a body.
    body = "\n".join(filter(None, (event["text"], event["link"]))) or event["title"]
    body = body or event["title"]  # Apprise sends nothing that has no body
    if not sender.notify(body=body, title=event["title"], body_format=NotifyFormat.TEXT):
        raise NoticeError("it was not taken; `apprise -vv URL` in a terminal shows why")


def _jupyterlab(event: dict[str, Any], notebook: str, server: dict[str, str]) -> None:
    where = f" ({os.path.basename(notebook)})" if notebook else ""
    message = f"{event['title']}{where}: {event['text']}"
    message = message if len(message) <= _LONGEST else message[: _LONGEST - 1] + "\u2026"
    waits = event["kind"] in ("permission", "question")
    notice: dict[str, Any] = {
        "message": message,
        "type": TOAST[event["kind"]],
        "autoClose": False if waits else 10_000,
        "immediate": True,  # or it would wait until somebody looks whether there are any
        "actions": [],
    }
    request = Request(
        server["url"] + INGEST,
        data=json.dumps(notice).encode(),
        headers={"Content-Type": "application/json", **_credentials(server["token"])},
        method="POST",
    )
    try:
        with _opener(server["url"]).open(request, timeout=20):
            pass
    except HTTPError as err:
        if err.code == 404:
            raise NoticeError(NO_CENTRE) from None
        if err.code in (401, 403):
            raise NoticeError(
                f"its server refused ({err.code}); it must have a token (IdentityProvider.token),"
                " since a password serves people only"
            ) from None
        raise NoticeError(f"its server answered {err.code}; its log may say why") from None
    except URLError as err:
        raise NoticeError(f"its server was not reached: {err.reason}") from None


def _credentials(token: str) -> dict[str, str]:
    """Return the headers that a Jupyter server wants to see."""
    if token:
        return {"Authorization": f"token {token}"}
    # A server without a token still wants a form's cookie and field to agree, whatever they say.
    same = secrets.token_hex(16)
    return {"Cookie": f"_xsrf={same}", "X-XSRFToken": same}


class _Stay(HTTPRedirectHandler):
    """Follows nobody elsewhere: the token would go along."""

    def redirect_request(self, *_: object) -> None:
        return None


def _opener(url: str) -> OpenerDirector:
    # The server is this machine's own: no proxy knows it, or should see its token.
    handlers: list[Any] = [ProxyHandler({}), _Stay]
    if urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost"):
        # Its certificate, often signed by itself, is for the name that browsers use. What goes over
        # the loopback needs none: a server without one gets the same there.
        loopback = ssl.create_default_context()
        loopback.check_hostname = False
        loopback.verify_mode = ssl.CERT_NONE
        handlers.append(HTTPSHandler(context=loopback))
    return build_opener(*handlers)


def _command(event: dict[str, Any], command: list[str]) -> None:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "FAMILIAR_EVENT": event["kind"]},
            start_new_session=True,
        )
    except OSError as err:
        raise NoticeError(f"{command[0]} could not be started: {err.strerror}") from None
    _COMMANDS.append(process)
    process.communicate(json.dumps(event).encode())
    if process.returncode:
        raise NoticeError(f"{command[0]} ended with exit status {process.returncode}")


if __name__ == "__main__":
    main()
