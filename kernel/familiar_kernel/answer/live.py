"""How an answer looks while it grows: only its end is shown again and again.

What an answer holds for good (paragraphs that are complete, thoughts that are over) is shown once
and left alone; only the rest is rendered anew with each update. So an update costs what the rest is
long, a front end lays out little, and the text above does not move while somebody reads it. Where
the rest begins is a :class:`Place`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from familiar_kernel.answer.inline import literal
from familiar_kernel.answer.markdown import defang
from familiar_kernel.answer.render import (
    details,
    heading,
    tool_line,
    whole_seconds,
)
from familiar_kernel.answer.transcript import Text, Thinking, Tool, Transcript

THOUGHT_SHOWN = 900
"""Characters of a thought that show while it goes on. A longer one shows its end, so that the page
does not jump by its whole height when it folds."""
_FENCE = re.compile(r"(`{3,}|~{3,})[^\n]*\n")
_FENCE_LINES = 8
"""Lines of an open code block that are kept together, at its end."""


class Place(NamedTuple):
    """A place in a growing answer, before which everything stands for good.

    ``part`` counts parts, ``offset`` characters of its safe Markdown, and ``lines`` lines of the
    code block that begins there, which may be cut in two while it grows.
    """

    part: int = 0
    offset: int = 0
    lines: int = 0


class Growth(NamedTuple):
    """A growing answer from some place on: what stands for good, up to another place, and the
    rest."""

    settled: str
    place: Place
    rest: str


def growth(transcript: Transcript, start: Place, now: float) -> Growth:
    """Return the answer so far, from a place on.

    Args:
        transcript: the turn so far.
        start: where to begin; ``Place()`` is the beginning.
        now: the time on the transcript's clock, in seconds.
    """
    blocks = [heading(transcript.rehearsal)] if start == Place() else []
    settled, place, moved = "", start, False
    parts = transcript.parts
    for number in range(start.part, len(parts)):
        part = parts[number]
        if isinstance(part, Text):
            here = start if number == start.part else Place(number)
            stands, then, moving = _text(part, here, number == len(parts) - 1)
        elif isinstance(part, Tool):
            over = part.state != "running"
            stands, then, moving = _all_or_nothing(tool_line(part, now), over, number)
        else:
            over = part.ended is not None
            stands, then, moving = _all_or_nothing(_thought(part, now), over, number)
        for shown in filter(None, (stands, moving)):
            if (
                isinstance(part, Tool)
                and number > start.part
                and isinstance(parts[number - 1], Tool)
            ):
                blocks[-1] += "\n" + shown  # the next item of the same list
            else:
                blocks.append(shown)
            moved = moved or shown is moving
            if not moved:
                settled, place = _joined(blocks), then
    if transcript.notice:
        blocks.append(f"*{literal(transcript.notice)}*")
    elif not parts:
        waited = now - transcript.began
        blocks.append(f"*Waiting for the first words…{_for(waited)}*")
    whole = _joined(blocks)
    return Growth(settled, place, whole[len(settled) :].strip("\n"))


def _for(waited: float) -> str:
    """Return how long a wait has been, once it is long enough to wonder."""
    return f" {whole_seconds(waited)}" if waited >= 5 else ""


def _joined(blocks: list[str]) -> str:
    return "\n\n".join(filter(None, (block.strip("\n") for block in blocks)))


def _text(part: Text, start: Place, last: bool) -> tuple[str, Place, str]:
    """Return a text from a place on: what stands, the place behind that, and what moves."""
    stands, moving = part.prose.safe(start.offset)
    if start.lines:
        # The code block that begins here is shown up to that line already.
        if stands:
            stands = _without_lines(stands, start.lines)
        else:
            moving = _without_lines(moving, start.lines)
    if not last:
        return _joined([stands, moving]), Place(start.part + 1), ""
    place = Place(start.part, start.offset, start.lines)
    if stands:
        place = Place(start.part, part.prose.settled(start.offset))
    fence = _FENCE.match(moving)
    lines = moving.split("\n")
    if fence and not stands and len(lines) > 2 * _FENCE_LINES:
        cut = len(lines) - 1 - _FENCE_LINES
        closing = fence[1]
        stands = "\n".join([*lines[:cut], closing])
        moving = "\n".join([lines[0], *lines[cut:]])
        place = Place(start.part, start.offset, start.lines + cut - 1)
    return stands, place, moving


def _without_lines(block: str, lines: int) -> str:
    """Return a code block and what follows it, without the first ``lines`` lines of code."""
    opening, *rest = block.split("\n")
    return "\n".join([opening, *rest[lines:]])


def _all_or_nothing(shown: str, over: bool, number: int) -> tuple[str, Place, str]:
    """Return a part that stands as a whole once it is over, in the form of :func:`_text`."""
    return (shown, Place(number + 1), "") if over else ("", Place(number), shown)


def _thought(part: Thinking, now: float) -> str:
    """A thought that goes on is open; of one that is over only its length shows, and the rest at
    the end."""
    if part.ended is not None:
        return details(f"Thought for {whole_seconds(part.ended - part.started)}", "")
    took = whole_seconds(now - part.started)
    words = part.prose.text
    if not words.strip():
        return f"*Thinking… {took}*"
    return details(f"Thinking… {took}", defang(_end_of(words)).strip("\n"), is_open=True)


def _end_of(text: str) -> str:
    """Return a text, or the last paragraphs or sentences of one that is longer than may be
    shown."""
    if len(text) <= THOUGHT_SHOWN:
        return text
    window = text[-THOUGHT_SHOWN:]
    half = len(window) // 2
    for mark in ("\n\n", ". ", "\n", " "):
        cut = window.find(mark, 0, half)
        if cut >= 0:
            window = window[cut + len(mark) :]
            break
    return "… " + window.lstrip("\n")
