"""One turn, from the SDK's messages to the link's events.

:class:`TurnReader` is a pure translator: it is fed every message that the SDK yields while the turn
runs and returns the events to send. What makes it more than a table is that the same text arrives
twice, token by token in stream events and whole in an assistant message, and that a stream may
break. Measured on CLI 2.1:

- A stream that breaks in its first block is asked for again: a new ``message_start`` comes, or,
  after an error event, only a whole message. What was streamed is void.
- One that breaks later is continued: the CLI says so in a user message of its own, and the next
  message goes on where the last one stopped. What was streamed stays.
- Whole messages count only where their id was not streamed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    Message,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from .classify import classify
from .errors import Trouble
from .protocol import MessageBegan, Notice, TextDelta, ThinkingDelta, ToolUse, TurnEvent

SUMMARY_LENGTH = 160
"""Characters of a tool's input that its one line shows."""

# What a tool's one line says: the first of these fields that its input has.
_TELLING_FIELDS = (
    "command",
    "file_path",
    "notebook_path",
    "path",
    "pattern",
    "query",
    "url",
    "code",
    "expression",
    "description",
    "prompt",
    "skill",
)
OURS = "mcp__notebook__"
"""What the CLI puts before the names of the notebook's own tools."""
_ANSWERED = re.compile(r'"([^"]+)"="([^"]*)"')
_STOPPED_REASONS = frozenset({"aborted_streaming", "aborted_tools"})


def tool_summary(tool_input: dict[str, Any]) -> str:
    """Return one line of plain text that says on what a tool is used."""
    if isinstance(questions := tool_input.get("questions"), list):
        asked = [str(q.get("question", "")) for q in questions if isinstance(q, dict)]
        tool_input = {"query": " / ".join(asked)}
    for name in _TELLING_FIELDS:
        value = tool_input.get(name)
        if isinstance(value, str) and value.strip():
            break
    else:
        name, value = "", json.dumps(tool_input, ensure_ascii=False) if tool_input else ""
    if name == "code":
        # Lines of Python run into each other would read as something else.
        first, *more = value.strip().splitlines()
        value = f"{first} … ({len(more)} more lines)" if more else first
    line = " ".join(value.split())
    return line if len(line) <= SUMMARY_LENGTH else line[: SUMMARY_LENGTH - 1] + "…"


def answers_summary(result: object) -> str:
    """Return one line with the questions that a person was asked and what they answered, from the
    result that the CLI makes of it; empty where that has another form."""
    text = result if isinstance(result, str) else ""
    if isinstance(result, list):
        text = "\n".join(str(part.get("text", "")) for part in result if isinstance(part, dict))
    told = " / ".join(f"{question} {answer}" for question, answer in _ANSWERED.findall(text))
    line = " ".join(told.split())
    return line if len(line) <= SUMMARY_LENGTH else line[: SUMMARY_LENGTH - 1] + "…"


