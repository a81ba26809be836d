"""An answer of the familiar as it grows, for a terminal or a pipe.

In a notebook it grows as several outputs that are updated, and is one in the end
(:mod:`familiar_kernel.answer.view`). On a terminal the end of it is shown anew as Markdown while it
grows, and then all of it. Through a pipe whole lines go once they stand, and none is taken back.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

MARK = "familiar"
"""Is in the metadata of an answer's outputs."""
UNSETTLED = 3
"""Lines at the end of what grows that may become others yet."""
_THOUGHTS = re.compile(r"<details\b.*?(?:</details>|\Z)\n*", re.DOTALL)
_ASIDE = re.compile(r"(<details\b.*?(?:</details>|\Z)|<small>.*?(?:</small>|\Z))", re.DOTALL)
"""Thoughts, and what the turn took."""
_HEAD = re.compile(r"\A###### (.*)\n+")
_ITS_HEAD = "Claude"
_TAGS = re.compile(r"</?(?:small|details|summary|span|div|code)\b[^>]*>")


def text_of(markdown: str, *, thoughts: bool) -> str:
    """Return an answer's Markdown without what lays it out in a notebook.

    Args:
        markdown: as the notebook has it.
        thoughts: whether its thoughts stay.
    """
    if not thoughts:
        markdown = _THOUGHTS.sub("", _HEAD.sub("", markdown))
    return html.unescape(_TAGS.sub("", markdown)).replace("\\$", "$")


class Answer:
    """One answer, told to a stream.

    Args:
        out: the stream.
        colours: whether it may have colours.
        safe: makes a text harmless for it.
    """

    def __init__(self, out: TextIO, colours: bool, safe: Any) -> None:
        self._out = out
        self._safe = safe
        self._parts: dict[str, str] = {}
        self._shown: list[str] = []
        self._replaced = False
        self._console: Console | None = None
        self._live: Live | None = None
        if out.isatty():
            from rich.console import Console
            from rich.live import Live

            self._console = Console(file=out, no_color=not colours, highlight=False)
            if not self._console.is_dumb_terminal:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()

    def show(self, id: str, markdown: str) -> None:
        """Show one of its outputs, or what that has become.

        Args:
            id: by which it is known.
            markdown: all of it.
        """
        if self._replaced:
            self._parts.clear()
            self._replaced = False
        self._parts[id] = markdown
        if self._live is not None:
            self._live.update(_Tail(self._markdown), refresh=True)
        if self._console is not None:
            return
        lines = self._plain.splitlines()[:-UNSETTLED]
        if lines[: len(self._shown)] == self._shown:
            self._write(lines[len(self._shown) :])
            self._shown = lines

    def replace(self) -> None:
        """Know that the next output takes the place of all."""
        self._replaced = True

    def end(self) -> None:
        """Show all of it."""
        if self._console is not None:
            if self._live is not None:
                self._live.stop()
            self._console.print(self._markdown)
            return
        lines = self._plain.splitlines()
        same = 0
        while same < min(len(lines), len(self._shown)) and lines[same] == self._shown[same]:
            same += 1
        self._write(lines[same:])
        head = _HEAD.match(self._all)
        if head is not None and head[1] != _ITS_HEAD:
            self._write([str(self._safe(f"[{head[1]}]", colours=False))])

    def _write(self, lines: list[str]) -> None:
        self._out.writelines(f"{line}\n" for line in lines)
        self._out.flush()

    @property
    def _all(self) -> str:
        return "\n".join(self._parts.values())

    @property
    def _plain(self) -> str:
        return str(self._safe(text_of(self._all, thoughts=False), colours=False)).strip("\n")

    @property
    def _markdown(self) -> Any:
        from rich.console import Group
        from rich.markdown import Markdown
        from rich.padding import Padding

        shown: list[Any] = []
        for number, part in enumerate(_ASIDE.split(self._all)):
            text = self._safe(text_of(part, thoughts=True), colours=False).strip("\n")
            if text:
                style = "dim italic" if number % 2 else "none"
                shown += [Padding("", 0)] if shown else []
                shown.append(Markdown(text, hyperlinks=False, style=style))
        return Group(*shown)


class _Tail:
    """The end of something, as much of it as a terminal has lines."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        lines = console.render_lines(self._whole, options.update(height=None), pad=False)
        for line in lines[-max(1, console.height - 2) :]:
            yield from line
            yield Segment.line()
