"""A request as the policy's tables get it, and as they leave it: what both kinds of clients share.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .socket_looks import Look
from .socket_reading import (
    IMAGE_ID,
    Check,
    Reference,
    Refused,
    anything_matching,
    each,
    fields,
    mapping,
    never,
    one_of,
    reference,
    text,
)
from .socket_rules import OWNER, Rules, Who


@dataclass(frozen=True)
class Request:
    """What a client sent.

    Attributes:
        method: GET, POST and so on.
        target: path and query, as sent.
        body: all of it; empty for a build, whose context is read elsewhere.
        upgrade: whether the connection is to become a plain stream (attach, exec).
    """

    method: str
    target: str
    body: bytes = b""
    upgrade: bool = False


@dataclass(frozen=True)
class Allowed:
    """What is to be asked of the Engine.

    Attributes:
        method: as the client's.
        path: with ``{}`` for what each look without ``into`` finds, in order.
        query: its arguments.
        body: a JSON object, or None for none.
        looks: what is to be asked before, in order.
        shown: which filter the answer goes through (``socket_answers``); empty for none.
        upgrade: whether the connection becomes a stream.
        counted: whether the client's other requests of this kind wait, since things are counted.
        context: the name of the Dockerfile, for a build; empty otherwise.
        pulls: whether the registry's sign-in of the client is passed on.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    looks: tuple[Look, ...] = ()
    shown: str = ""
    upgrade: bool = False
    counted: bool = False
    context: str = ""
    pulls: bool = False


@dataclass(frozen=True)
class Ask:
    """A request whose target was read, as the functions of the tables get it."""

    request: Request
    query: Mapping[str, str]
    who: Who
    rules: Rules

    def arguments(self, known: Mapping[str, Check]) -> dict[str, str]:
        """Return the query if it has known arguments only."""
        found = {}
        for key, value in self.query.items():
            if key not in known:
                raise Refused(f"The argument {key[:60]} is not open here: leave it out.")
            if value:
                found[key] = str(known[key](f"The argument {key}", value))
        return found

    def said(self, known: Mapping[str, Check]) -> dict[str, Any]:
        """Return the body if it has known fields only."""
        return fields("", mapping(self.request.body), known)


Do = Callable[..., Allowed]
"""Takes an Ask, and the names in its path."""

switch = one_of("1", "0", "true", "false", "True", "False")
figure = anything_matching(r"-?\d{1,10}", "a whole number")
time = anything_matching(r"[0-9A-Za-z:.+-]{1,40}", "a time")
keys = anything_matching(r"[a-z0-9,@\[\]^_-]{1,40}", "keys such as ctrl-p,ctrl-q")
LOGS: Mapping[str, Check] = {
    **dict.fromkeys(("follow", "stdout", "stderr", "timestamps", "details"), switch),
    "since": time,
    "until": time,
    "tail": anything_matching(r"all|\d{1,9}", "all, or a number of lines"),
}
ATTACH: Mapping[str, Check] = {
    **dict.fromkeys(("stream", "stdin", "stdout", "stderr", "logs"), switch),
    "detachKeys": keys,
}


def act(action: str, **known: Check) -> Do:
    """Return what is done to a container of the client's; a body, which old Engines took for
    settings, is not passed on."""

    def do(ask: Ask, name: str) -> Allowed:
        return Allowed(
            ask.request.method,
            f"/containers/{{}}/{action}".rstrip("/"),
            ask.arguments(known),
            looks=(Look("container", name, "own"),),
        )

    return do


def filtered(
    ask: Ask, query: dict[str, str], path: str, known: tuple[str, ...], shown: str
) -> Allowed:
    """Return a list of what is the client's; the answer is looked through once more."""
    asked = {
        key: sorted(values) if isinstance(values, dict) else each(text)(key, values)
        for key, values in mapping(query.pop("filters", "")).items()
    }
    if unknown := set(asked) - set(known):
        raise Refused(f"The filter {min(unknown)[:60]} is not open here: leave it out.")
    if ask.who.slug or shown == "containers":
        asked["label"] = [*asked.get("label", []), f"{OWNER}={ask.who.owner}"]
    if asked:
        query["filters"] = json.dumps(asked)
    return Allowed("GET", path, query, shown=shown)


def pulled(ask: Ask) -> Reference:
    """Return what a client wants to pull."""
    query = ask.arguments({"fromImage": text, "tag": text, "platform": never})
    name, tag = query.get("fromImage", ""), query.get("tag", "")
    if tag:
        name = f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}"
    return reference(name)


def pull(image: Reference, *looks: Look) -> Allowed:
    """Return a pull of one image."""
    # Without a tag, the Engine would pull all that there are.
    query = {"fromImage": image.repository, "tag": image.digest or image.tag}
    return Allowed("POST", "/images/create", query, looks=looks, pulls=True)


def image_look(name: str, must: str) -> Look:
    """Return a look at an image of that name, or ID."""
    if not IMAGE_ID.fullmatch(name):
        name = str(reference(name))
    return Look("image", name, must)
