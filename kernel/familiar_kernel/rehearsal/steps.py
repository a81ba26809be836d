"""The steps of a reply: what a rule may say or do, and how that is read.

A reply is a list of steps, played in order. In YAML a step is a mapping with exactly one kind, such
as ``text`` or ``silence``, and beside it the settings which that kind has.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from .templates import NAMES, references
from .validation import Place

LONGEST_SILENCE = 86_400.0
"""Seconds; a day of silence is a typing mistake."""
LARGEST_TEXT = 64 * 1024 * 1024
"""Characters that one text step may come to with ``repeat``."""


@dataclass(frozen=True)
class Text:
    """Text or thinking, in pieces of ``chunk`` characters with ``delay`` seconds before each."""

    text: str
    thinking: bool = False
    chunk: int = 24
    delay: float = 0.0
    repeat: int = 1
    split_utf8: bool = False
    literal: bool = False


@dataclass(frozen=True)
class Echo:
    """The prompt exactly as it was received: itself, or as a JSON string."""

    form: Literal["verbatim", "json"] = "verbatim"
    chunk: int = 24
    delay: float = 0.0
    split_utf8: bool = False


@dataclass(frozen=True)
class ToolUse:
    """A call of one of the client's tools."""

    name: str
    input: dict[str, Any]


@dataclass(frozen=True)
class Error:
    """An API error: as an HTTP status if it comes first, otherwise as an event in the stream."""

    status: int
    type: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Silence:
    """Nothing at all for some seconds, with the connection open."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """The connection closes here, without the end of the answer."""


@dataclass(frozen=True)
class Raw:
    """Bytes put into the stream as they are."""

    data: bytes


@dataclass(frozen=True)
class StopReason:
    """Why the answer ends, where that is not the usual reason."""

    reason: str


@dataclass(frozen=True)
class Usage:
    """Token counts to report, where they are not to be estimated."""

    tokens: dict[str, int]


Step = Text | Echo | ToolUse | Error | Silence | Cut | Raw | StopReason | Usage
Reply = tuple[Step, ...]


MALFORMED: dict[str, bytes] = {
    "json": b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": \n\n',
    "utf8": (
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
        b'"delta": {"type": "text_delta", "text": "\xc3\x28\xff"}}\n\n'
    ),
    "event": b'event: rehearsal_surprise\ndata: {"type": "rehearsal_surprise"}\n\n',
    "index": (
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 99, '
        b'"delta": {"type": "text_delta", "text": "?"}}\n\n'
    ),
    "html": b"<html><body><h1>502 Bad Gateway</h1></body></html>\n\n",
}
"""Ready-made broken events: no JSON, no UTF-8, unknown type, a block that never began, no event."""

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The type that the Messages API gives with each status."""


@dataclass(frozen=True)
class Pace:
    """How text is sent where its step does not say."""

    chunk: int = 24
    delay: float = 0.0
    split_utf8: bool = False


PACE = ("chunk", "delay_ms", "split_utf8")
KINDS: dict[str, tuple[str, ...]] = {
    "text": (*PACE, "repeat", "literal"),
    "thinking": (*PACE, "repeat", "literal"),
    "echo": PACE,
    "tool_use": (),
    "error": (),
    "silence": (),
    "cut": (),
    "malformed": (),
    "raw": (),
    "stop_reason": (),
    "usage": (),
}
"""The kinds of step, and what may stand beside each."""


def read_pace(fields: dict[str, Place], base: Pace) -> Pace:
    """Return the pace that the fields of a mapping give, and the ``base`` where they are silent."""
    return Pace(
        chunk=fields["chunk"].whole(1, 1_000_000) if "chunk" in fields else base.chunk,
        delay=fields["delay_ms"].number(0, 600_000) / 1000 if "delay_ms" in fields else base.delay,
        split_utf8=fields["split_utf8"].flag() if "split_utf8" in fields else base.split_utf8,
    )


def read_reply(place: Place, pace: Pace, groups: dict[str, re.Pattern[str]]) -> Reply:
    if isinstance(place.value, str):
        _check_template(place, place.value, groups)
        return (Text(place.value, chunk=pace.chunk, delay=pace.delay, split_utf8=pace.split_utf8),)
    steps = tuple(_step(item, pace, groups) for item in place.items())
    if not steps:
        raise place.error("must have at least one step")
    return steps


