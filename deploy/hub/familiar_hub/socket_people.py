"""What a person of the group docker-privileged may ask of the Engine, beside what the hub may too.

Images, builds, commands in containers and networks, all of their own. Pure.
"""

from __future__ import annotations

import json
from typing import Any

from .socket_build import DOCKERFILE
from .socket_container import NAME, network_name
from .socket_fields import endpoint
from .socket_looks import Look
from .socket_reading import (
    IMAGE_ID,
    Check,
    Reference,
    Refused,
    anything_matching,
    each,
    flag,
    mapping,
    named,
    never,
    one_of,
    reference,
    refusing,
    text,
    whole,
    within,
    words,
)
from .socket_requests import (
    ATTACH,
    Allowed,
    Ask,
    Do,
    act,
    figure,
    filtered,
    image_look,
    keys,
    pull,
    pulled,
    switch,
)
from .socket_rules import Who, labelled, labelled_image


def _person_pull(ask: Ask) -> Allowed:
    image = pulled(ask)
    if not ask.rules.pullable(image):
        raise Refused(f"{str(image)[:80]!r} may not be pulled here: ask an operator for it.")
    # A pull moves a name for everybody; one that stands already is not moved.
    return pull(image, Look("image", str(image), "new", into=None))


def _image(action: str, shown: str = "") -> Do:
    def show(ask: Ask, name: str) -> Allowed:
        ask.arguments({"manifests": switch})
        return Allowed(
            "GET", f"/images/{{}}/{action}", looks=(image_look(name, "seen"),), shown=shown
        )

    return show


def _tag(ask: Ask, name: str) -> Allowed:
    query = ask.arguments({"repo": text, "tag": text, "force": switch})
    own = _own_image(f"{query.get('repo', '')}:{query.get('tag') or 'latest'}", ask.who)
    query = {"repo": own.repository, "tag": own.tag}
    return Allowed("POST", "/images/{}/tag", query, looks=(image_look(name, "seen"),))


def _own_image(name: str, who: Who) -> Reference:
    image = reference(name)
    if not str(image).startswith(who.repository) or image.digest:
        raise Refused(f"{name[:80]!r} is no name for your images: begin it with {who.repository}")
    return image


def _untag(ask: Ask, name: str) -> Allowed:
    query = ask.arguments({"force": switch, "noprune": switch})
    if IMAGE_ID.fullmatch(name):
        return Allowed("DELETE", "/images/{}", query, looks=(image_look(name, "own"),))
    own = _own_image(name, ask.who)
    query.pop("force", None)  # it would take other names along
    return Allowed("DELETE", f"/images/{own}", query)


def _list_images(ask: Ask) -> Allowed:
    query = ask.arguments(
        {"all": switch, "digests": switch, "filters": text, "manifests": switch,
         "shared-size": switch}
    )  # fmt: skip
    filters = mapping(query.pop("filters", ""))
    if unknown := set(filters) - {"dangling", "label", "reference", "before", "since"}:
        raise Refused(f"The filter {min(unknown)[:60]} is not open here: leave it out.")
    if filters:
        query["filters"] = json.dumps(filters)
    return Allowed("GET", "/images/json", query, shown="images")


def _build(ask: Ask) -> Allowed:
    most = ask.rules.limits
    query = ask.arguments(
        {
            "t": text,
            "dockerfile": text,
            "q": switch,
            "nocache": switch,
            "buildargs": text,
            "target": anything_matching(NAME, "a stage's name"),
            "labels": text,
            "networkmode": text,
            "version": one_of("1"),
            # Clients name these as a matter of course; what holds is said below.
            **dict.fromkeys(("rm", "forcerm", "cpuquota", "cpuperiod", "memory", "memswap"), text),
            **dict.fromkeys(("cpushares", "shmsize"), text),
            **dict.fromkeys(("ulimits", "cachefrom", "extrahosts", "securityopt"), _empty_json),
            **dict.fromkeys(("pull", "squash"), one_of("0", "false", "False")),
            **refusing("cgroupparent cpusetcpus cpusetmems platform isolation remote session"),
        }
    )
    network = query.get("networkmode", "default")
    network = ask.who.default_network if network in ("default", "bridge") else network
    network_name(ask.who)("The argument networkmode", network)
    arguments = named(text, lambda where, value: None if value is None else text(where, value))(
        "buildargs", mapping(query.get("buildargs", ""))
    )
    labels = named(text, text)("labels", mapping(query.get("labels", "")))
    sent: dict[str, str] = {k: v for k, v in query.items() if k in ("q", "nocache", "target")}
    if "t" in query:
        sent["t"] = str(_own_image(query["t"], ask.who))
    sent |= {
        "dockerfile": DOCKERFILE,
        "version": "1",
        "rm": "1",
        "forcerm": "1",
        "memory": str(most.memory),
        "memswap": str(most.memory),
        "cpuperiod": "100000",
        "cpuquota": str(int(most.cpus * 100_000)),
        "networkmode": network,
        "labels": json.dumps(labelled_image(labels, ask.who)),
    }
    if arguments:
        sent["buildargs"] = json.dumps(arguments)
    looks = () if network == "none" else (Look("network", network, "made", into=None),)
    return Allowed(
        "POST", "/build", sent, looks=looks,
        context=query.get("dockerfile", "Dockerfile"),
    )  # fmt: skip


def _empty_json(where: str, value: Any) -> str:
    if value not in ("null", "[]", "{}"):
        never(where, value)
    return ""


