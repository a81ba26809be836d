"""How an answer looks: a transcript as the MIME bundle of one Jupyter output.

Only Markdown and plain text, because JupyterLab prefers HTML where there is any, and because what
is stored must be readable in every front end, on a code host, through nbconvert and by a screen
reader, without scripts.
"""

from __future__ import annotations

from typing import Any

from familiar_kernel.answer.characters import clean
from familiar_kernel.answer.inline import code_span, literal
from familiar_kernel.answer.transcript import Part, Text, Thinking, Tool, Transcript
from familiar_kernel.familiar.protocol import TurnFinished

Bundle = tuple[dict[str, Any], dict[str, Any]]
"""Data by MIME type, and metadata."""

METADATA_VERSION = 1
_MARKS = {"running": "▸", "done": "✓", "failed": "✗", "stopped": "✗"}
_WORDS = {"running": "running", "done": "", "failed": "failed", "stopped": "stopped"}
_WORTH_TELLING = 5.0
"""Seconds after which a tool's time is told: a heartbeat while it runs, and what it took."""
_ENDS = {"complete": "", "stopped": "Stopped here.", "failed": "The answer breaks off here."}
_NOTHING = "No answer."
"""What a turn shows that failed before its first word; the cell's error says why."""
# Set apart as JupyterLab's own stylesheet does not; where style is not allowed nothing is lost.
_FOLD = ' style="margin-bottom: 1em"'
_QUIET = ' style="opacity: 0.75"'


def final(transcript: Transcript) -> Bundle:
    """Return the whole answer, as it stays in the notebook.

    Raises:
        ValueError: the turn has not ended.
    """
    end = transcript.finished
    if end is None:
        raise ValueError("the turn has not ended yet")
    blocks = [heading(transcript.rehearsal)]
    lines: list[str] = []
    for place, part in enumerate(transcript.parts):
        if _joins(transcript.parts, place):
            blocks[-1] += "\n" + _part(part)
            lines[-1] += "\n" + _plain(part)
        else:
            blocks.append(_part(part))
            lines.append(_plain(part))
    empty = end.outcome == "failed" and not transcript.parts
    mark = _NOTHING if empty else _ENDS[end.outcome]
    if mark:
        blocks.append(f"*{mark}*")
        lines.append(f"[{mark}]")
    # The heading says already who answers; plain text has none.
    footer = "" if empty else _footer(end)
    if footer:
        blocks.append(f"<small{_QUIET}>{literal(footer)}</small>")
    label = ["rehearsal, not Claude"] if end.rehearsal else []
    if label or footer:
        lines.append(f"[{clean(' · '.join(filter(None, [*label, footer])))}]")
    data = {
        "text/markdown": "\n\n".join(filter(None, blocks)) + "\n",
        "text/plain": "\n\n".join(filter(None, lines)),
    }
    return data, {"familiar": _metadata(transcript, end)}


def _metadata(transcript: Transcript, end: TurnFinished) -> dict[str, Any]:
    return {
        "version": METADATA_VERSION,
        "session_id": end.session_id,
        "turn": transcript.turn,
        "number": end.number,
        "model": end.model,
        "outcome": end.outcome,
        "usage": dict(end.usage),
        "cost_usd": end.cost_usd,
        "seconds": round(end.seconds, 3),
        "thinking_seconds": round(transcript.thinking_seconds(), 3),
        "rehearsal": end.rehearsal,
    }


def heading(rehearsal: bool) -> str:
    """Return the heading of an answer: what a screen reader can jump to."""
    return "###### Rehearsal, not Claude" if rehearsal else "###### Claude"


def _joins(parts: list[Part], place: int) -> bool:
    """Whether a part continues the list that the part before it began."""
    return place > 0 and isinstance(parts[place], Tool) and isinstance(parts[place - 1], Tool)


def _part(part: Part) -> str:
    if isinstance(part, Text):
        return part.prose.markdown()
    if isinstance(part, Tool):
        return tool_line(part)
    return _thought(part)


def _plain(part: Part) -> str:
    if isinstance(part, Text):
        return clean(part.prose.text).strip("\n")
    if isinstance(part, Tool):
        return f"[{clean(part.name)}: {_short(part.summary)}{_how(part, part.ended)}]"
    return f"[thought for {whole_seconds((part.ended or part.started) - part.started)}]"


def tool_line(tool: Tool, now: float | None = None) -> str:
    """Return a tool's one line, as an item of a list.

    Args:
        tool: the tool's use.
        now: the time on the transcript's clock, for one that still runs.
    """
    span = code_span(_short(tool.summary))
    how = _how(tool, now if tool.ended is None else tool.ended)
    return f"- {_MARKS[tool.state]} **{literal(tool.name)}** {span}{how}"


def _how(tool: Tool, until: float | None) -> str:
    """Return how a tool's use goes or went, and for how long where that is worth telling."""
    took = (until or tool.started) - tool.started
    facts = [_WORDS[tool.state], whole_seconds(took) if took >= _WORTH_TELLING else ""]
    told = " ".join(filter(None, facts))
    return f" — {told}" if told else ""


def _short(summary: str, limit: int = 200) -> str:
    line = " ".join(clean(summary).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _thought(part: Thinking) -> str:
    took = whole_seconds((part.ended or part.started) - part.started)
    body = part.prose.markdown()
    if not body.strip():
        return f"*Thought for {took}*"
    return details(f"Thought for {took}", body)


def details(summary: str, body: str, is_open: bool = False) -> str:
    """Return a block that folds; its body, which may be empty, is safe Markdown."""
    opened = " open" if is_open else ""
    inside = f"\n\n{body}\n\n" if body else ""
    return f"<details{opened}{_FOLD}><summary><small>{summary}</small></summary>{inside}</details>"


def _footer(end: TurnFinished) -> str:
    usage = end.usage
    into = sum(
        usage.get(name, 0)
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    facts = [
        _seconds(end.seconds) if end.seconds else "",
        f"{into:,} tokens in, {usage.get('output_tokens', 0):,} out" if usage else "",
        f"${end.cost_usd:.4f}" if end.cost_usd else "",
        "" if end.rehearsal else end.model,
    ]
    return " · ".join(filter(None, facts))


def whole_seconds(seconds: float) -> str:
    """Return a duration in words, at least one second."""
    return _minutes(max(1, round(seconds)))


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else _minutes(round(seconds))


def _minutes(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d} s"
