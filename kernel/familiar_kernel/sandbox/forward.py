"""Messages between a client and an inner kernel, as frames. Pure functions and a few tables.

A message's body is passed on as it came; only its signature is made anew, since each side has a key
of its own. What comes from inside was made by anybody's code: its header is read, and its type must
be one that is expected. See the Jupyter messaging protocol, "The wire protocol".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

DELIMITER = b"<IDS|MSG>"
MARK = "familiar_mark"
"""The type of message by which the inner kernel marks how far its outputs have come."""
WELCOME = "iopub_welcome"

Frames = list[bytes]

TO_INNER = frozenset(
    {
        "execute_request",
        "complete_request",
        "inspect_request",
        "is_complete_request",
        "history_request",
        "comm_info_request",
        "kernel_info_request",
        "comm_open",
        "comm_msg",
        "comm_close",
    }
)
"""What a client's shell message may be to be passed on; another type gets no answer, as from
ipykernel."""
CONTROL_TO_INNER = frozenset(
    {
        "debug_request",
        "usage_request",
        "kernel_info_request",
        "complete_request",
        "inspect_request",
        "is_complete_request",
        "history_request",
        "comm_info_request",
        "execute_request",
        "create_subshell_request",
        "delete_subshell_request",
        "list_subshell_request",
    }
)
"""The same of the control channel, but for those that the outer kernel answers itself."""


PIECE = 64 << 10
"""Bytes of a stream message that is passed on; 1,000 may wait for a client that does not read."""
_STREAM = re.compile(rb'\{"name": ?"(?:stdout|stderr)", ?"text": ?"')
PROTOCOL = "5.4"
_WORD = re.compile(r"(?!\d{4}-\d\d?-\d\d?T)[A-Za-z0-9_.:-]{1,200}")
_VERSION = re.compile(r"\d{1,3}(?:\.\d{1,3}){1,2}")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)?")
_JSON = json.JSONDecoder()
_ID = re.compile(rb'("msg_id": ?")([^"\\]{1,200})(")')
_HIGH = (b"ud8", b"ud9", b"uda", b"udb")
"""How the first half of a pair of surrogates begins."""


class Body(NamedTuple):
    """A message without identities and signature: four JSON texts, and buffers."""

    header: bytes
    parent: bytes
    metadata: bytes
    content: bytes
    buffers: tuple[bytes, ...] = ()

    @property
    def signed(self) -> list[bytes]:
        """What a signature is made of."""
        return [self.header, self.parent, self.metadata, self.content]

    def frames(self, identities: Sequence[bytes], signature: bytes) -> Frames:
        """Return the message as it is sent."""
        return [*identities, DELIMITER, signature, *self.signed, *self.buffers]


def taken_apart(frames: Sequence[bytes]) -> tuple[Frames, Body]:
    """Return a message's identities and body.

    Raises:
        ValueError: it is no message.
    """
    at = list(frames).index(DELIMITER)
    rest = frames[at + 2 :]
    if len(rest) < 4:
        raise ValueError("a message needs four parts")
    return list(frames[:at]), Body(rest[0], rest[1], rest[2], rest[3], tuple(rest[4:]))


def is_plain_stream(content: bytes) -> bool:
    """Whether the content of a stream message is what ipykernel writes: JSON with a name and a
    text and nothing else, so that it need not be parsed."""
    begun = _STREAM.match(content)
    if begun is None or not content.endswith(b'"}'):
        return False
    try:
        text = content.decode()
        # The one text is read by json's own scanner, which is faster than an expression.
        _, end = _JSON.raw_decode(text, begun.end() - 1)
    except ValueError:
        return False
    return end == len(text) - 1


def pieces(body: Body, limit: int = PIECE) -> list[Body]:
    """Return a stream message as several, each with at most about so many bytes of text.

    A queue of messages is bounded in their number; so it is bounded in bytes too. The text is cut
    as it stands, in JSON: never inside an escape, a character or a pair of surrogates.
    """
    begun = _STREAM.match(body.content)
    if len(body.content) <= limit or begun is None or not body.content.endswith(b'"}'):
        return [body]
    start, text = begun.end(), body.content
    end = len(text) - 2
    found: list[Body] = []
    while start < end:
        cut = _cut(text, start, min(start + limit, end), end)
        content = begun[0] + text[start:cut] + b'"}'
        header = body.header
        if found:
            # Each message has an id of its own.
            header = _ID.sub(rb"\g<1>\g<2>-%d\g<3>" % len(found), header, count=1)
        found.append(body._replace(header=header, content=content))
        start = cut
    return found


def _cut(text: bytes, start: int, at: int, end: int) -> int:
    """Return where a JSON text can be cut, at or before a place; at least one character on."""
    while at < end:
        # The whole of an escape, such as \\n or \\ud83d, and of the pair that it may be half of.
        lowest = max(start, at - 12)
        slash = text.rfind(b"\\", lowest, at)
        if slash >= 0:
            run = slash
            while run > start and text[run - 1] == 0x5C:
                run -= 1
            if (slash - run) % 2 == 0 and at < slash + (6 if text[slash + 1] == 0x75 else 2):
                at = slash
                continue
            if (slash - run) % 2 == 0 and text[slash + 1 : slash + 4].lower() in _HIGH:
                at = slash
                continue
        while start < at < end and text[at] & 0xC0 == 0x80:
            at -= 1
        break
    return at if at > start else end


def read(part: bytes) -> dict[str, Any]:
    """Return a part of a message that should be a JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        # Of bytes Python would also take what is UTF-16, which others do not.
        value = json.loads(part.decode("utf-8"), parse_constant=_refused)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _refused(name: str) -> None:
    """Refuse what Python reads as a number and no other program does.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is no number in JSON")


def sound_header(header: dict[str, Any]) -> bytes:
    """Return a header anew, with what the protocol knows and in the form that any client can read:
    jupyter_client takes every text that looks like a date for one, and fails on a wrong one.

    Raises:
        ValueError: it has no id or no type.
    """
    made = {name: _word(header.get(name)) for name in ("msg_id", "msg_type")}
    if not all(made.values()):
        raise ValueError("it has no id or no type")
    made |= {name: _word(header.get(name)) for name in ("session", "username")}
    if (shell := _word(header.get("subshell_id"))) and "subshell_id" in header:
        made["subshell_id"] = shell
    version, date = header.get("version"), header.get("date")
    known = isinstance(version, str) and _VERSION.fullmatch(version)
    made["version"] = str(version) if known else PROTOCOL
    made["date"] = date if isinstance(date, str) and _is_date(date) else _now()
    return written(made)


def _word(value: Any) -> str:
    """Return a name or an id, or nothing where it is none."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat()


def written(value: dict[str, Any]) -> bytes:
    """Return a part of a message."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def kind_of(header: dict[str, Any]) -> str:
    """Return a message's type, or nothing."""
    kind = header.get("msg_type")
    return kind if isinstance(kind, str) else ""


def id_of(header: dict[str, Any]) -> str:
    """Return a message's id, or nothing."""
    found = header.get("msg_id")
    return found if isinstance(found, str) else ""


def reply_to(kind: str) -> str:
    """Return the type of the reply to a request, or nothing where none comes."""
    return f"{kind.removesuffix('_request')}_reply" if kind.endswith("_request") else ""