def _attach(ask: Ask, name: str) -> Allowed:
    looks = (Look("container", name, "own"),)
    query = ask.arguments(ATTACH)
    return Allowed("POST", "/containers/{}/attach", query, looks=looks, upgrade=ask.request.upgrade)


def _exec(ask: Ask, name: str) -> Allowed:
    ask.arguments({})
    known: dict[str, Check] = {
        **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "Detach"), flag),
        **dict.fromkeys(("User", "WorkingDir"), text),
        "DetachKeys": keys,
        "ConsoleSize": each(whole(0, 10**5)),
        "Cmd": words,
        "Env": each(text),
        "Privileged": never,
    }
    looks = (Look("container", name, "commands"),)
    return Allowed("POST", "/containers/{}/exec", {}, ask.said(known), looks, counted=True)


def _exec_start(ask: Ask, name: str) -> Allowed:
    ask.arguments({})
    body = ask.said({"Detach": flag, "Tty": flag, "ConsoleSize": each(whole(0, 10**5))})
    looks = (Look("exec", name, "own"),)
    return Allowed("POST", "/exec/{}/start", {}, body, looks, upgrade=ask.request.upgrade)


def _exec_look(action: str, **known: Check) -> Do:
    def look(ask: Ask, name: str) -> Allowed:
        looks = (Look("exec", name, "own"),)
        query = ask.arguments(known)
        return Allowed(ask.request.method, f"/exec/{{}}/{action}", query, looks=looks)

    return look


def _list_networks(ask: Ask) -> Allowed:
    query = ask.arguments({"filters": text})
    return filtered(ask, query, "/networks", ("id", "label", "name", "driver"), "networks")


def _create_network(ask: Ask) -> Allowed:
    ask.arguments({})
    body = ask.said(
        {
            "Name": network_name(ask.who),
            "CheckDuplicate": flag,
            # Others take the machine's own interfaces.
            "Driver": one_of("bridge"),
            "Scope": one_of("local"),
            "Internal": flag,
            "EnableIPv4": flag,
            "Labels": named(text, text),
            # Addresses of one's own choice could be those of a network that the machine reaches.
            "IPAM": within({"Driver": one_of("default"), **refusing("Options Config")}),
            "ConfigFrom": within(refusing("Network")),
            **refusing("Attachable ConfigOnly EnableIPv6 Ingress Options"),
        }
    )
    if body.get("Name", "none") == "none":
        raise Refused(f"Name is missing: begin the network's name with {ask.who.prefix}")
    body |= {"CheckDuplicate": True, "Driver": "bridge"}
    body["Labels"] = labelled("Labels", body.get("Labels", {}), ask.who)
    body.pop("IPAM", None)
    body.pop("ConfigFrom", None)
    looks = (Look("network", "", "room", into=None),)
    return Allowed("POST", "/networks/create", {}, body, looks, counted=True)


def _network(ask: Ask, name: str) -> Allowed:
    query = ask.arguments({"verbose": switch, "scope": one_of("local")})
    looks = (Look("network", name, "own"),)
    return Allowed(ask.request.method, "/networks/{}", query, looks=looks)


def _join(ask: Ask, name: str, action: str) -> Allowed:
    ask.arguments({})
    how: dict[str, Check] = {"EndpointConfig": endpoint} if action == "connect" else {"Force": flag}
    known = {"Container": anything_matching(NAME, "a container"), **how}
    body = ask.said(known)
    looks = (
        Look("network", name, "own"),
        Look("container", body.get("Container", ""), "own", into="Container"),
    )
    return Allowed("POST", f"/networks/{{}}/{action}", {}, body, looks)


ROWS: list[tuple[str, str, Do]] = [
    ("POST", "/containers/NAME/attach", _attach),
    ("POST", "/containers/NAME/exec", _exec),
    ("GET", "/containers/NAME/changes", act("changes")),
    ("POST", "/containers/NAME/kill", act("kill", signal=text)),
    ("POST", "/containers/NAME/pause", act("pause")),
    ("POST", "/containers/NAME/unpause", act("unpause")),
    ("POST", "/containers/NAME/resize", act("resize", h=figure, w=figure)),
    ("GET", "/containers/NAME/stats", act("stats", stream=switch, **{"one-shot": switch})),
    # Its arguments are those of the machine's own ps.
    ("GET", "/containers/NAME/top", act("top", ps_args=one_of("-ef", "aux"))),
    ("POST", "/exec/NAME/start", _exec_start),
    ("GET", "/exec/NAME/json", _exec_look("json")),
    ("POST", "/exec/NAME/resize", _exec_look("resize", h=figure, w=figure)),
    ("POST", "/build", _build),
    ("GET", "/images/json", _list_images),
    ("POST", "/images/create", _person_pull),
    ("GET", "/images/IMAGE/json", _image("json", "image")),
    ("GET", "/images/IMAGE/history", _image("history")),
    ("POST", "/images/IMAGE/tag", _tag),
    ("DELETE", "/images/IMAGE", _untag),
    ("GET", "/networks", _list_networks),
    ("POST", "/networks/create", _create_network),
    ("GET|DELETE", "/networks/NAME", _network),
    ("POST", "/networks/NAME/connect", lambda ask, name: _join(ask, name, "connect")),
    ("POST", "/networks/NAME/disconnect", lambda ask, name: _join(ask, name, "disconnect")),
]
"""Methods, path and what is done."""
