"""From a scripted reply to what goes over the wire: frames of server-sent events, and the pauses
between them.

Nothing here sends or waits. A frame says how long to wait before its bytes, and whether the
connection breaks after them; the server plays frames as they come. They are made one at a time, so
a long answer is never held whole.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .steps import Cut, Echo, Error, Raw, Reply, Silence, StopReason, Text, ToolUse, Usage
from .templates import fill, fill_all

CHARACTERS_PER_TOKEN = 4
"""A rough guess that is good enough for counts that nobody is billed for."""
SPLIT_PAUSE = 0.001
"""Seconds between the two halves of a character, so that they arrive in reads of their own."""
BEFORE_CUT = 0.05
"""Seconds before a cut: a client that finds the line dead may forget what it has not read yet."""


@dataclass(frozen=True)
class Frame:
    """Bytes to send after ``pause`` seconds; ``cut`` closes the connection after them."""

    data: bytes = b""
    pause: float = 0.0
    cut: bool = False
    alone: bool = False
    """Must not share a chunk with its neighbours."""


@dataclass(frozen=True)
class Part:
    """What a reply needs to know about the conversation it is spoken in."""

    model: str
    """The model's name to answer under."""
    input_tokens: int
    variables: dict[str, str] = field(default_factory=dict)


def opening(reply: Reply, streams: bool = True) -> tuple[float, Error | None]:
    """Return how a reply opens: seconds of silence, and the API error if that is what it comes to.

    A stream opens with its first event, so only silence and an error before that count. A reply in
    one piece opens when all of it is there: every silence delays it, and an error anywhere in it is
    all that arrives.
    """
    seconds = 0.0
    for step in reply:
        if isinstance(step, Silence):
            seconds += step.seconds
        elif isinstance(step, Error):
            return seconds, step
        elif streams:
            break
    return seconds, None


def error_body(type_: str, message: str, request_id: str = "") -> dict[str, Any]:
    """Return the JSON of an API error."""
    body: dict[str, Any] = {"type": "error", "error": {"type": type_, "message": message}}
    return body | ({"request_id": request_id} if request_id else {})


def stream(reply: Reply, part: Part) -> Iterator[Frame]:
    """Yield the frames of a reply as a stream of events, from ``message_start`` on.

    Silence at the beginning belongs to :func:`opening` and is passed over here.
    """
    split = any(isinstance(step, (Text, Echo)) and step.split_utf8 for step in reply)
    frames = _stream(reply, part)
    return _split(frames) if split else frames


def whole(reply: Reply, part: Part) -> dict[str, Any]:
    """Return a reply as the one JSON message that a request without ``stream`` is answered with."""
    content: list[dict[str, Any]] = []
    output = 0
    for step in reply:
        if isinstance(step, (Text, Echo)):
            text = "".join(_pieces(step, part))
            output += len(text)
            if isinstance(step, Text) and step.thinking:
                content.append({"type": "thinking", "thinking": text, "signature": _SIGNATURE})
            elif content and content[-1]["type"] == "text":
                content[-1]["text"] += text
            else:
                content.append({"type": "text", "text": text})
        elif isinstance(step, ToolUse):
            content.append({"type": "tool_use", "id": _id("toolu"), **_tool(step, part)})
    message = _message(reply, part)
    message["content"] = content
    message["stop_reason"] = _stop_reason(reply)
    message["usage"]["output_tokens"] = _output_tokens(reply, output)
    return message


_SIGNATURE = "cmVoZWFyc2Fs"
"""Clients hand signatures back unread; this one says "rehearsal"."""


def _id(kind: str) -> str:
    return f"{kind}_rehearsal_{uuid.uuid4().hex[:20]}"


def _event(name: str, **fields: Any) -> bytes:
    data = {"type": name, **fields}
    try:
        return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON's escapes can carry and UTF-8 cannot
        return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode("ascii")