class TurnReader:
    """Translates the messages of one turn.

    Attributes:
        result: the message that ended the turn, once it has come.
        model: the model that answered, as far as known.
        thought: whether any thinking has come.
    """

    def __init__(self, turn: str) -> None:
        self.turn = turn
        self.result: ResultMessage | None = None
        self.model = ""
        self.thought = False
        self._cli_error: str | None = None
        self._error_text = ""
        self._under_way = False
        self._complete = False
        self._streamed: set[str] = set()
        self._message_id = ""
        self._in_text = False
        self._tools: dict[str, ToolUse] = {}

    def feed(self, message: Message) -> list[TurnEvent]:
        """Return what a message of the SDK means for the answer; often nothing."""
        match message:
            case StreamEvent(parent_tool_use_id=None, event=event):
                return self._stream(event)
            case AssistantMessage():
                return self._assistant(message)
            case UserMessage(parent_tool_use_id=parent, content=content):
                if parent is None:
                    self._under_way = (
                        False  # what came before it stands, finished or to be continued
                    )
                blocks = content if isinstance(content, list) else []
                results = [block for block in blocks if isinstance(block, ToolResultBlock)]
                return [event for result in results for event in self._tool_result(result)]
            case SystemMessage(subtype="status", data={"status": "compacting"}):
                return [Notice(self.turn, "Summing the conversation up…")]
            case SystemMessage(subtype="compact_boundary", data=data):
                return [self._summed_up(data.get("compact_metadata") or {})]
            case SystemMessage(subtype="api_retry", data=data):
                return [Notice(self.turn, retry_notice(data))]
            case ResultMessage():
                self.result = message
        return []

    def stopped(self) -> bool:
        """Whether the result says that the turn was interrupted."""
        return self.result is not None and self.result.terminal_reason in _STOPPED_REASONS

    def trouble(self, stderr: str) -> Trouble | None:
        """Return what went wrong, or None where the turn has its whole answer."""
        result = self.result
        if (
            result is not None
            and not result.is_error
            and result.subtype == "success"
            and not self._cli_error
        ):
            return None
        texts = [self._error_text]
        if result is not None:
            texts += [result.result or "", *(result.errors or [])]
        return classify(
            cli_error=self._cli_error,
            status=result.api_error_status if result else None,
            subtype=result.subtype if result else "",
            text="\n".join(dict.fromkeys(t for t in texts if t)),
            stderr=stderr,
        )

    def _stream(self, event: dict[str, Any]) -> list[TurnEvent]:
        match event.get("type"):
            case "message_start":
                began = MessageBegan(self.turn, again=self._under_way)
                self._under_way = True
                self._complete = False
                self._in_text = False
                message = event.get("message", {})
                self.model = message.get("model") or self.model
                self._message_id = message.get("id", "")
                return [began]
            case "content_block_start" if event.get("content_block", {}).get("type") == "text":
                # Two blocks of text in a row would run into each other.
                glue: list[TurnEvent] = [TextDelta(self.turn, "\n\n")] if self._in_text else []
                self._in_text = True
                return glue
            case "content_block_start":
                self._in_text = False
            case "content_block_delta":
                delta = event.get("delta", {})
                if text := delta.get("text"):
                    self._streamed.add(self._message_id)
                    return [TextDelta(self.turn, text)]
                if thinking := delta.get("thinking"):
                    self.thought = True
                    self._streamed.add(self._message_id)
                    return [ThinkingDelta(self.turn, thinking)]
            case "message_delta" if event.get("delta", {}).get("stop_reason"):
                self._complete = True
            case "message_stop" if self._complete:
                # One that was cut is closed by the CLI too, but has no reason to stop.
                self._under_way = False
        return []

    def _assistant(self, message: AssistantMessage) -> list[TurnEvent]:
        if message.error:
            # The text is the CLI's report of the failure, not Claude's answer.
            self._cli_error = message.error
            self._error_text = "\n".join(
                b.text for b in message.content if isinstance(b, TextBlock)
            )
            return []
        inner = message.parent_tool_use_id is not None
        streamed = message.message_id in self._streamed
        events: list[TurnEvent] = []
        if not inner and self._under_way and message.message_id != self._message_id:
            self._under_way = False
            events.append(MessageBegan(self.turn, again=True))
        for block in message.content:
            if isinstance(block, ToolUseBlock):
                name = block.name.removeprefix(OURS)
                summary = tool_summary(block.input)
                tool = ToolUse(self.turn, block.id, name, summary, "running")
                self._tools[block.id] = tool
                events.append(tool)
            elif inner or streamed:
                continue
            elif isinstance(block, TextBlock):
                events.append(TextDelta(self.turn, block.text))
            elif isinstance(block, ThinkingBlock) and block.thinking:
                self.thought = True
                events.append(ThinkingDelta(self.turn, block.thinking))
        if not inner:
            # A later success takes an earlier failure back: the CLI has retried.
            self._cli_error = None
        return events

    def _summed_up(self, facts: dict[str, Any]) -> ToolUse:
        """Return the event of a conversation that was summed up, asked for or for want of room."""
        before, after = (int(facts.get(name) or 0) for name in ("pre_tokens", "post_tokens"))
        told = "the conversation was summed up"
        if before and after:
            told += f": {before:,} tokens became {after:,}"
        return ToolUse(self.turn, f"compact-{before}-{after}", "Compact", told, "done")

    def _tool_result(self, block: ToolResultBlock) -> list[TurnEvent]:
        tool = self._tools.get(block.tool_use_id)
        if tool is None:
            return []
        state = "failed" if block.is_error else "done"
        summary = tool.summary
        if tool.name == "AskUserQuestion" and (told := answers_summary(block.content)):
            summary = told  # or what the person has said would stand nowhere in the notebook
        return [ToolUse(self.turn, tool.id, tool.name, summary, state)]  # type: ignore[arg-type]


def retry_notice(data: dict[str, Any]) -> str:
    """Return what to show while the CLI waits before it tries a failed request again."""
    attempt, most = data.get("attempt"), data.get("max_retries")
    seconds = float(data.get("retry_delay_ms") or 0) / 1000
    why = data.get("error_status") or data.get("error") or "no answer"
    tries = f"attempt {attempt} of {most}"
    return f"The endpoint answered {why}; trying again in {seconds:.0f} s ({tries})."
