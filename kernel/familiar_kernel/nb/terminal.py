"""What a person sees of a run: text as it comes, Markdown on a terminal, pictures as files.

What a notebook shows may come from code that nobody vouches for. So of the escape sequences in it
only colours reach a terminal; others could change its title, its clipboard or what stands there.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import sys
from pathlib import Path
from typing import Any, TextIO

from . import inline
from .actions import Listener, Result
from .answers import MARK, Answer
from .document import Cell
from .running import Message
from .store import Store, write_whole

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_ESCAPES = re.compile(
    # String sequences with all they hold, control sequences, two-character ones, C1 controls.
    r"\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]|\x1b"
    r"|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\x80-\x9f]",
    re.DOTALL,
)
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_PICTURES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/svg+xml": "svg"}


def safe(text: str, *, colours: bool) -> str:
    """Return a text that does nothing to a terminal but to stand in it.

    Args:
        text: any text.
        colours: whether its colours may stay.
    """

    def kept(found: re.Match[str]) -> str:
        return found[0] if colours and _COLOUR.fullmatch(found[0]) else ""

    return _ESCAPES.sub(kept, text.translate(_BIDI))


def has_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal that is to have colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Screen(Listener):
    """Shows what cells do.

    Args:
        store: the notebook's; pictures are kept in its folder.
        out: where outputs go.
        err: where all goes that is no output: progress, and what cells write to their stderr.
    """

    def __init__(
        self,
        store: Store,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self._store = store
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._colours = has_colours(self._out)
        self._begun_line = False
        self._answer: Answer | None = None
        self._name = "run"
        self._pictures = 0
        self._sandboxed = bool((store.state or {}).get("sandboxed"))

    # -- what happens --

    def begins(self, cell: Cell, number: int, count: int) -> None:
        """Say which cell runs."""
        self._name, self._pictures = cell.id or f"cell-{cell.index}", 0
        if count == 1:
            return
        first = next(iter(cell.source.strip().splitlines()), "")
        line = f"[{number}/{count}] {cell.name}: {first[:60]}"
        self._say(safe(line, colours=False))

    def ended(self, result: Result) -> None:
        """End the cell's outputs."""
        self.done()
        if result.ran.state == "timeout":
            self._say(f"{result.cell.name} took longer than it may, and was interrupted.")

    def waits(self, holder: str) -> None:
        """Say who is waited for."""
        self._say(f"{holder} runs cells of this notebook; waiting for it. Ctrl-C stops waiting.")

    def says(self, line: str) -> None:
        """Say something."""
        self._say(safe(line, colours=False))

    def hears(self, message: Message) -> None:
        """Show what the kernel has published."""
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            text = str(content.get("text", ""))
            self._write(text, self._err if content.get("name") == "stderr" else self._out)
        elif kind in ("display_data", "execute_result", "update_display_data"):
            self._display(content, updates=kind == "update_display_data")
        elif kind == "clear_output":
            if self._answer is not None:
                self._answer.replace()
        elif kind == "error":
            self.done()
            traceback = "\n".join(str(line) for line in content.get("traceback") or [])
            lines = traceback or f"{content.get('ename')}: {content.get('evalue')}"
            self._write(lines + "\n", self._err)

    def done(self) -> None:
        """End what is still open: a growing answer, a line."""
        if self._answer is not None:
            self._answer.end()
            self._answer = None
        if self._begun_line:
            self._out.write("\n")
            self._begun_line = False
        self._out.flush()

    # -- one output --

    def _display(self, content: dict[str, Any], *, updates: bool) -> None:
        data = content.get("data")
        if not isinstance(data, dict):
            return
        if MARK in (content.get("metadata") or {}) and "text/markdown" in data:
            if self._answer is None:
                self._end_line()
                self._answer = Answer(self._out, self._colours, safe)
            known = str((content.get("transient") or {}).get("display_id", ""))
            self._answer.show(known, _text(data["text/markdown"]))
            return
        if updates:
            return
        self._end_line()
        for kind, ending in _PICTURES.items():
            if kind in data:
                path = self._picture(_text(data[kind]), kind, ending)
                if path:
                    if not self._sandboxed:
                        inline.show(path, self._out)
                    near = os.path.relpath(path)
                    self._write(f"[{kind}: {min(near, str(path), key=len)}]\n", self._out)
                    return
        if "text/markdown" in data:
            answer = Answer(self._out, self._colours, safe)
            answer.show("", _text(data["text/markdown"]))
            answer.end()
        elif "text/plain" in data:
            self._write(_text(data["text/plain"]) + "\n", self._out)
        elif data:
            self._write(f"[{', '.join(sorted(map(str, data)))}]\n", self._out)

    def _picture(self, data: str, kind: str, ending: str) -> Path | None:
        """Keep a picture as a file, and return its path."""
        try:
            raw = data.encode() if kind == "image/svg+xml" else base64.b64decode(data)
        except (binascii.Error, ValueError):
            return None
        self._pictures += 1
        folder = self._store.made() / "pictures"
        folder.mkdir(mode=0o700, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9_-]", "-", self._name)[:64]
        path = folder / f"{name}-{self._pictures}.{ending}"
        write_whole(path, raw, mode=0o600)
        return path

    # -- text --

    def _write(self, text: str, stream: TextIO) -> None:
        text = safe(text, colours=has_colours(stream))
        if not text:
            return
        if self._answer is not None and stream is self._out:
            self.done()
        if stream is not self._out:
            self._part(stream)
        stream.write(text)
        stream.flush()
        if stream is self._out:
            self._begun_line = not text.endswith("\n")

    def _part(self, stream: TextIO) -> None:
        """End a line that was begun, where another stream goes to the same terminal."""
        if stream.isatty() and self._out.isatty():
            self._end_line()

    def _end_line(self) -> None:
        if self._begun_line:
            self._out.write("\n")
            self._begun_line = False

    def _say(self, line: str) -> None:
        self._out.flush()
        self._part(self._err)
        self._err.write(f"nb: {line}\n")
        self._err.flush()


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(str(line) for line in value)
    return value if isinstance(value, str) else "" if value is None else str(value)
