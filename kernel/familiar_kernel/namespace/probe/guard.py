"""The bounds of every look: the notebook's own code runs so long and no longer, and not heard."""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import ProbeError

MAX_TEXT = 20_000
"""Characters of any answer."""
SHORT = 80
"""Characters of a short value."""
REPR_SECONDS = 1.0
"""Seconds for one piece of code that is not ours to trust."""
TOTAL_SECONDS = 2.0
"""Seconds for all such code of one answer."""


class _Stop(SystemExit):
    """Raised in code that took too long. A thread that ends by a SystemExit says nothing of it."""


class _Quiet:
    """Stands in for a standard stream: what one thread writes goes nowhere."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.thread: int | None = None

    def write(self, text: str) -> Any:
        if threading.get_ident() == self.thread:
            return len(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def _quietly() -> Iterator[Callable[[], None]]:
    """Put stand-ins in place of the standard streams; what it gives silences the calling thread."""
    quiet = {name: _Quiet(getattr(sys, name)) for name in ("stdout", "stderr")}

    def silence() -> None:
        for stand_in in quiet.values():
            stand_in.thread = threading.get_ident()

    for name, stand_in in quiet.items():
        setattr(sys, name, stand_in)
    try:
        yield silence
    finally:
        for name, stand_in in quiet.items():
            stand_in.thread = None  # the number of a thread that has ended is given to another
            if getattr(sys, name) is stand_in:  # else another thread has redirected it since
                setattr(sys, name, stand_in.stream)


class Guard:
    """Runs code that may do anything, for so long and no longer, and not heard.

    Args:
        each: seconds for one piece of code.
        total: seconds for all.
    """

    def __init__(self, each: float = REPR_SECONDS, total: float = TOTAL_SECONDS) -> None:
        self._each = each
        self._left = total

    def call(self, work: Callable[[], Any], what: str = "it") -> Any:
        """Return what the work returns.

        Raises:
            ProbeError: it raised, or did not end in time; the message says which.
        """
        if self._left <= 0:
            raise ProbeError(f"{what} was left out, as others took all the time")
        limit = min(self._each, self._left)
        done: list[tuple[bool, Any]] = []

        def run() -> None:
            try:
                silence()
                done.append((True, work()))
            except BaseException as err:  # whatever it is, it is this code's and not ours
                done.append((False, name_of(type(err))))  # a message may hold what is secret

        thread = threading.Thread(target=run, name="familiar-probe", daemon=True)
        began = time.monotonic()
        with _quietly() as silence:
            try:
                thread.start()
            except RuntimeError as err:  # the process has as many threads as it may have
                raise ProbeError(f"{what} was left out, as no thread could be started") from err
            thread.join(limit)
            if late := thread.is_alive():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stop)
                )
                thread.join(0.02)  # most end at once, and print nothing any more
        self._left -= time.monotonic() - began
        if late and limit < self._each:
            raise ProbeError(f"{what} was left out, as others took most of the time")
        if late or not done:
            raise ProbeError(f"{what} took longer than {self._each:.0f} s and was left out")
        well, value = done[0]
        if not well:
            raise ProbeError(f"{what} raised {value}")
        return value

    def text(self, work: Callable[[], Any], what: str) -> str:
        """Return what the work returns, as text; or why there is none, in brackets."""
        try:
            value = self.call(work, what)
        except ProbeError as err:
            return f"({err})"
        return value if type(value) is str else f"({what} returned no text)"


def of_type(kind: type, name: str) -> Any:
    """Return a type's own ``__mro__``, ``__dict__``, ...; a metaclass has no say in it."""
    return type.__dict__[name].__get__(kind)


def name_of(kind: type) -> str:
    return cut(str(of_type(kind, "__qualname__")))


def cut(text: str, limit: int = SHORT) -> str:
    line = text if "\n" not in text else " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def page_of(count: int, size: int, page: int, what: str) -> tuple[int, list[str]]:
    """Return where a page begins, and a line that says so where there are several."""
    pages = max(1, math.ceil(count / size))
    if type(page) is not int or not 1 <= page <= pages:
        raise ProbeError(f"There is no page {page!r}; there {_are(pages)} of {count:,} {what}.")
    if pages == 1:
        return 0, []
    return (page - 1) * size, [f"Page {page} of {pages} ({count:,} {what})."]


def _are(pages: int) -> str:
    return "is one page" if pages == 1 else f"are {pages:,} pages"


def bounded(lines: list[str], more: str) -> str:
    """Return lines as text that any channel carries, and what to do to see what had no room."""
    text = "\n".join(lines).encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= MAX_TEXT:
        return text
    room = MAX_TEXT - 200
    return f"{text[:room]}\n[{len(text) - room:,} characters were cut here: {more}]"
