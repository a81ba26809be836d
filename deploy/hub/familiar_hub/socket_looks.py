"""What the proxy asks the Engine before it does what a client wants, and what the answers mean.

A look finds whose a thing is, and returns its ID: a name may belong to another thing a moment
later, an ID does not. What is somebody else's is told as if it were not there. Pure: the proxy
carries the questions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from .socket_reading import Missing, Refused, reference
from .socket_rules import IMAGE_OWNER, OWNER, Rules, Who, check_inherited

COMMANDS = 64
"""How many commands a container may have beside its own. The Engine keeps one that is never started
for as long as the container."""


class Unclear(Refused):
    """The Engine gave no answer to go by."""

    status = 502


@dataclass(frozen=True)
class Look:
    """A question to the Engine.

    Attributes:
        kind: container, volume, network, image, exec; or person, which the proxy itself knows.
        name: of the thing, checked to be a name.
        must: what has to hold. ``own``: it is the client's. ``seen``: the client may use it.
            ``runs``: the same, and a container may be made of it. ``base``: a build may begin with
            it. ``new``: there is none of that name.
            ``free``: the same, or it is the client's. ``made``: it is the client's, or made now.
            ``make``: it is made now. ``room``: the client has fewer than allowed. ``open``: the
            person's socket is open. ``commands``: it is the client's, and has room for one more.
        into: the key of the body that gets the ID; empty for the path, None for nowhere.
        then: what is returned in place of the ID.
        goes_on: with what to go on when there is room.
    """

    kind: str
    name: str
    must: str
    into: str | None = ""
    then: str = ""
    goes_on: Look | None = None


@dataclass(frozen=True)
class Question:
    """What the Engine is asked: a method, a target, and a body where one is needed."""

    method: str
    target: str
    body: Mapping[str, Any] | None = None


_LISTS = {"container": "/containers/json?all=1", "volume": "/volumes?", "network": "/networks?"}
_THINGS = {
    "container": "/containers/{}/json",
    "volume": "/volumes/{}",
    "network": "/networks/{}",
    "image": "/images/{}/json",
    "exec": "/exec/{}/json",
}


def question(look: Look, who: Who) -> Question:
    """Return what a look asks."""
    labels = {OWNER: who.owner}
    if look.must == "room":
        filters = json.dumps({"label": [f"{OWNER}={who.owner}"]})
        return Question("GET", f"{_LISTS[look.kind]}&filters={quote(filters)}".replace("?&", "?"))
    if look.must == "make" and look.kind == "volume":
        return Question("POST", "/volumes/create", {"Name": look.name, "Labels": labels})
    if look.must == "make":
        body = {"Name": look.name, "CheckDuplicate": True, "Driver": "bridge", "Labels": labels}
        return Question("POST", "/networks/create", body)
    return Question("GET", _THINGS[look.kind].format(look.name))


def settle(look: Look, status: int, answer: Any, who: Who, rules: Rules) -> str | Look:
    """Return the ID of what was found, or another look that has to be taken first.

    Args:
        look: what was asked.
        status: of the answer.
        answer: its JSON.
        who: the client.
        rules: the operator's.

    Raises:
        Missing: there is no such thing, or it is somebody else's.
        Refused: it is not as it must be.
    """
    if status not in (200, 201, 404, 409) or not isinstance(answer, (dict, list)):
        raise Unclear(f"The Engine could not say whose the {look.kind} is: try again.")
    found = status in (200, 201)
    if look.must == "room":
        return _room(look, answer, rules)
    if look.must == "new":
        if found:
            raise Refused(f"{look.name} is here already; only operators replace it.")
        return ""
    if look.must in ("made", "free") and status == 404:
        return _absent(look, who)
    if not found:
        raise _missing(look)
    if not isinstance(answer, dict):
        raise Unclear(f"The Engine could not say whose the {look.kind} is: try again.")
    if look.kind == "exec":
        return Look("container", answer["ContainerID"], "own", then=answer["ID"])
    if look.kind == "image":
        return _image(look, answer, who, rules)
    if look.kind == "volume":
        return _volume(look, answer, who)
    if look.must != "make" and owner_of(look.kind, answer) != who.owner:
        raise _missing(look)
    if look.must == "commands" and len(answer.get("ExecIDs") or ()) >= COMMANDS:
        raise Refused(f"{COMMANDS} commands run in {look.name}, or wait to: start it anew.")
    return look.then or str(answer["Id"])


def owner_of(kind: str, thing: Mapping[str, Any]) -> str:
    """Return what the owner's label of an inspected thing says, or nothing."""
    held = thing.get("Config") if kind in ("container", "image") else thing
    labels = (held or {}).get("Labels") or {}
    return str(labels.get(IMAGE_OWNER if kind == "image" else OWNER, ""))


def visible(tags: list[str] | None, owner: str, who: Who, rules: Rules) -> bool:
    """Say whether a client may use an image: its own, or one that everybody could pull.

    Args:
        tags: the image's names.
        owner: what its label says.
        who: the client.
        rules: the operator's.
    """
    if owner:
        return owner == who.owner
    return any(may_use(tag, rules) for tag in tags or ())


def may_use(tag: str, rules: Rules) -> bool:
    """Say whether everybody may use what is called so."""
    try:
        name = reference(tag)
    except Refused:
        return False  # <none>:<none>
    return rules.pullable(name) or name in rules.images


def _missing(look: Look) -> Missing:
    said = {
        "container": "No such container: {}",
        "exec": "No such exec instance: {}",
        "image": "No such image: {}",
        "network": "network {} not found",
        "volume": "get {}: no such volume",
    }
    return Missing(said[look.kind].format(look.name))


def _room(look: Look, answer: Any, rules: Rules) -> str | Look:
    things = answer.get("Volumes") or () if isinstance(answer, dict) else answer
    most = getattr(rules.limits, f"{look.kind}s")
    if len(things) >= most:
        raise Refused(f"You have {len(things)} {look.kind}s, and may have {most}: remove one.")
    return look.goes_on or ""


def _absent(look: Look, who: Who) -> str | Look:
    make = replace(look, must="make") if look.must == "made" else None
    if look.kind == "volume":
        return Look("volume", "", "room", goes_on=make) if who.slug else make or ""
    if look.name != who.default_network:
        raise _missing(look)
    return make or ""


def _volume(look: Look, answer: Mapping[str, Any], who: Who) -> str:
    if who.slug and owner_of("volume", answer) != who.owner:
        raise _missing(look)
    # Such a volume may be any folder of the machine, or lie on another one.
    if look.must != "own" and (answer.get("Driver") != "local" or answer.get("Options")):
        raise Refused(f"The volume {look.name} has options of a driver, and cannot be used here.")
    return look.then or look.name


def _image(look: Look, answer: Mapping[str, Any], who: Who, rules: Rules) -> str:
    owner = owner_of("image", answer)
    own = owner == who.owner
    if not (own if look.must == "own" else visible(answer.get("RepoTags"), owner, who, rules)):
        raise _missing(look)
    if look.must == "base" and (answer.get("Config") or {}).get("OnBuild"):
        raise Refused(f"{look.name} holds ONBUILD instructions, which are not open here.")
    if look.must == "runs":
        config = answer.get("Config") or {}
        check_inherited(config.get("Labels") or {}, who)
        if len(config.get("Volumes") or ()) > rules.limits.volumes:
            raise Refused(f"{look.name} has more than {rules.limits.volumes} volumes of its own.")
    return str(answer["Id"])
