"""The variables of a sandbox's inner kernel; see :mod:`.place`.

Each look is a call over the bridge. What comes back was made where anybody's code runs, so it is
taken for text or for the bytes of a picture and for nothing else.
"""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import Future
from typing import Any, Protocol

from .errors import ProbeError
from .execution import CodeStopped
from .probe.fitting import DRAWING, MAX_BYTES, Picture, type_of

LOOK_TIMEOUT = 60.0
"""Seconds for one look. The probe has limits of its own; this one is for a sandbox that does not
answer."""
TAB_TIMEOUT = 2.0
"""Seconds for what completes names."""
_LONGEST = 2_000_000
"""Characters of one answer."""


class Caller(Protocol):
    """Sends calls into the sandbox."""

    def call(self, name: str, arguments: dict[str, Any]) -> Future[Any]:
        """Send a call, for the cell in hand; its future has the value, or raises what
        :class:`RemotePlace` is to raise."""

    def wait(self, future: Future[Any], timeout: float | None) -> Any:
        """Wait for a call's value; an interrupt of the turn in hand raises CodeStopped."""


class RemotePlace:
    """A :class:`.place.Place` in the sandbox."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def _told(self, call: str, /, timeout: float | None = LOOK_TIMEOUT, **arguments: Any) -> Any:
        return self._caller.wait(self._caller.call(call, arguments), timeout)

    def _text(self, call: str, /, timeout: float = LOOK_TIMEOUT, **arguments: Any) -> str:
        return str(self._told(call, timeout, **arguments))[:_LONGEST]

    def variables(self, pattern: str = "", page: int = 1) -> str:
        return self._text("variables", pattern=pattern, page=page)

    def describe(self, expression: str, page: int = 1) -> str:
        return self._text("describe", expression=expression, page=page)

    def last_error(self, page: int = 1) -> str:
        return self._text("last_error", page=page)

    def picture(self, expression: str) -> Picture:
        return _picture(self._told("picture", expression=expression))

    def fit(self, data: bytes, mime: str, told: str) -> Picture:
        # Where the picture came from: nothing here reads the pictures of strangers.
        sent = base64.b64encode(data).decode()
        return _picture(self._told("fit", data=sent, mime=mime, told=told))

    def changes(self) -> str:
        return self._text("changes")

    def moment(self) -> object:
        return self._told("moment")

    def mark(self, moment: object | None) -> None:
        # Nobody waits for it: what is asked later is answered later.
        self._caller.call("mark", {"moment": moment})

    def has(self, name: str) -> bool:
        return self._told("has", name=name) is True

    def file(self, path: str) -> str:
        return self._text("file", path=path)

    def run(self, code: str) -> bool:
        return self._told("run", None, code=code) is True

    async def run_awaiting(self, code: str) -> bool:
        future = self._caller.call("run", {"code": code})
        return await asyncio.wrap_future(future) is True

    def propose(self, code: str) -> None:
        self._told("propose", code=code)

    # -- completion --

    def names(self, stem: str) -> list[str]:
        return self._list("names", stem=stem)

    def attributes(self, owner: str) -> list[str]:
        return self._list("attributes", owner=owner)

    def files(self, typed: str, quoted: bool) -> list[str]:
        return self._list("files", typed=typed, quoted=quoted)

    def _list(self, call: str, /, **arguments: Any) -> list[str]:
        try:
            found = self._told(call, TAB_TIMEOUT, **arguments)
        except (ProbeError, CodeStopped):
            return []
        return [str(one)[:1000] for one in found] if isinstance(found, list) else []


def _picture(value: Any) -> Picture:
    if not isinstance(value, dict):
        raise ProbeError("The sandbox gave no picture.")
    try:
        data = base64.b64decode(value.get("data", ""), validate=True)
    except (TypeError, ValueError):
        raise ProbeError("The sandbox gave no picture.") from None
    told, mime = str(value.get("told", ""))[:1000], value.get("mime")
    if mime == DRAWING:
        return Picture(DRAWING, data.decode("utf-8", "replace").encode(), told)
    kind = type_of(data)
    if not kind or len(data) > MAX_BYTES:
        raise ProbeError("The sandbox gave something else than a picture of a size to be sent.")
    return Picture(kind, data, told)
