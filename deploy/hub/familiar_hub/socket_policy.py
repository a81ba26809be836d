"""What a client of the Engine's socket may ask: one table for the hub, one for people.

``judge`` takes a request and returns what is to be asked of the Engine in its place, or raises
``Refused``. Nothing of the client's own request is passed on: path, query and body are written from
what was read (see ``socket_reading``), so that the Engine cannot read more into it. Whose a thing
is only the Engine knows; a request that names one therefore comes with ``Look``s, questions that
are asked first. They answer with IDs, which then stand where the client wrote names. Pure: the
proxy asks, and ``socket_looks`` says what, and what an answer means.
"""

from __future__ import annotations

import re
from dataclasses import replace

from . import socket_people
from .socket_container import container, volume_name
from .socket_looks import Look
from .socket_reading import (
    Check,
    Missing,
    Refused,
    mapping,
    named,
    never,
    one_of,
    reference,
    target,
    text,
)
from .socket_requests import (
    LOGS,
    Allowed,
    Ask,
    Do,
    Request,
    act,
    figure,
    filtered,
    image_look,
    keys,
    pull,
    pulled,
    switch,
)
from .socket_rules import HUB, Rules, Who, labelled

LARGEST_BODY = {False: 1 << 20, True: 256 << 10}
"""Bytes of a request's body, the hub's and a person's, but for a build's. The Engine keeps much of
what it is told, and nobody counts that."""

__all__ = ["Allowed", "Request", "body_limit", "judge"]

# -- what both may ---------------------------------------------------------------------------------


def _shown(path: str, shown: str) -> Do:
    def answer(ask: Ask) -> Allowed:
        ask.arguments({})
        return Allowed(ask.request.method, path, shown=shown)

    return answer


def _create(ask: Ask) -> Allowed:
    name = ask.arguments({"name": text, "platform": never}).get("name", "")
    made = container(mapping(ask.request.body), name, ask.who, ask.rules)
    looks: list[Look] = []
    if ask.who.slug:
        looks += [Look("container", "", "room"), image_look(made.image, "runs")]
        looks += [Look("network", made.network, "made")] if made.network else []
    elif reference(made.image) not in ask.rules.images:
        raise Refused(f"{made.image[:80]!r} is no image of a lab: name it in the hub's settings.")
    if made.person:
        looks.append(Look("person", made.person, "open"))
    volumes = [name for name in made.volumes if name != ask.rules.shared or ask.who.slug]
    looks += [Look("volume", name, "made") for name in volumes]
    # What a look finds is only to be there.
    unused = tuple(replace(look, into=None) for look in looks)
    query = {"name": name} if name else {}
    return Allowed(
        "POST", "/containers/create", query, made.body, unused, counted=bool(ask.who.slug)
    )


_removal = act("", v=switch, force=switch, link=one_of("0", "false", "False"))


def _remove(ask: Ask, name: str) -> Allowed:
    allowed = _removal(ask, name)
    # A volume without a name has no owner: its person could neither see it later nor remove it.
    return replace(allowed, query={**allowed.query, "v": "1"}) if ask.who.slug else allowed


def _list_containers(ask: Ask) -> Allowed:
    query = ask.arguments(
        {"all": switch, "size": switch, "limit": figure, "filters": text, "trunc_cmd": figure}
    )
    known = ("ancestor", "exited", "health", "id", "label", "name", "network", "status", "volume")
    return filtered(ask, query, "/containers/json", known, "containers")


def _list_volumes(ask: Ask) -> Allowed:
    query = ask.arguments({"filters": text})
    return filtered(ask, query, "/volumes", ("dangling", "label", "name", "driver"), "volumes")


def _create_volume(ask: Ask) -> Allowed:
    known: dict[str, Check] = {
        "Name": volume_name(ask.who, ask.rules),
        "Driver": one_of("local"),
        "DriverOpts": never,
        "Labels": named(text, text),
        "ClusterVolumeSpec": never,
    }
    body = ask.said(known)
    if "Name" not in body:
        prefix = ask.who.prefix if ask.who.slug else ask.rules.prefix
        raise Refused(f"Name is missing: begin the volume's name with {prefix}")
    body["Labels"] = labelled("Labels", body.get("Labels", {}), ask.who)
    if body["Name"] == ask.rules.shared:
        raise Refused("The shared volume is made by operators only.")
    # Where there is one of that name the Engine answers with it; so it has to be the client's.
    looks = (Look("volume", body["Name"], "free", into=None),)
    return Allowed("POST", "/volumes/create", {}, body, looks, counted=bool(ask.who.slug))


