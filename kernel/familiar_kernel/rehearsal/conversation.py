"""What has been said so far, read from one request to the Messages API.

Every request carries the whole conversation, so the rehearsal remembers exactly what its client
sends and nothing else: a fresh session knows nothing, and a resumed one knows what it knew. A
conversation is a row of moments. Each is a point at which it was the model's turn to speak: after a
prompt, or after the results of its tools.

The Claude Code CLI puts things of its own between the person's words (reminders, notes on commands,
marks of an interruption), asks a model to go on that broke off, and makes requests of its own (a
title for the session, a summary to compact it). All that is recognised here, and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


class BadRequest(ValueError):
    """A request that the Messages API would refuse as well; its text says why."""


@dataclass(frozen=True)
class ToolResult:
    """What a tool of the client gave back."""

    id: str
    name: str
    text: str
    is_error: bool


@dataclass
class Moment:
    """A point at which the model was to speak."""

    turn: int
    """The number of the prompt this belongs to, from 1; 0 before there was any."""
    prompt: str
    results: tuple[ToolResult, ...] = ()
    """The tool results that came back just now; none where the moment follows a prompt."""
    answer: str = ""
    """What the model said then."""
    answered: bool = False


@dataclass(frozen=True)
class Conversation:
    """Everything that a request tells about the conversation."""

    moments: tuple[Moment, ...]
    model: str
    session: str
    summary: str = ""
    """What a compacted session knows of its past."""
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def now(self) -> Moment:
        """The moment to be answered."""
        return self.moments[-1]

    def said_before(self) -> Iterable[str]:
        """Yield every text before the present prompt: prompts, answers, a summary."""
        if self.summary:
            yield self.summary
        for moment in self.moments[:-1]:
            if moment.turn != self.now.turn and not moment.results:
                yield moment.prompt
            if moment.answered:
                yield moment.answer


_REMINDER = re.compile(
    r"\s*<system-reminder>(?:(?!<system-reminder>).)*?</system-reminder>\s*", re.DOTALL
)
_NOTE = re.compile(
    r"\s*(?:<(?P<tag>command-name|command-message|command-args|local-command-stdout|local-command-stderr"
    r"|local-command-caveat|bash-input|bash-stdout|bash-stderr|task-notification|notebook-context)>"
    r".*</(?P=tag)>"
    r"|<command-name>.*</command-args>"
    r"|\[Request interrupted by user(?: for tool use)?\]"
    r"|Continue from where you left off\.)\s*",
    re.DOTALL,
)
_GO_ON = (
    "Your response above was cut off mid-stream.",
    "Your response above was stopped by a safety classifier",
    "Output token limit hit. Resume directly",
    "[Your previous response had no visible output.",
)
"""How the CLI asks for the rest of an answer: to the rehearsal the same prompt once more."""
_CONTINUED = "This session is being continued from a previous conversation"
_COMPACT = re.compile(r"\bsummary of (?:the|this|our) (?:conversation|portion)|<summary>")


def read(request: Any, session: str = "") -> Conversation:
    """Read the conversation from a request's JSON.

    Args:
        request: the body of a POST to ``/v1/messages``.
        session: the session's id where a header names it; the body's metadata is asked otherwise.

    Raises:
        BadRequest: the request is not one that the Messages API accepts.
    """
    if not isinstance(request, dict):
        raise BadRequest("the body must be a JSON object")
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("model: Field required")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: at least one message is required")
    reader = _Reader()
    for index, message in enumerate(messages):
        reader.take(message, f"messages.{index}")
    reader.finish()
    return Conversation(
        tuple(reader.moments), model, session or _session(request), reader.summary, request
    )


def _session(request: Mapping[str, Any]) -> str:
    """The session's id, which the CLI hides as JSON in ``metadata.user_id``."""
    metadata = request.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user, str):
        return ""
    try:
        told = json.loads(user)
    except ValueError:
        return user
    return str(told.get("session_id", user)) if isinstance(told, dict) else user


