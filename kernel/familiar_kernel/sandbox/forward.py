"""Messages between a client and an inner kernel, as frames. Pure functions and a few tables.

A message's body is passed on as it came; only its signature is made anew, since each side has a key
of its own. What comes from inside was made by anybody's code: its header is read, and its type must
be one that is expected. See the Jupyter messaging protocol, "The wire protocol".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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


def read(part: bytes) -> dict[str, Any]:
    """Return a part of a message that should be a JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(part)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


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
