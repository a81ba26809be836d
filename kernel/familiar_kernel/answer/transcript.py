"""What has happened in a turn so far: the events of the link, in the order in which they came, as
parts.

An answer is not one text. Claude thinks, writes, uses a tool, writes on, thinks again; the
transcript keeps that order. It knows nothing about how any of it looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

from familiar_kernel.answer.markdown import Growing
from familiar_kernel.familiar.protocol import (
    MessageBegan,
    Notice,
    Outcome,
    TextDelta,
    ThinkingDelta,
    ToolUse,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)


class Prose:
    """A text that grows: Claude's words as they are, and as Markdown that is safe to show."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._safe = Growing()

    def append(self, text: str) -> None:
        """Add the next piece."""
        self._pieces.append(text)
        self._safe.append(text)

    def cut(self, length: int) -> None:
        """Forget all but the first ``length`` characters."""
        text = self.text[:length]
        self._pieces[:] = []
        self._safe = Growing()
        self.append(text)

    @property
    def text(self) -> str:
        """The words so far, exactly as they came."""
        if len(self._pieces) > 1:
            self._pieces[:] = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def markdown(self) -> str:
        """The words so far as safe Markdown, without blank lines around it."""
        return self._safe.read().strip("\n")

    def safe(self, start: int = 0) -> tuple[str, str]:
        """The words from an offset of the safe Markdown on: what stands for good, and what may
        change.
        """
        whole = self._safe.read()
        settled = self._safe.settled(start)
        return whole[start:settled], whole[settled:]

    def settled(self, start: int = 0) -> int:
        """The offset of the safe Markdown up to which it stands for good, or ``start``."""
        return self._safe.settled(start)


@dataclass
class Thinking:
    """A stretch of thinking. ``ended`` is None while it goes on; times are the transcript's
    clock's.
    """

    started: float
    ended: float | None = None
    prose: Prose = field(default_factory=Prose)


@dataclass
class Text:
    """A stretch of the answer itself."""

    prose: Prose = field(default_factory=Prose)


@dataclass
class Tool:
    """One use of a tool. ``stopped``: the turn ended while it ran. Times are the transcript's
    clock's.
    """

    id: str
    name: str
    summary: str
    state: Literal["running", "done", "failed", "stopped"]
    started: float
    ended: float | None = None


Part = Thinking | Text | Tool


class Transcript:
    """One turn's events, accumulated.

    Args:
        clock: gives the time in seconds; any steady clock.
        rehearsal: whether the rehearsal answers, where that is known before the turn has finished.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, rehearsal: bool = False) -> None:
        self._clock = clock
        self._rehearsal = rehearsal
        self.began = clock()
        self.turn = ""
        self.parts: list[Part] = []
        self.notice = ""
        self.finished: TurnFinished | None = None
        self.received = 0
        """UTF-8 bytes of thinking, text and tool lines so far."""
        self._tools: dict[str, Tool] = {}
        self._message_at = (0, 0)
        """Where the message under way began: how many parts there were, and how long the last
        was.
        """

    def add(self, event: TurnEvent) -> int:
        """Take the next event in; return how many bytes of answer it brought. After the turn's end:
        ignored.
        """
        if self.finished:
            return 0
        self.turn = event.turn
        before = self.received
        if isinstance(event, ThinkingDelta):
            self._thinking().prose.append(event.text)
            self._count(event.text)
        elif isinstance(event, TextDelta):
            if event.text:
                self._text().prose.append(event.text)
                self._count(event.text)
        elif isinstance(event, ToolUse):
            self._tool(event)
        elif isinstance(event, Notice):
            self.notice = event.text
        elif isinstance(event, TurnFinished):
            self._finish(event)
        elif isinstance(event, MessageBegan):
            self._message(event)
        elif isinstance(event, TurnStarted):
            pass
        return self.received - before

    def stop(self, outcome: Outcome) -> None:
        """End the turn here, without waiting for its last event. A turn that has ended stays as it
        is.
        """
        if not self.finished:
            self._finish(
                TurnFinished(
                    self.turn,
                    outcome,
                    seconds=self._clock() - self.began,
                    rehearsal=self._rehearsal,
                )
            )

    @property
    def rehearsal(self) -> bool:
        """Whether the rehearsal answers, and not Claude."""
        return self.finished.rehearsal if self.finished else self._rehearsal

    @property
    def text(self) -> str:
        """Everything that Claude answered, stretches between tools a blank line apart."""
        return "\n\n".join(p.prose.text.strip("\n") for p in self.parts if isinstance(p, Text))

    @property
    def thinking(self) -> str:
        """Everything that Claude thought, stretches a blank line apart."""
        texts = (p.prose.text.strip("\n") for p in self.parts if isinstance(p, Thinking))
        return "\n\n".join(filter(None, texts))

    def waits_since(self) -> float | None:
        """Return since when the turn waits for its first part, or for a tool; None where it does
        not.
        """
        if not self.parts:
            return self.began
        running = [tool.started for tool in self._tools.values() if tool.state == "running"]
        return min(running, default=None)

    def thinking_seconds(self) -> float:
        """Return for how long Claude has thought so far."""
        spans = (
            (self._clock() if p.ended is None else p.ended) - p.started
            for p in self.parts
            if isinstance(p, Thinking)
        )
        return sum(spans)

    def _count(self, text: str) -> None:
        self.received += len(text.encode("utf-8", "surrogatepass"))

    def _end_thinking(self) -> None:
        if self.parts and isinstance(last := self.parts[-1], Thinking) and last.ended is None:
            last.ended = self._clock()

    def _thinking(self) -> Thinking:
        self.notice = ""
        if not (self.parts and isinstance(self.parts[-1], Thinking)):
            self.parts.append(Thinking(self._clock()))
        last = self.parts[-1]
        assert isinstance(last, Thinking)
        return last

    def _text(self) -> Text:
        self.notice = ""
        self._end_thinking()
        if not (self.parts and isinstance(self.parts[-1], Text)):
            self.parts.append(Text())
        last = self.parts[-1]
        assert isinstance(last, Text)
        return last

    def _tool(self, event: ToolUse) -> None:
        self.notice = ""
        self._end_thinking()
        tool = self._tools.get(event.id)
        if tool is None:
            tool = Tool(event.id, event.name, event.summary, event.state, self._clock())
            self._tools[event.id] = tool
            self.parts.append(tool)
            self._count(event.name + event.summary)
        tool.state = event.state
        tool.ended = None if event.state == "running" else self._clock()
        tool.summary = event.summary or tool.summary

    def _message(self, event: MessageBegan) -> None:
        """Remember where a message begins; or go back to there, for one that is told anew."""
        if event.again:
            parts, length = self._message_at
            del self.parts[parts:]
            if self.parts and isinstance(last := self.parts[-1], Text | Thinking):
                last.prose.cut(length)
            self._tools = {p.id: p for p in self.parts if isinstance(p, Tool)}
        last_part = self.parts[-1] if self.parts else None
        length = len(last_part.prose.text) if isinstance(last_part, Text | Thinking) else 0
        self._message_at = (len(self.parts), length)

    def _finish(self, event: TurnFinished) -> None:
        self.notice = ""
        self._end_thinking()
        for tool in self._tools.values():
            if tool.state == "running":
                tool.ended = self._clock()
                tool.state = "stopped" if event.outcome != "complete" else "done"
        self.finished = event