class _Reader:
    """Walks the messages and makes moments of them."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.summary = ""
        self.turn = 0
        self.tools: dict[str, str] = {}
        self.unread = ""
        """The last text that was taken for a note of the CLI's."""

    def finish(self) -> None:
        """See that there is something to answer: with nothing else said, a note is the prompt."""
        if not self.moments or self.moments[-1].answered:
            self.moments.append(Moment(self.turn + 1, self.unread))

    def take(self, message: Any, where: str) -> None:
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant", "system"):
            raise BadRequest(f"{where}.role: must be user, assistant or system")
        blocks = _blocks(message.get("content"), where)
        if role == "assistant":
            self.take_answer(blocks)
        elif role == "user":
            self.take_user(blocks)

    def take_answer(self, blocks: list[dict[str, Any]]) -> None:
        if not self.moments:
            self.moments.append(Moment(0, ""))
        moment = self.moments[-1]
        moment.answered = True
        for block in blocks:
            if block.get("type") == "text":
                moment.answer += str(block.get("text", ""))
            elif block.get("type") == "tool_use":
                self.tools[str(block.get("id"))] = str(block.get("name", ""))

    def take_user(self, blocks: list[dict[str, Any]]) -> None:
        results = tuple(
            ToolResult(
                id=str(block.get("tool_use_id", "")),
                name=self.tools.get(str(block.get("tool_use_id", "")), ""),
                text=_result_text(block.get("content")),
                is_error=bool(block.get("is_error")),
            )
            for block in blocks
            if block.get("type") == "tool_result"
        )
        if results:
            prompt = self.moments[-1].prompt if self.moments else ""
            self.moments.append(Moment(self.turn, prompt, results))
        # Prompts that had no answer come joined in one message: each block is a prompt, and where
        # two of them meet the CLI has put a newline.
        texts = [str(block.get("text", "")) for block in blocks if block.get("type") == "text"]
        for text in (*(text.removesuffix("\n") for text in texts[:-1]), *texts[-1:]):
            if text.startswith(_CONTINUED):
                self.summary += text
                continue
            if text.startswith(_GO_ON) and self.moments:
                self.moments.append(Moment(self.turn, self.moments[-1].prompt))
                continue
            said = spoken(text)
            if said is None:
                self.unread = text
            else:
                self.turn += 1
                self.moments.append(Moment(self.turn, said))


def spoken(text: str) -> str | None:
    """Return what the person said in a block of text, or None where the block is all the CLI's own.

    Reminders around the person's words are taken off; the words themselves are not touched.
    """
    if _NOTE.fullmatch(text):
        return None
    rest = text
    while found := _REMINDER.match(rest):
        rest = rest[found.end() :]
    if text and not rest:
        return None
    # From the end, the last opening tag begins the reminder, whatever the person said before.
    while rest.rstrip().endswith("</system-reminder>"):
        start = rest.rfind("<system-reminder>")
        if start <= 0 or rest[start - 1] != "\n":
            break
        rest = rest[:start].removesuffix("\n")
    return rest


def _blocks(content: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise BadRequest(f"{where}.content: must be text or a list of content blocks")
    return content


def _result_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(
        str(block.get("text", ""))
        for block in blocks
        if isinstance(block, dict) and block.get("type") == "text"
    )


# -------------------------------------------------------------------------------------------------
# The CLI's own requests
# -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SideCall:
    """A request that the CLI makes for itself, and the text that satisfies it."""

    kind: str
    answer: str


def side_call(conversation: Conversation, said: Iterable[str] = ()) -> SideCall | None:
    """Recognise a request that is no part of the conversation, such as one for the session's title.

    Args:
        conversation: the request, read.
        said: ids of the rules that have spoken so far, for a summary to hand on.
    """
    request = conversation.request
    output = request.get("output_config")
    wanted = output.get("format") if isinstance(output, dict) else None
    if (
        isinstance(wanted, dict)
        and wanted.get("type") == "json_schema"
        and not request.get("tools")
    ):
        return SideCall("structured", json.dumps(_sample(wanted.get("schema"))))
    if request.get("max_tokens") == 1:
        return SideCall("probe", "R")
    prompt = conversation.now.prompt
    if prompt.startswith("CRITICAL: Respond with TEXT ONLY") and _COMPACT.search(prompt):
        return SideCall("compact", _summary(conversation, said))
    return None


_REMEMBERED = re.compile(r"^Rules rehearsed so far: (.*)$", re.MULTILINE)


def remembered(summary: str) -> list[str]:
    """Return the ids of the rules that a summary of the rehearsal's own hands on."""
    return [name for line in _REMEMBERED.findall(summary) for name in line.split(", ") if name]


def _summary(conversation: Conversation, said: Iterable[str]) -> str:
    lines = [f"Rules rehearsed so far: {', '.join(said)}"]
    for moment in conversation.moments[:-1]:
        if not moment.results:
            lines.append(f"- The person said: {_short(moment.prompt)}")
        if moment.answer:
            lines.append(f"  The rehearsal answered: {_short(moment.answer)}")
    return (
        "<analysis>The rehearsal sums up.</analysis>\n<summary>\n"
        + "\n".join(lines)
        + "\n</summary>"
    )


def _short(text: str, longest: int = 2000) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _sample(schema: Any) -> Any:
    """Return a small value that a JSON schema of the plain kind allows."""
    if not isinstance(schema, dict):
        return None
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            properties = schema.get("properties")
            return {key: _sample(value) for key, value in (properties or {}).items()}
        case "array":
            return []
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return "Rehearsal session"
