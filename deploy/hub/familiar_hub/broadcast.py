"""What a broadcast is: a short notice from an administrator, and what became of it. Pure.

Only what stands here can be said: a line of text, a kind, and how long it stays. JupyterLab's
notices could also carry buttons that run its commands; a broadcast never has any.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

LONGEST = 140
"""Characters that JupyterLab shows of a notice."""
LONGEST_STAY = 3600
"""Seconds after which it is gone at the latest, unless it stays until it is closed."""
KINDS = ("info", "success", "warning", "error", "in-progress")
REMEMBERED = 50
"""Broadcasts in the history."""
FAILURES_REMEMBERED = 200
"""Failures of each that the history keeps one by one."""

_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

State = Literal["under way", "done", "cut off"]


class NoticeError(Exception):
    """A notice cannot be sent; the message says what is wrong with it."""


@dataclass(frozen=True)
class Notice:
    """What is to be said.

    Attributes:
        message: one line.
        kind: one of :data:`KINDS`.
        auto_close: seconds after which it closes itself; None to stay until it is closed.
    """

    message: str
    kind: str = "info"
    auto_close: int | None = None

    def payload(self) -> dict[str, Any]:
        """Return what the notifications extension of a lab takes."""
        return {
            "message": self.message,
            "type": self.kind,
            "autoClose": False if self.auto_close is None else 1000 * self.auto_close,
            "immediate": True,  # or it would wait until a page asks for news
            "actions": [],
        }


def notice_of(body: object) -> Notice:
    """Return the notice that a request asks for.

    Raises:
        NoticeError: it asks for something else.
    """
    if not isinstance(body, Mapping):
        raise NoticeError('Say what to send: {"message": "...", "kind": "info"}.')
    unknown = sorted(str(key) for key in body.keys() - {"message", "kind", "auto_close"})
    if unknown:
        raise NoticeError(
            f"A broadcast has no {', '.join(unknown)}; it has a message, a kind and auto_close."
        )
    kind = body.get("kind", "info")
    if kind not in KINDS:
        raise NoticeError(f"The kind of a broadcast is one of {', '.join(KINDS)}.")
    stay = body.get("auto_close")
    whole = isinstance(stay, int) and not isinstance(stay, bool)
    if stay is not None and not (whole and 1 <= stay <= LONGEST_STAY):
        raise NoticeError(
            f"auto_close is a number of seconds from 1 to {LONGEST_STAY}, or null for a notice that"
            " stays until it is closed."
        )
    return Notice(_line(body.get("message")), str(kind), stay)


def _line(message: object) -> str:
    if not isinstance(message, str) or not (message := message.strip()):
        raise NoticeError("The message is empty; write what everybody is to know.")
    if len(message) > LONGEST:
        raise NoticeError(
            f"The message has {len(message)} characters; JupyterLab shows {LONGEST}. Shorten it."
        )
    # Control characters, and marks that turn the direction: they could make it look like another.
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _TURNING for c in message):
        raise NoticeError("The message is one line of plain text, without control characters.")
    return message


def fault_of(status: int) -> str:
    """Return what is wrong where a lab answers with a status; empty where nothing is."""
    if status in (200, 201, 202, 204):
        return ""
    if status == 404:
        return "its image has no jupyterlab_notifications_extension"
    if status in (301, 302, 303, 307, 308, 401, 403):
        return f"its server did not accept the hub's token ({status})"
    return f"its server answered {status}"


@dataclass(frozen=True)
class Delivery:
    """What became of a broadcast at one server.

    Attributes:
        person: whose server it is.
        server: its name; empty for the default one.
        reason: why it was not delivered; empty where it was.
        seconds: how long that took.
    """

    person: str
    server: str
    reason: str = ""
    seconds: float = 0.0

    @property
    def delivered(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Broadcast:
    """A broadcast, as far as it has come.

    Attributes:
        id: tells it from others.
        at: when it began, in ISO 8601.
        by: who sent it.
        servers: how many servers it goes to.
        deliveries: of the history's, the first failures only.
        delivered: at how many servers it arrived.
        failed: at how many it did not.
        seconds: how long it took so far.
    """

    id: str
    at: str
    by: str
    notice: Notice
    servers: int
    state: State = "under way"
    delivered: int = 0
    failed: int = 0
    seconds: float = 0.0
    deliveries: Sequence[Delivery] = field(default_factory=tuple)

    def having(self, deliveries: Sequence[Delivery], seconds: float) -> Broadcast:
        """Return this one with what has become of it so far."""
        delivered = sum(one.delivered for one in deliveries)
        return replace(
            self,
            delivered=delivered,
            failed=len(deliveries) - delivered,
            seconds=round(seconds, 3),
            deliveries=tuple(deliveries),
        )

    def ended(self) -> Broadcast:
        return replace(self, state="done")

    def remembered(self) -> Broadcast:
        """Return what the history keeps: all counts, and the first failures with their reasons."""
        failures = [one for one in self.deliveries if not one.delivered]
        return replace(self, deliveries=tuple(failures[:FAILURES_REMEMBERED]))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Broadcast:
        """Return the broadcast that :meth:`as_dict` gave.

        Raises:
            TypeError, KeyError: it gave something else.
        """
        known = dict(data)
        return cls(
            **{
                **known,
                "notice": Notice(**known["notice"]),
                "deliveries": tuple(Delivery(**one) for one in known["deliveries"]),
            }
        )


def with_latest(history: Iterable[Broadcast], latest: Broadcast) -> list[Broadcast]:
    """Return a history with a broadcast added, or brought up to date: the newest first, and no
    more than :data:`REMEMBERED`."""
    others = (one for one in history if one.id != latest.id)
    return [latest.remembered(), *others][:REMEMBERED]


def after_restart(history: Iterable[Broadcast]) -> list[Broadcast]:
    """Return a history in which nothing is under way: the hub that sent it has ended."""
    return [replace(one, state="cut off") if one.state == "under way" else one for one in history]
