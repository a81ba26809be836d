"""What cells showed, as Claude reads it: text within bounds, and pictures."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from familiar_kernel.cell_log import LoggedCell, Output

from .errors import ProbeError
from .probe.fitting import DRAW_SECONDS, DRAWING, Picture

MAX_TEXT = 20_000
"""Characters of one reading."""
MAX_OUTPUT = 8_000
"""Characters of one cell's output, where several cells are read."""
MAX_PICTURES = 4
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", DRAWING)
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

Content = list[dict[str, Any]]
"""MCP content blocks."""
Fit = Callable[[bytes, str, str], Picture]
"""Makes a picture small enough to be sent; see :meth:`.place.Place.fit`."""


def text_block(text: str) -> dict[str, Any]:
    """Return a text as an MCP content block."""
    return {"type": "text", "text": text}


def shortened(text: str, limit: int) -> str:
    """Return a text, or its beginning and its end and how much is between."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    left_out = f"\n[... {len(text) - head - tail:,} characters left out ...]\n"
    return text[:head] + left_out + text[len(text) - tail :]


def outputs_text(outputs: Iterable[Output]) -> str:
    """Return what outputs say as plain text; of pictures, that there are some."""
    parts: list[str] = []
    for kind, content in outputs:
        if kind == "stream":
            parts.append(_as_it_stands(str(content.get("text", ""))))
        elif kind == "error":
            parts.append("\n".join(map(str, content.get("traceback", []))) + "\n")
        else:
            parts.append(_shown(content.get("data", {})) + "\n")
    return _ANSI.sub("", "".join(parts)).rstrip("\n")


def _as_it_stands(text: str) -> str:
    """Return a text without what was written over in its lines, as progress bars do."""
    if "\r" not in text:
        return text
    lines = []
    for line in text.split("\n"):
        shown = line.rstrip("\r")
        lines.append(shown.rpartition("\r")[2] + line[len(shown) :])
    return "\n".join(lines)


def _shown(data: dict[str, Any]) -> str:
    pictures = [f"[{mime}]" for mime in data if mime.startswith("image/")]
    for mime in ("text/plain", "text/markdown", "text/html", "image/svg+xml"):
        if mime in data:
            text = data[mime]
            return " ".join([text if isinstance(text, str) else "".join(text), *pictures])
    return " ".join(pictures) or f"[{', '.join(data) or 'nothing'}]"


def pictures(outputs: Iterable[Output], fit: Fit, told: bool = False) -> Content:
    """Return the latest few pictures among outputs, scaled down where they are large.

    Args:
        outputs: what cells showed.
        fit: makes a picture small enough.
        told: whether a text before each picture says what it is, and the first how many are
            left out.
    """
    found: list[tuple[str, str]] = []
    for _, content in outputs:
        data = content.get("data") or {}
        for mime in _PICTURES:
            if isinstance(data.get(mime), str):
                found.append((data[mime], mime))
                break
    until = time.monotonic() + DRAW_SECONDS  # for all of them, as the person waits for all
    blocks: Content = []
    if told and len(found) > MAX_PICTURES:
        blocks.append(text_block(f"The last {MAX_PICTURES} of {len(found):,} pictures."))
    for data, mime in found[-MAX_PICTURES:]:
        if time.monotonic() < until:
            blocks += _picture(data, mime, told, fit)
        else:
            blocks.append(text_block("[A picture is left out: those before it took too long.]"))
    return blocks


def _picture(data: str, mime: str, told: bool, fit: Fit) -> Content:
    """Return a picture of an output, or in its place why there is none."""
    try:
        raw = data.encode() if mime == DRAWING else base64.b64decode("".join(data.split()))
        picture = fit(raw, mime, "an output")
    except (ProbeError, ValueError) as err:
        return [text_block(f"[{err}]")]
    return picture_content(picture) if told else [_block(picture)]


def picture_content(picture: Picture) -> Content:
    """Return a picture, and what it is of."""
    if picture.mime == DRAWING:
        return [text_block(f"{picture.told}:\n{picture.data.decode()}")]
    return [text_block(picture.told), _block(picture)]


def _block(picture: Picture) -> dict[str, Any]:
    if picture.mime == DRAWING:
        return text_block(picture.data.decode())
    return {"type": "image", "data": picture.base64, "mimeType": picture.mime}


def run_content(outputs: list[Output], dropped: int, went_well: bool, fit: Fit) -> Content:
    """Return what code showed that Claude ran."""
    text = outputs_text(outputs)
    if dropped:
        text += f"\n[{dropped:,} more messages of output were not kept]"
    text = text or ("(no output)" if went_well else "(it failed and said nothing)")
    return [text_block(shortened(text, MAX_TEXT)), *pictures(outputs, fit)]


def cell_content(cell: LoggedCell, fit: Fit) -> Content:
    """Return one cell, with its pictures."""
    return [text_block(_cell_text(cell, MAX_TEXT)), *pictures(cell.outputs(), fit)]


def cells_content(cells: list[LoggedCell], page: int) -> Content:
    """Return a page of cells, oldest first on it; the first page has the newest.

    Raises:
        ValueError: there is no such page.
    """
    pages: list[list[str]] = [[]]
    room = MAX_TEXT
    for cell in reversed(cells):
        text = _cell_text(cell, MAX_OUTPUT)
        if pages[-1] and len(text) > room:
            pages.append([])
            room = MAX_TEXT
        pages[-1].insert(0, text)
        room -= len(text)
    if not 1 <= page <= len(pages):
        raise ValueError(f"There is no page {page}; there are {len(pages)}.")
    where = "" if len(pages) == 1 else f"Page {page} of {len(pages)}; page 1 is the newest.\n\n"
    return [text_block(where + ("\n\n".join(pages[page - 1]) or "No cell has run yet."))]


def _cell_text(cell: LoggedCell, limit: int) -> str:
    said = outputs_text(cell.outputs())
    parts = [f"In [{cell.number}]:", shortened(cell.code, limit)]
    if said:
        parts += ["Output:", shortened(said, limit)]
    if cell.dropped:
        parts.append(f"[{cell.dropped:,} messages of output were not kept]")
    return "\n".join(parts)
