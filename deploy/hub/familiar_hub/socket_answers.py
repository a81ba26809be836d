"""What a client sees of the Engine's answers: its own things, and little of the machine. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .socket_looks import may_use, visible
from .socket_rules import IMAGE_OWNER, OWNER, Rules, Who

_OF_THE_MACHINE = frozenset(
    {"Architecture", "CgroupDriver", "CgroupVersion", "DefaultRuntime", "Driver", "KernelVersion",
     "MemTotal", "NCPU", "OSType", "OperatingSystem", "SecurityOptions", "ServerVersion"}
)  # fmt: skip
_FOR_THE_HUB = _OF_THE_MACHINE | {"CDISpecDirs", "DiscoveredDevices", "Runtimes"}
"""By these it finds GPUs."""

HEADERS = frozenset({b"content-type", b"api-version", b"docker-experimental", b"ostype", b"server"})
"""What is passed on of the headers of an answer."""


def shown(name: str, answer: Any, who: Who, rules: Rules) -> Any:
    """Return what a client gets of a JSON answer.

    Args:
        name: of the filter, as ``Allowed.shown`` has it.
        answer: the Engine's.
        who: the client.
        rules: the operator's.
    """
    return _FILTERS[name](answer, who, rules)


def _own(things: Any, who: Who, rules: Rules) -> Any:
    return [one for one in things or () if (one.get("Labels") or {}).get(OWNER) == who.owner]


def _volumes(answer: Any, who: Who, rules: Rules) -> Any:
    things = answer.get("Volumes") or ()
    if who.slug:
        return {"Volumes": _own(things, who, rules), "Warnings": None}
    mine = [v for v in things if v["Name"].startswith(rules.prefix) or v["Name"] == rules.shared]
    return {"Volumes": mine, "Warnings": None}


def _image(image: Mapping[str, Any], who: Who, rules: Rules) -> dict[str, Any]:
    """Return an image without the names that are not for everybody, and not the client's."""
    own = {}
    for key in ("RepoTags", "RepoDigests"):
        names = image.get(key) or ()
        own[key] = [n for n in names if n.startswith(who.repository) or may_use(n, rules)]
    return {**image, **own}


def _images(answer: Any, who: Who, rules: Rules) -> Any:
    def owner(image: Mapping[str, Any]) -> str:
        return str((image.get("Labels") or {}).get(IMAGE_OWNER, ""))

    return [
        _image(one, who, rules)
        for one in answer or ()
        if visible(one.get("RepoTags"), owner(one), who, rules)
    ]


def _info(answer: Any, who: Who, rules: Rules) -> Any:
    known = _OF_THE_MACHINE if who.slug else _FOR_THE_HUB
    return {key: value for key, value in answer.items() if key in known}


_FILTERS: Mapping[str, Callable[[Any, Who, Rules], Any]] = {
    "containers": _own,
    "image": _image,
    "images": _images,
    "info": _info,
    "networks": _own,
    "volumes": _volumes,
}