def _step(place: Place, pace: Pace, groups: dict[str, re.Pattern[str]]) -> Step:
    kinds = [key for key in place.value if key in KINDS] if isinstance(place.value, dict) else []
    if len(kinds) != 1:
        raise place.error(f"must be a mapping with exactly one of {', '.join(KINDS)}")
    kind = kinds[0]
    fields = place.mapping((kind, *KINDS[kind]))
    here = fields[kind]
    pace = read_pace(fields, pace)
    match kind:
        case "text" | "thinking":
            return _text(here, kind == "thinking", fields, pace, groups)
        case "echo":
            form: Literal["verbatim", "json"] = "verbatim"
            if here.value is not True and here.choice(("verbatim", "json")) == "json":
                form = "json"
            return Echo(form, pace.chunk, pace.delay, pace.split_utf8)
        case "tool_use":
            return _tool_use(here, groups)
        case "error":
            return _error(here)
        case "silence":
            return Silence(here.number(0, LONGEST_SILENCE))
        case "cut":
            if here.value is not True:
                raise here.error("must be true")
            return Cut()
        case "malformed":
            return Raw(MALFORMED[here.choice(tuple(MALFORMED))])
        case "raw":
            return Raw(_bytes(here))
        case "stop_reason":
            return StopReason(here.text(empty=False))
        case _:
            tokens = here.mapping(_TOKENS)
            return Usage({name: value.whole(0, 10**9) for name, value in tokens.items()})


_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


def _text(
    place: Place,
    thinking: bool,
    fields: dict[str, Place],
    pace: Pace,
    groups: dict[str, re.Pattern[str]],
) -> Text:
    text = place.text()
    literal = fields["literal"].flag() if "literal" in fields else False
    if not literal:
        _check_template(place, text, groups)
    repeat = fields["repeat"].whole(1, LARGEST_TEXT) if "repeat" in fields else 1
    if len(text) * repeat > LARGEST_TEXT:
        raise fields["repeat"].error(f"comes to more than {LARGEST_TEXT} characters")
    return Text(text, thinking, pace.chunk, pace.delay, repeat, pace.split_utf8, literal)


def _check_template(place: Place, text: str, groups: dict[str, re.Pattern[str]]) -> None:
    """Refuse ``{match[2]}`` where the rule's condition has no second group."""
    for name, group in references(text):
        if group is None:
            continue
        pattern = groups.get(name)
        written = f"{{{name}[{group}]}}"
        if pattern is None:
            raise place.error(
                f"uses {written}, but the rule has no condition that gives it ({NAMES[name]})"
            )
        known = int(group) <= pattern.groups if group.isdigit() else group in pattern.groupindex
        if not known:
            raise place.error(
                f"uses {written}, but the pattern {pattern.pattern!r} has no such group"
            )


def _tool_use(place: Place, groups: dict[str, re.Pattern[str]]) -> ToolUse:
    fields = place.mapping(("name", "input"))
    if "name" not in fields:
        raise place.error("has no name")
    value: Any = fields["input"].value if "input" in fields else {}
    if not isinstance(value, dict):
        raise fields["input"].error("must be a mapping, the tool's input")
    _check_input(fields.get("input", place), value, groups)
    return ToolUse(fields["name"].text(empty=False), value)


def _check_input(place: Place, value: Any, groups: dict[str, re.Pattern[str]]) -> None:
    def inner(key: str | int, item: Any) -> Place:
        return Place(place.document, (*place.path, key), item)

    if isinstance(value, str):
        _check_template(place, value, groups)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_input(inner(key, item), item, groups)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_input(inner(index, item), item, groups)
    elif not isinstance(value, (int, float, bool, type(None))):
        raise place.error(
            f"must be what JSON can hold, not a {type(value).__name__}; put it in quotes"
        )


def _error(place: Place) -> Error:
    fields = place.mapping(("status", "type", "message", "headers"))
    if "status" not in fields:
        raise place.error("has no status")
    status = fields["status"].whole(400, 599)
    headers: dict[str, str] = {}
    if "headers" in fields:
        given = fields["headers"]
        if not isinstance(given.value, dict):
            raise given.error("must be a mapping of header names to text")
        for name, item in given.mapping(tuple(map(str, given.value))).items():
            headers[name] = str(item.value) if isinstance(item.value, int) else item.text()
            if name.lower() in ("content-length", "transfer-encoding", "connection"):
                raise item.error(
                    "belongs to the connection and cannot be scripted; to break it, use cut"
                )
            if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
                raise item.error("is not the name of an HTTP header")
            if not re.fullmatch(r"[\x20-\x7e\t]*", headers[name]):
                raise item.error("must be printable ASCII on one line")
    return Error(
        status,
        fields["type"].text(empty=False)
        if "type" in fields
        else ERROR_TYPES.get(status, "api_error"),
        fields["message"].text()
        if "message" in fields
        else f"The rehearsal plays an error {status}.",
        headers,
    )


def _bytes(place: Place) -> bytes:
    if isinstance(place.value, str):
        return place.value.encode("utf-8")
    fields = place.mapping(("hex", "base64"))
    if len(fields) != 1:
        raise place.error("must be text or have exactly one of hex, base64")
    ((form, value),) = fields.items()
    try:
        if form == "hex":
            return bytes.fromhex(value.text())
        return base64.b64decode(value.text(), validate=True)
    except (ValueError, binascii.Error) as err:
        raise value.error(f"is not valid {form}: {err}") from err
