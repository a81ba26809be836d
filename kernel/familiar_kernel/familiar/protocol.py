"""What travels on the link: one JSON object a line, each line one of the messages below.

The kernel and its host share nothing but this module. It knows neither the kernel's side
(ipykernel) nor the host's side (claude-agent-sdk), so both can import it and either can be
replaced.

A message is a dataclass, never changed once made. On the wire it is its fields plus ``"type"``, the
class's name. Unknown fields are dropped on arrival, so that a kernel and a host of neighbouring
versions understand each other; an unknown type is a :class:`ProtocolError`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, dataclass_transform

PROTOCOL_VERSION = 1
"""Both sides name it in their first message; see :class:`Start` and :class:`Ready`."""

PERMISSION = "permission"
"""The call by which the person is asked whether another tool may be used: its arguments are
``tool``, ``input`` and ``title``. The result's text is empty for yes, or says why not."""
QUESTION = "question"
"""The call by which the person is asked what Claude wants to know: its argument ``questions`` is
AskUserQuestion's. The result's text is a JSON object, question to answer; or, where it failed, why
there is none."""

Outcome = Literal["complete", "stopped", "failed"]
"""How a turn ended: with its whole answer, by the person's Stop, or by an error."""


_T = TypeVar("_T")


class ProtocolError(ValueError):
    """A line on the link that is no message: not JSON, or of no type that this version knows."""


class _Message:
    """What dataclasses bring by themselves, once for all: made for each class, it would take each
    kernel's start two milliseconds longer."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({vars(self)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


@dataclass_transform()
def _message(cls: type[_T]) -> type[_T]:
    return dataclass(eq=False, repr=False)(cls)


# -- From the kernel to its host --


@_message
class Start(_Message):
    """The first line on every link: which session the host holds, and with which settings.

    ``resume`` says that the session exists already (an earlier host of this kernel made it), which
    is state of its own: a first turn that was killed leaves a session behind as well.
    """

    session_id: str
    settings: dict[str, Any]
    resume: bool = False
    protocol: int = PROTOCOL_VERSION


@_message
class Prompt(_Message):
    """Begin a turn. Turns run one at a time, in the order in which their prompts arrive."""

    turn: str
    """A UUID made by the kernel; every event of the turn carries it."""
    text: str
    options: dict[str, Any] = field(default_factory=dict)
    """What holds for this turn only: ``model``, ``effort``, ``thinking``."""
    context: str = ""
    """What has happened in the notebook since the last turn, for Claude to know; see
    :mod:`familiar_kernel.context`."""
    number: int = 1
    """Which turn of the session this is, from 1; the kernel counts, since it outlives its hosts."""


@_message
class Interrupt(_Message):
    """Stop a turn, whether it runs or still waits. Of a turn that has ended it is ignored."""

    turn: str


@_message
class Configure(_Message):
    """Change settings that hold from the next turn on (``model``, ``effort``, ``thinking``)."""

    settings: dict[str, Any]


@_message
class Ask(_Message):
    """A question to the host; answered by :class:`Reply` with the same ``id``.

    ``status`` and ``auth`` are about itself. ``sessions`` lists those of the working directory;
    ``messages`` returns one session's conversation and ``fork`` copies it (``session_id``).
    """

    id: str
    what: Literal["status", "auth", "sessions", "messages", "fork"]
    arguments: dict[str, Any] = field(default_factory=dict)


@_message
class Reset(_Message):
    """Forget the conversation: end the session at once and hold another one, under
    ``session_id``."""

    session_id: str
    resume: bool = False
    """Whether that one exists."""


@_message
class Reconnect(_Message):
    """Start the CLI anew and resume the session, for example after a sign-in."""


@_message
class CallResult(_Message):
    """What came of a :class:`Call`, for Claude to read."""

    id: str
    content: list[dict[str, Any]]
    """MCP content blocks: ``{"type": "text", "text": ...}`` or ``{"type": "image", "data": base64,
    "mimeType": ...}``."""
    failed: bool = False


# -- From the host to the kernel --


@_message
class Ready(_Message):
    """The host is up and its CLI answers. ``facts`` are for people: versions, paths, endpoint,
    pids."""

    facts: dict[str, Any]
    protocol: int = PROTOCOL_VERSION


@_message
class TurnStarted(_Message):
    """The turn has left the queue and is with Claude."""

    turn: str


@_message
class MessageBegan(_Message):
    """The model starts one of the messages of which a turn is made (thinking, text and tools
    follow).

    With ``again`` the message under way was cut off and is now told anew: whatever the turn has
    brought since the MessageBegan before this one is void and is to be dropped from the answer.
    """

    turn: str
    again: bool = False


@_message
class ThinkingDelta(_Message):
    """More of Claude's thinking, to be appended."""

    turn: str
    text: str


