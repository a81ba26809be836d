"""From a scripted reply to frames: well-formed events, pauses, cuts, and split characters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from familiar_kernel.rehearsal.events import Frame, Part, opening, stream, whole
from familiar_kernel.rehearsal.script import loads
from familiar_kernel.rehearsal.steps import Reply
from familiar_kernel.rehearsal.templates import fill

PART = Part("rehearsal-model", 12, {"prompt": "hi", "match[1]": "one"})


def reply(steps: str, when: str = "{prompt: {regex: (.)}}") -> Reply:
    """Return the reply that YAML steps make."""
    return loads(f"rules: [{{when: {when}, reply: {steps}}}]").rules[0].reply


def parsed(frames: list[Frame]) -> list[dict[str, Any]]:
    """Return the events that frames carry, each checked against its SSE event name."""
    events = []
    for block in b"".join(frame.data for frame in frames).decode().split("\n\n"):
        if block:
            name, data = block.split("\n")
            event = json.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            events.append(event)
    return events


def events(steps: str, part: Part = PART) -> list[dict[str, Any]]:
    return parsed(list(stream(reply(steps), part)))


def text(found: list[dict[str, Any]], kind: str = "text") -> str:
    """Return all text of one kind in some events."""
    deltas = (event.get("delta", {}) for event in found)
    return "".join(delta.get(kind, "") for delta in deltas)


def test_thinking_text_and_a_tool_make_three_blocks() -> None:
    tool = "{tool_use: {name: T, input: {x: '{prompt}'}}}"
    found = events("[{thinking: hm}, {text: 'a {match[1]}'}, {text: b}, " + tool + "]")
    assert [e["type"] for e in found] == [
        "message_start", "ping",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    message = found[0]["message"]
    assert (message["model"], message["role"], message["content"]) == (
        "rehearsal-model",
        "assistant",
        [],
    )
    assert message["usage"]["input_tokens"] == 12
    starts = [e for e in found if e["type"] == "content_block_start"]
    assert [e["index"] for e in starts] == [0, 1, 2]
    assert [e["content_block"]["type"] for e in starts] == ["thinking", "text", "tool_use"]
    assert (text(found, "thinking"), text(found)) == ("hm", "a oneb")
    assert json.loads(text(found, "partial_json")) == {"x": "hi"}
    assert any(e.get("delta", {}).get("type") == "signature_delta" for e in found)
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_ids_are_never_used_twice() -> None:
    steps = "[{tool_use: {name: T}}]"
    ids = {
        e["content_block"]["id"] for _ in range(3) for e in events(steps) if "content_block" in e
    }
    assert len(ids) == 3
    assert len({events(steps)[0]["message"]["id"] for _ in range(3)}) == 3


def test_text_comes_in_chunks_with_pauses() -> None:
    frames = list(stream(reply("[{text: abcdefg, chunk: 3, delay_ms: 40}]"), PART))
    pieces = [(text(parsed([f])), f.pause) for f in frames if b"text_delta" in f.data]
    assert pieces == [("abc", 0.04), ("def", 0.04), ("g", 0.04)]


def test_repeated_text_is_one_text() -> None:
    found = events("[{text: abc, repeat: 5, chunk: 4}]")
    pieces = [e["delta"]["text"] for e in found if e["type"] == "content_block_delta"]
    assert pieces == ["abca", "bcab", "cabc", "abc"]


def test_usage_and_stop_reason_can_be_told() -> None:
    found = events(
        "[{text: x}, {stop_reason: max_tokens}, {usage: {input_tokens: 7, output_tokens: 9}}]"
    )
    assert found[0]["message"]["usage"]["input_tokens"] == 7
    assert found[-2]["delta"]["stop_reason"] == "max_tokens"
    assert found[-2]["usage"]["output_tokens"] == 9


def test_a_cut_ends_the_frames_in_mid_block() -> None:
    frames = list(stream(reply("[{text: x}, {cut: true}, {text: y}]"), PART))
    assert frames[-1].cut
    assert not any(frame.cut for frame in frames[:-1])
    assert parsed(frames)[-1]["type"] == "content_block_delta"


def test_an_error_in_mid_stream_is_an_event() -> None:
    found = events("[{text: x}, {error: {status: 529, message: m}}, {text: y}]")
    assert found[-1] == {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}


def test_raw_bytes_are_sent_alone_and_as_they_are() -> None:
    frames = list(stream(reply("[{text: x}, {raw: {hex: fffe}}, {malformed: json}]"), PART))
    assert next(f.data for f in frames if f.alone) == b"\xff\xfe"
    assert len([f for f in frames if f.alone]) == 2


def test_silence_waits_where_it_stands() -> None:
    steps = reply("[{silence: 2}, {text: x}, {silence: 1}, {silence: 3}, {text: y}, {silence: 5}]")
    assert opening(steps) == (2, None)
    frames = list(stream(steps, PART))
    assert [f.pause for f in frames if f.pause] == [4, 5]
    before = frames[: [f.pause for f in frames].index(4)]
    assert text(parsed(before)) == "x"


def test_what_a_reply_opens_with() -> None:
    steps = reply("[{silence: 2}, {error: {status: 500}}]")
    seconds, error = opening(steps)
    assert seconds == 2
    assert error is not None
    assert error.status == 500
    late = reply("[{text: x}, {silence: 2}, {error: {status: 529}}]")
    assert opening(late) == (0, None)
    seconds, error = opening(late, streams=False)
    assert seconds == 2
    assert error is not None
    assert error.status == 529


def test_a_reply_in_one_piece_says_the_same() -> None:
    steps = reply("[{thinking: hm}, {text: a}, {text: '{match[1]}'}, {tool_use: {name: T}}]")
    message = whole(steps, PART)
    assert [b["type"] for b in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["content"][1]["text"] == "aone"
    assert message["stop_reason"] == "tool_use"


@given(st.text())
def test_an_echo_is_the_prompt_itself(prompt: str) -> None:
    part = Part("m", 1, {"prompt": prompt})
    assert text(events("[{echo: true, chunk: 2}]", part)) == prompt
    assert json.loads(text(events("[{echo: json, chunk: 2}]", part)) or '""') == prompt


def test_a_lone_surrogate_travels_as_an_escape() -> None:
    part = Part("m", 1, {"prompt": "a\ud800b"})
    assert text(events("[{echo: verbatim}]", part)) == "a\ud800b"


@given(st.text(min_size=1), st.integers(min_value=1, max_value=5))
def test_split_characters_are_split_and_come_together_again(said: str, chunk: int) -> None:
    part = Part("m", 1, {"prompt": said})
    frames = list(stream(reply(f"[{{echo: true, chunk: {chunk}, split_utf8: true}}]"), part))
    assert text(parsed(frames)) == said
    wide = [c for c in json.dumps(said, ensure_ascii=False) if ord(c) > 0x7F]
    broken = 0
    for frame in frames:
        assert frame.alone
        try:
            frame.data.decode()
        except UnicodeDecodeError:
            broken += 1
    assert broken >= len(wide)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{prompt} {match[1]}", "hi one"),
        (r"\frac{a}{b} {0} {x.__class__} {{prompt}}", r"\frac{a}{b} {0} {x.__class__} {hi}"),
        ("{match[9]}", ""),
    ],
)
def test_only_known_variables_are_put_in(template: str, filled: str) -> None:
    assert fill(template, PART.variables) == filled


def test_what_is_put_in_is_not_filled_again() -> None:
    assert fill("{prompt}", {"prompt": "{model}", "model": "x"}) == "{model}"


def test_literal_text_is_left_alone() -> None:
    assert text(events("[{text: '{prompt}', literal: true}]")) == "{prompt}"