def _message(reply: Reply, part: Part) -> dict[str, Any]:
    usage = {
        "input_tokens": part.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
        "service_tier": "standard",
    }
    for step in reply:
        if isinstance(step, Usage):
            usage.update(step.tokens)
    return {
        "id": _id("msg"),
        "type": "message",
        "role": "assistant",
        "model": part.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _stop_reason(reply: Reply) -> str:
    reason = "tool_use" if any(isinstance(step, ToolUse) for step in reply) else "end_turn"
    for step in reply:
        if isinstance(step, StopReason):
            reason = step.reason
    return reason


def _output_tokens(reply: Reply, characters: int) -> int:
    tokens = max(1, round(characters / CHARACTERS_PER_TOKEN))
    for step in reply:
        if isinstance(step, Usage):
            tokens = step.tokens.get("output_tokens", tokens)
    return tokens


def _tool(step: ToolUse, part: Part) -> dict[str, Any]:
    return {"name": step.name, "input": fill_all(step.input, part.variables)}


def _pieces(step: Text | Echo, part: Part) -> Iterator[str]:
    """The text of a step in pieces of its chunk size."""
    repeat = 1
    if isinstance(step, Echo):
        prompt = part.variables.get("prompt", "")
        text = json.dumps(prompt) if step.form == "json" else prompt
    else:
        text = step.text if step.literal else fill(step.text, part.variables)
        repeat = step.repeat
    rest = ""
    for _ in range(repeat):
        rest += text
        start = 0
        while len(rest) - start >= step.chunk:
            yield rest[start : start + step.chunk]
            start += step.chunk
        rest = rest[start:]
    if rest:
        yield rest


def _stream(reply: Reply, part: Part) -> Iterator[Frame]:
    yield Frame(_event("message_start", message=_message(reply, part)))
    yield Frame(_event("ping"))
    index = -1
    block: str | None = None
    characters = 0
    pause = 0.0
    begun = False

    def close() -> Iterator[Frame]:
        nonlocal block
        if block == "thinking":
            delta = {"type": "signature_delta", "signature": _SIGNATURE}
            yield Frame(_event("content_block_delta", index=index, delta=delta))
        if block is not None:
            yield Frame(_event("content_block_stop", index=index))
        block = None

    for step in reply:
        if isinstance(step, Silence):
            # Silence at the very beginning has been kept already, before the first frame.
            pause += step.seconds if begun else 0.0
            continue
        begun = True
        if pause:
            yield Frame(pause=pause)
            pause = 0.0
        if isinstance(step, (Text, Echo)):
            kind = "thinking" if isinstance(step, Text) and step.thinking else "text"
            if block != kind:
                yield from close()
                index, block = index + 1, kind
                empty = {"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {})
                yield Frame(_event("content_block_start", index=index, content_block=empty))
            for piece in _pieces(step, part):
                characters += len(piece)
                delta = {"type": f"{kind}_delta", kind: piece}
                yield Frame(_event("content_block_delta", index=index, delta=delta), step.delay)
        elif isinstance(step, ToolUse):
            yield from close()
            index += 1
            tool = _tool(step, part)
            written = json.dumps(tool["input"], ensure_ascii=False)
            characters += len(written)
            start = {"type": "tool_use", "id": _id("toolu"), "name": tool["name"], "input": {}}
            yield Frame(_event("content_block_start", index=index, content_block=start))
            for at in range(0, len(written), 24):
                delta = {"type": "input_json_delta", "partial_json": written[at : at + 24]}
                yield Frame(_event("content_block_delta", index=index, delta=delta))
            yield Frame(_event("content_block_stop", index=index))
        elif isinstance(step, Raw):
            yield Frame(step.data, alone=True)
        elif isinstance(step, Error):
            yield Frame(_event("error", error=error_body(step.type, step.message)["error"]))
            return
        elif isinstance(step, Cut):
            yield Frame(pause=BEFORE_CUT, cut=True)
            return
    if pause:
        yield Frame(pause=pause)
    yield from close()
    usage = {"output_tokens": _output_tokens(reply, characters)}
    ending = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    yield Frame(_event("message_delta", delta=ending, usage=usage))
    yield Frame(_event("message_stop"))


def _split(frames: Iterator[Frame]) -> Iterator[Frame]:
    """End a chunk inside every character of more than one byte."""
    for frame in frames:
        data, start = frame.data, 0
        pause = frame.pause
        for at, byte in enumerate(data):
            if byte >= 0xC0 and at + 1 < len(data) and 0x80 <= data[at + 1] < 0xC0:
                yield Frame(data[start : at + 1], pause, alone=True)
                start, pause = at + 1, SPLIT_PAUSE
        yield Frame(data[start:], pause, frame.cut, alone=True)
