"""The SDK's messages of one turn, as recorded from CLI 2.1, and what the answer gets of them."""

from __future__ import annotations

from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from familiar_kernel.answer.transcript import Transcript
from familiar_kernel.familiar.protocol import Notice, ToolUse, TurnEvent
from familiar_kernel.familiar.turn import SUMMARY_LENGTH, TurnReader, answers_summary, tool_summary


def stream(event: dict[str, Any], parent: str | None = None) -> StreamEvent:
    return StreamEvent(uuid="u", session_id="s", event=event, parent_tool_use_id=parent)


def starts(identifier: str) -> StreamEvent:
    return stream({"type": "message_start", "message": {"id": identifier, "model": "claude-x"}})


def block(kind: str = "text") -> StreamEvent:
    return stream({"type": "content_block_start", "content_block": {"type": kind}})


def says(text: str, parent: str | None = None) -> StreamEvent:
    return stream({"type": "content_block_delta", "delta": {"text": text}}, parent)


def thinks(text: str) -> StreamEvent:
    return stream({"type": "content_block_delta", "delta": {"thinking": text}})


CLOSES = stream({"type": "message_stop"})
ENDS = stream({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})


def whole(identifier: str, *blocks: Any, **fields: Any) -> AssistantMessage:
    return AssistantMessage(list(blocks), "claude-x", message_id=identifier, **fields)


def result(**fields: Any) -> ResultMessage:
    given = {"subtype": "success", "duration_ms": 1, "duration_api_ms": 1, "is_error": False}
    return ResultMessage(**{**given, "num_turns": 1, "session_id": "s", **fields})


def read(*messages: Any) -> tuple[TurnReader, list[TurnEvent], Transcript]:
    reader, transcript, events = TurnReader("t"), Transcript(), []
    for message in messages:
        for event in reader.feed(message):
            events.append(event)
            transcript.add(event)
    return reader, events, transcript


def test_what_a_person_answered_stands_in_the_line() -> None:
    told = 'The user answered: "Which?"="Blue, and green", "How many?"="2". Read the answers.'
    assert answers_summary(told) == "Which? Blue, and green / How many? 2"
    assert answers_summary([{"type": "text", "text": told}]).startswith("Which? Blue")
    assert answers_summary("something else") == ""
    assert answers_summary(None) == ""


def test_streamed_text_counts_once() -> None:
    _, _, transcript = read(
        starts("m1"), block("thinking"), thinks("hm"), block(), says("Hel"), says("lo"),
        whole("m1", ThinkingBlock("hm", "")), whole("m1", TextBlock("Hello")),
        ENDS, CLOSES, result(),
    )  # fmt: skip
    assert (transcript.thinking, transcript.text) == ("hm", "Hello")


def test_text_that_was_not_streamed_is_taken_whole() -> None:
    _, _, transcript = read(whole("m1", TextBlock("Compacted.")), result())
    assert transcript.text == "Compacted."


def test_a_stream_that_broke_in_its_first_block_is_told_anew() -> None:
    _, _, transcript = read(
        starts("m1"), block(), says("Once upon"), starts("m2"), block(), says("Once upon a time"),
        whole("m2", TextBlock("Once upon a time")), ENDS, CLOSES, result(),
    )  # fmt: skip
    assert transcript.text == "Once upon a time"


def test_a_broken_message_that_the_cli_closes_is_not_complete() -> None:
    _, _, transcript = read(
        starts("m1"), block(), says("Half of it"), CLOSES,
        SystemMessage("api_retry", {"attempt": 1}),
        starts("m2"), block(), says("All of it"), ENDS, CLOSES, result(),
    )  # fmt: skip
    assert transcript.text == "All of it"


def test_a_stream_that_broke_may_be_told_anew_without_a_stream() -> None:
    _, _, transcript = read(
        starts("m1"),
        block(),
        says("Once upon"),
        whole("m2", TextBlock("Once upon a time")),
        result(),
    )
    assert transcript.text == "Once upon a time"


def test_what_stood_before_the_broken_message_stays() -> None:
    _, _, transcript = read(
        starts("m1"), block(), says("First."), whole("m1", TextBlock("First.")), ENDS, CLOSES,
        starts("m2"), block(), says("Sec"), starts("m3"), block(),
        says("Second."), ENDS, CLOSES, result(),
    )  # fmt: skip
    assert transcript.text.replace("\n", "") == "First.Second."


def test_a_stream_that_broke_later_is_continued() -> None:
    _, _, transcript = read(
        starts("m1"), block("thinking"), thinks("hm"), whole("m1", ThinkingBlock("hm", "")),
        block(), says("Once upon"), whole("m1", TextBlock("Once upon")),
        UserMessage("Your response above was cut off mid-stream. Resume directly"),
        starts("m2"), block(), says(" a time"), whole("m2", TextBlock(" a time")),
        ENDS, CLOSES, result(),
    )  # fmt: skip
    assert transcript.text == "Once upon a time"


def test_a_tool_shows_when_it_starts_and_when_it_ends() -> None:
    use = ToolUseBlock("id", "Bash", {"command": "echo hi", "description": "greet"})
    _, events, _ = read(
        starts("m1"),
        whole("m1", use),
        ENDS,
        CLOSES,
        UserMessage([ToolResultBlock("id", "no", True)]),
    )
    tools = [(e.name, e.summary, e.state) for e in events if isinstance(e, ToolUse)]
    assert tools == [("Bash", "echo hi", "running"), ("Bash", "echo hi", "failed")]


def test_a_subagent_s_words_are_not_the_answer() -> None:
    _, _, transcript = read(
        starts("m1"), block(), says("Mine."), says("Its own.", parent="tool"),
        whole("x", TextBlock("Its own."), parent_tool_use_id="tool"), result(),
    )  # fmt: skip
    assert transcript.text == "Mine."


def test_a_retry_is_announced() -> None:
    data = {"attempt": 2, "max_retries": 10, "retry_delay_ms": 1600, "error_status": 529}
    _, events, _ = read(SystemMessage("api_retry", data))
    assert [e.text for e in events if isinstance(e, Notice)] == [
        "The endpoint answered 529; trying again in 2 s (attempt 2 of 10)."
    ]


def test_the_cli_s_report_of_a_failure_is_no_answer() -> None:
    report = whole("m1", TextBlock("API Error: 500"), error="server_error")
    reader, _, transcript = read(report, result(is_error=True, api_error_status=500))
    assert transcript.text == ""
    trouble = reader.trouble("")
    assert trouble is not None
    assert trouble.kind == "server_error"


def test_a_retry_that_succeeds_takes_the_failure_back() -> None:
    reader, _, _ = read(
        whole("m1", TextBlock("API Error"), error="server_error"),
        starts("m2"), says("fine"), whole("m2", TextBlock("fine")), ENDS, CLOSES, result(),
    )  # fmt: skip
    assert reader.trouble("") is None


def test_an_interrupted_turn_says_so() -> None:
    reader, _, _ = read(result(is_error=True, terminal_reason="aborted_streaming"))
    assert reader.stopped()


def test_a_tool_s_summary_is_one_line_of_bounded_length() -> None:
    assert tool_summary({"command": "a\n  b\tc"}) == "a b c"
    assert tool_summary({"odd": [1, "ü"]}) == '{"odd": [1, "ü"]}'
    assert tool_summary({}) == ""
    long = tool_summary({"command": "x" * 1000})
    assert len(long) == SUMMARY_LENGTH
    assert long.endswith("…")