@_message
class TextDelta(_Message):
    """More of the answer's Markdown, to be appended."""

    turn: str
    text: str


@_message
class ToolUse(_Message):
    """A tool that Claude uses: once when it starts and once more, with the same ``id``, when it
    ends."""

    turn: str
    id: str
    name: str
    """The tool's name as people know it: ``Bash``, ``Read``, ``WebSearch``."""
    summary: str
    """One line that says on what: a command, a path, a query. Plain text, not Markdown; never empty
    lines."""
    state: Literal["running", "done", "failed"]


@_message
class Notice(_Message):
    """Something to show while the turn goes on and to forget afterwards, such as a retry."""

    turn: str
    text: str


@_message
class Call(_Message):
    """Claude uses a tool that the kernel serves, since that is where the data and the person are.

    Whoever waits for the turn serves it and answers with a :class:`CallResult` of the same ``id``,
    unless the turn ends first.
    """

    turn: str
    id: str
    name: str
    """A tool of :mod:`familiar_kernel.familiar.tools`, without a prefix; or :data:`PERMISSION`."""
    arguments: dict[str, Any]


@_message
class ToolUsed(_Message):
    """A tool was used that nobody was asked about, for the record."""

    turn: str
    tool: str
    """The CLI's name of the tool."""
    input: dict[str, Any]
    mode: str
    """The CLI's permission mode at the time."""


@_message
class TurnFinished(_Message):
    """The last event of a turn. Exactly one is sent for every :class:`Prompt`."""

    turn: str
    outcome: Outcome
    error: dict[str, Any] | None = None
    """For ``failed``: ``kind`` (a name in :mod:`familiar_kernel.familiar.errors`), ``message`` (one
    sentence), ``advice`` (what to do next), ``details`` (stderr and the like, may be empty)."""
    number: int = 0
    """The prompt's ``number``."""
    session_id: str = ""
    model: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    """Tokens of this turn: ``input_tokens``, ``output_tokens``, ``cache_read_input_tokens``,
    ``cache_creation_input_tokens``."""
    cost_usd: float | None = None
    """What this turn cost, in US dollars, or None where the CLI names no cost."""
    seconds: float = 0.0
    rehearsal: bool = False
    """Whether the rehearsal answered, and not Claude."""
    thought: bool = False
    """Whether any thinking came."""
    endpoint: str = ""
    """The other server that answered, as the settings name it; empty for the usual one."""


@_message
class Reply(_Message):
    """The answer to an :class:`Ask`."""

    id: str
    value: dict[str, Any]


@_message
class HostFailed(_Message):
    """The host cannot serve (no CLI, no start before the deadline, ...); ``error`` as in
    TurnFinished."""

    error: dict[str, Any]


TurnEvent = TurnStarted | MessageBegan | ThinkingDelta | TextDelta | ToolUse | Notice | TurnFinished
Message = (
    Start | Prompt | Interrupt | Configure | Ask | Reset | Reconnect | CallResult
    | Ready | TurnEvent | Call | ToolUsed | Reply | HostFailed
)  # fmt: skip

_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in Message.__args__}
_FIELDS = {name: frozenset(f.name for f in dataclasses.fields(cls)) for name, cls in _TYPES.items()}


def encode(message: Message) -> bytes:
    """Return the message as one line of ASCII JSON, newline included.

    ASCII, because JSON's escapes carry lone surrogates and half characters that UTF-8 refuses.
    """
    return json.dumps({"type": type(message).__name__, **vars(message)}).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """Return the message that a line holds.

    Raises:
        ProtocolError: the line is not a JSON object, its type is unknown or a field is missing.
    """
    try:
        data = json.loads(line)
        name = data.pop("type")
        known = _FIELDS[name]
        message: Message = _TYPES[name](**{k: v for k, v in data.items() if k in known})
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise ProtocolError(
            f"not a message of the familiar's link: {line[:200]!r} ({err})"
        ) from err
    return message
