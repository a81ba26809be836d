"""Who did what: the acts of administrators and of people on their own labs, one JSON object a line.

What is done with an administrator's rights stands in one file, all else (people's acts on their own
labs, and what was refused) in another beside it: both are replaced before they grow without bound,
and nobody can push an administrator's acts out without such rights. The files are for the hub's
operator alone. They hold no secrets: names and outcomes only, and a fact whose name sounds like a
secret is an error of the code that tells it. What cannot be written goes to the hub's own log, so
that no act is without a trace.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyterhub.log import log_request

from .metrics import AUDIT_FAILURES

log = logging.getLogger("JupyterHub.familiar.audit")

Fact = str | int | float | bool | None | Sequence[str]
LARGEST = 10 << 20
"""Bytes of one file."""
KEPT = 5
"""Files that are kept beside the one that is written."""
_LONGEST = 500
"""Characters of a fact."""
_SECRET = re.compile(r"token|secret|passw|cookie|credential|xsrf|api_?key", re.IGNORECASE)
_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
_NO_ACTS = re.compile(
    r"login|signup|security/csp-report|api/oauth2/.*|error/\d+|change-password(?:/[^/]+)?"
    r"|api/users/[^/]+(?:/servers?(?:/[^/]+)?)?/activity"
)
"""Paths below the hub's: what programs send all the time, what only signs somebody in (the
authenticator tells of that itself), and what tells itself."""


class AuditError(Exception):
    """The audit log cannot be kept; the message says what to do."""


class AuditLog:
    """One log and the files that came before it.

    Args:
        path: the file; its folder must be there.
        largest: bytes that it may have.
        kept: older files, named like it with a number behind.

    Raises:
        AuditError: the file cannot be written.
    """

    def __init__(self, path: Path, largest: int = LARGEST, kept: int = KEPT) -> None:
        self._path, self._largest, self._kept = path, largest, kept
        self._lock = threading.Lock()
        try:
            os.close(self._open())
        except OSError as err:
            raise AuditError(
                f"The audit log {path} cannot be written ({err.strerror}); make its folder, and let"
                " the hub's user write there."
            ) from err

    def write(self, line: str) -> None:
        """Add a line.

        Raises:
            OSError: it could not be written.
        """
        data = f"{line}\n".encode()
        with self._lock:
            size = self._path.lstat().st_size if self._path.exists() else 0
            if size and size + len(data) > self._largest:
                self._rotate()
            descriptor = self._open()
            try:
                # One call for the whole line: a hub that ends here leaves no half of one.
                os.write(descriptor, data)
            finally:
                os.close(descriptor)

    def _open(self) -> int:
        # No link is followed: who could lay one would choose which file of the hub's grows.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        os.fchmod(descriptor, 0o600)
        return descriptor

    def _rotate(self) -> None:
        files = [self._path, *(self._numbered(n) for n in range(1, self._kept + 1))]
        for older, newer in reversed(list(zip(files[1:], files, strict=False))):
            if newer.exists():
                newer.replace(older)
        if not self._kept:
            self._path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


_logs: dict[bool, AuditLog] = {}
"""By whether it is administrators whose acts it holds."""


def configure(path: Path | None, largest: int = LARGEST, kept: int = KEPT) -> None:
    """Choose the files in which this process keeps its audit log.

    Args:
        path: the file of what administrators do, or None for the hub's own log alone; what others
            do comes into the one that people_file names.
        largest: bytes that each may have.
        kept: older files of each that are kept.

    Raises:
        AuditError: a file cannot be written.
    """
    _logs.clear()
    if path:
        files = {True: path, False: people_file(path)}
        _logs.update({admin: AuditLog(file, largest, kept) for admin, file in files.items()})


def people_file(path: Path) -> Path:
    """Return the file of what others than administrators do: ``audit.jsonl`` has
    ``audit-people.jsonl`` beside it."""
    return path.with_name(f"{path.stem}-people{path.suffix}")


def record(event: str, *, by: str, admin: bool, **facts: Fact) -> None:
    """Put an act on record. What cannot be written to the file is told in the hub's log.

    Args:
        event: what was done, such as ``volume.reset``.
        by: the name of who did it.
        admin: whether it was done with an administrator's rights, or by the hub itself.
        facts: what must be known beside; never a secret.

    Raises:
        ValueError: a fact's name sounds like a secret.
    """
    line = entry(event, by=by, at=datetime.now(UTC), **facts)
    if not _logs:
        log.info("audit: %s", line)
        return
    try:
        _logs[admin].write(line)
    except OSError as err:
        AUDIT_FAILURES.inc()
        log.error("the audit log was not written (%s): %s", err.strerror, line)


def entry(event: str, *, by: str, at: datetime, **facts: Fact) -> str:
    """Return the line of an act. Pure.

    Raises:
        ValueError: a fact's name sounds like a secret.
    """
    if secret := next(filter(_SECRET.search, facts), None):
        raise ValueError(f"{secret} sounds like a secret, and may not stand in the audit log")
    told = {name: _short(fact) for name, fact in facts.items() if fact is not None}
    whole = {"at": at.isoformat(timespec="milliseconds"), "event": event, "by": _short(by), **told}
    return json.dumps(whole)  # in ASCII: a name cannot look like something else in a terminal


def _short(fact: Fact) -> Fact:
    if isinstance(fact, str):
        return fact if len(fact) <= _LONGEST else f"{fact[: _LONGEST - 3]}..."
    if isinstance(fact, Sequence):
        return [str(_short(part)) for part in fact]
    return fact


def log_request_and_act(handler: Any) -> None:
    """Log a request as JupyterHub does, and put it on record where it changed something.

    To be the application's ``log_function``. So what administrators do through JupyterHub's own
    pages and API is on record as well. A handler whose class has ``audited`` set tells itself.
    """
    log_request(handler)
    request, status = handler.request, handler.get_status()
    who = getattr(handler, "_jupyterhub_user", None)  # current_user raises before it is known
    if (
        who is None
        or request.method not in _CHANGING
        or getattr(handler, "audited", False)
        or _NO_ACTS.fullmatch(request.path.removeprefix(handler.hub.base_url))
    ):
        return
    record(
        "hub.request",
        by=name_of(who),
        # What was refused, anybody could repeat, and a page in an administrator's browser too.
        admin=status < 400 and as_admin(handler),
        method=request.method,
        path=request.path,  # without the query, in which a token may stand
        status=status,
        address=request.remote_ip,
    )


def name_of(who: Any) -> str:
    """Return the name of a person, or of a service with that word before it."""
    return f"service {who.name}" if _is_service(who) else str(who.name)


def as_admin(handler: Any) -> bool:
    """Say whether a request has an administrator's rights.

    They were settled before the act, which may have taken them away. Not each of an
    administrator's tokens has them: that of a lab has not.
    """
    return _is_service(handler.current_user) or any(
        scope.startswith("admin:") and "!" not in scope for scope in handler.expanded_scopes
    )


def _is_service(who: Any) -> bool:
    return getattr(who, "kind", "user") == "service"