def _volume(ask: Ask, name: str) -> Allowed:
    query = ask.arguments({"force": switch})
    try:
        volume_name(ask.who, ask.rules)("The name", name)
    except Refused:
        raise Missing(f"no such volume: {name}") from None
    if ask.request.method == "DELETE" and name == ask.rules.shared:
        raise Refused("The shared volume is removed by operators only.")
    looks = (Look("volume", name, "own", into=None),) if ask.who.slug else ()
    return Allowed(ask.request.method, f"/volumes/{name}", query, looks=looks)


# -- what the hub may ------------------------------------------------------------------------------


def _hub_pull(ask: Ask) -> Allowed:
    image = pulled(ask)
    if image not in ask.rules.images:
        raise Refused(f"{str(image)[:80]!r} is no image of a lab: name it in the hub's settings.")
    return pull(image)


def _hub_image(ask: Ask, name: str) -> Allowed:
    ask.arguments({"manifests": switch})
    if reference(name) not in ask.rules.images:
        raise Missing(f"No such image: {name}")
    return Allowed("GET", f"/images/{reference(name)}/json")


def _hub_network(ask: Ask, name: str) -> Allowed:
    ask.arguments({})
    if name != ask.rules.network:
        raise Missing(f"network {name} not found")
    return Allowed("GET", f"/networks/{name}")


# -- the tables ------------------------------------------------------------------------------------


def _table(rows: list[tuple[str, str, Do]]) -> tuple[tuple[str, re.Pattern[str], Do], ...]:
    name, image = r"([a-zA-Z0-9][a-zA-Z0-9_.-]*)", r"([a-zA-Z0-9][a-zA-Z0-9_.:@/-]*)"
    return tuple(
        (method, re.compile(path.replace("NAME", name).replace("IMAGE", image)), do)
        for methods, path, do in rows
        for method in methods.split("|")
    )


_BOTH: list[tuple[str, str, Do]] = [
    ("GET|HEAD", "/_ping", _shown("/_ping", "ping")),
    ("GET", "/version", _shown("/version", "")),
    ("GET", "/info", _shown("/info", "info")),
    ("GET", "/containers/json", _list_containers),
    ("POST", "/containers/create", _create),
    ("GET", "/containers/NAME/json", act("json", size=switch)),
    ("GET", "/containers/NAME/logs", act("logs", **LOGS)),
    ("POST", "/containers/NAME/start", act("start", detachKeys=keys)),
    ("POST", "/containers/NAME/stop", act("stop", t=figure, signal=text)),
    ("POST", "/containers/NAME/restart", act("restart", t=figure, signal=text)),
    ("POST", "/containers/NAME/wait", act("wait", condition=text)),
    ("DELETE", "/containers/NAME", _remove),
    ("GET", "/volumes", _list_volumes),
    ("POST", "/volumes/create", _create_volume),
    ("GET|DELETE", "/volumes/NAME", _volume),
]  # fmt: skip

_OF_THE_HUB = _table(
    [
        *_BOTH,
        ("POST", "/images/create", _hub_pull),
        ("GET", "/images/IMAGE/json", _hub_image),
        ("GET", "/networks/NAME", _hub_network),
    ]
)

_OF_PEOPLE = _table([*_BOTH, *socket_people.ROWS])


def body_limit(method: str, sent: str, who: Who, rules: Rules) -> int:
    """Return how many bytes the body of a request may have.

    Raises:
        Refused: its target cannot be read.
    """
    builds = who != HUB and (method, target(sent).path) == ("POST", "/build")
    return rules.limits.context if builds else LARGEST_BODY[bool(who.slug)]


def judge(request: Request, who: Who, rules: Rules) -> Allowed:
    """Return what is to be asked of the Engine for a request.

    Args:
        request: what a client sent.
        who: the client.
        rules: the operator's.

    Raises:
        Refused: it may not be asked; ``Missing``, where there is nothing of that name for it.
    """
    asked = target(request.target)
    for method, path, do in _OF_PEOPLE if who.slug else _OF_THE_HUB:
        found = path.fullmatch(asked.path) if method == request.method else None
        if found:
            allowed = do(Ask(request, asked.query, who, rules), *found.groups())
            if request.upgrade and not allowed.upgrade:
                raise Refused("The connection cannot be upgraded for that.")
            return replace(allowed, path=asked.version + allowed.path)
    raise Refused(f"{request.method} {asked.path[:80]} is not open here.")
