"""An exception post mortem: its chain, and each frame with source and variables."""

from __future__ import annotations

import contextlib
import linecache
import pathlib
import traceback
import types
from typing import Any

from ..errors import ProbeError
from .guard import Guard, bounded, cut, page_of
from .values import short, type_name

FRAMES = 8
"""Frames on a page of an error."""
_FRAME_TEXT = 1300
"""Characters of a frame after which no more of its variables are shown: eight go in an answer."""


def post_mortem(exc: BaseException | None, page: int = 1) -> str:
    """Return an exception post mortem: its chain, and each frame with source and locals.

    Args:
        exc: the exception, or None where there was none.
        page: which page of frames, from 1, which has the innermost.

    Raises:
        ProbeError: there is no such page.
    """
    if exc is None:
        return "No exception has been raised yet."
    guard = Guard()
    chain = _chain(exc)
    lines: list[str] = []
    for number, raised in enumerate(chain):
        size = 300 if number else 2000
        message = guard.text(lambda e=raised, n=size: str(e)[:n], "its message")  # type: ignore[misc]
        lines.append(f"{'which came of ' if number else ''}{type_name(raised)}: {message}")
    frames = [
        (raised, frame, line)
        for raised in chain
        for frame, line in reversed(list(traceback.walk_tb(_of_error(raised, "traceback"))))
        if not _internal(frame.f_code.co_filename)
    ]
    start, where = page_of(len(frames), FRAMES, page, "frames, the innermost on page 1")
    told: BaseException | None = None
    for raised, frame, line in reversed(frames[start : start + FRAMES]):
        where += ["", f"Frames of the {type_name(raised)}:"] if raised is not told else [""]
        where += _frame(frame, line, guard)
        told = raised
    return bounded([*lines, *where], "describe a variable by its name")


def _of_error(exc: BaseException, name: str) -> Any:
    """Return an error's cause, context or traceback, which its class may have hidden."""
    return BaseException.__dict__[f"__{name}__"].__get__(exc)


def _chain(exc: BaseException) -> list[BaseException]:
    """Return an error and what it came of, at most ten in all."""
    chain: list[BaseException] = []
    link: BaseException | None = exc
    while link is not None and not any(link is c for c in chain) and len(chain) < 10:
        chain.append(link)
        hides = _of_error(link, "suppress_context")
        link = _of_error(link, "cause") or (None if hides else _of_error(link, "context"))
    return chain


def _internal(filename: str) -> bool:
    parts = pathlib.PurePath(filename).parts
    return any(part in ("IPython", "ipykernel", "familiar_kernel") for part in parts)


def _frame(frame: types.FrameType, line: int, guard: Guard) -> list[str]:
    """Return a frame's place, source and variables, in a share of an answer's characters."""
    code = frame.f_code
    said = [f"{code.co_filename[-200:]}, line {line}, in {cut(code.co_name)}:"]
    with contextlib.suppress(ProbeError):  # no source, as with code that a file no longer holds
        said += guard.call(lambda: _source(frame, line))
    try:
        held = guard.call(lambda: list(frame.f_locals.items()), "what is in it")
    except ProbeError as err:  # code can be run with a mapping of anybody's for its variables
        return [*said, f"     ({err})"]
    if code.co_name == "<module>":  # all of the notebook's variables: those that it uses will do
        held = [(name, value) for name, value in held if name in code.co_names]
    held = [(n, v) for n, v in held if type(n) is str and not n.startswith("__")]
    held = [(n, v) for n, v in held if not issubclass(type(v), types.ModuleType)]
    size = sum(map(len, said))
    for number, (name, value) in enumerate(held):
        if number == 25 or size > _FRAME_TEXT:
            said.append(f"     and {len(held) - number} more")
            break
        said.append(f"     {cut(name)}: {type_name(value)} = {short(value, guard)}")
        size += len(said[-1])
    return said


def _source(frame: types.FrameType, line: int) -> list[str]:
    name = frame.f_code.co_filename
    said = []
    for number in range(max(1, line - 2), line + 3):
        if source := linecache.getline(name, number, frame.f_globals).rstrip():
            said.append(f"{'->' if number == line else '  '} {number:4} {source[:150]}")
    return said
