"""What a container may be like: the body of a create, read field by field, and written anew.

Two tables list what may be set, one for the hub and one for people. What is in neither is refused
by its name, and an empty value of a known field is left out, so that the Engine's default holds.
What must hold in any case (the owner's label, private namespaces, a person's limits) is written
over whatever was asked for. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .socket_fields import CONFIG, HOST, LARGEST, USUAL_PAUSE, bind, mount, networking
from .socket_reading import (
    Check,
    Refused,
    anything_matching,
    each,
    fields,
    never,
    one_of,
    text,
    whole,
    within,
)
from .socket_rules import HUB, RAW_SOCKET, SLUG, Rules, Who, labelled

NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,250}"
NEEDED_BY_PODMAN = ("SETUID", "SETGID")
DEFAULT_NETWORKS = ("default", "bridge")


@dataclass(frozen=True)
class Container:
    """A container that may be made.

    Attributes:
        body: what the Engine is told.
        image: as it was asked for.
        volumes: the names of those that it mounts.
        network: a person's own one, which has to be there; or nothing.
        person: whose socket it has, or nothing.
    """

    body: dict[str, Any]
    image: str
    volumes: tuple[str, ...]
    network: str = ""
    person: str = ""


# -- whose -----------------------------------------------------------------------------------------


def volume_name(who: Who, rules: Rules) -> Check:
    """Return a check for the name of a volume that a client may use."""
    prefix = who.prefix if who.slug else rules.prefix

    def check(where: str, value: Any) -> str:
        name: str = text(where, value)
        shared = not who.slug and rules.shared and name == rules.shared
        own = name.startswith(prefix) and name != prefix and re.fullmatch(NAME, name)
        if not shared and not own:
            raise Refused(
                f"{where} is {name[:80]!r}; only volumes whose names begin with {prefix} can be"
                " used, and no folders of the machine."
            )
        return name

    return check


def _socket_folder(rules: Rules) -> Check:
    def check(where: str, value: Any) -> str:
        path: str = text(where, value)
        if rules.raw and path == RAW_SOCKET:
            return path
        folder, _, slug = path.rpartition("/")
        if not rules.people_on_host or folder != rules.people_on_host:
            raise Refused(f"{where}: no folder of the machine can be mounted.")
        if not re.fullmatch(SLUG, slug):
            raise Refused(f"{where}: {slug[:80]!r} is no person's folder.")
        return path

    return check


def _hub_host(rules: Rules) -> dict[str, Check]:
    volume = volume_name(HUB, rules)
    capabilities = NEEDED_BY_PODMAN if rules.nested else ()
    security = ["no-new-privileges", "no-new-privileges:true"]
    if rules.nested:
        security.append("seccomp=unconfined")
    unmasked: Check = _empty_list if rules.nested else never
    request = within(
        {
            "Driver": one_of("nvidia", "cdi"),
            "Count": whole(-1, 64),
            "DeviceIDs": each(anything_matching(r"(nvidia\.com/gpu=)?[A-Za-z0-9-]{1,64}", "a GPU")),
            "Capabilities": each(each(one_of("gpu", "compute", "utility"))),
            "Options": never,
        }
    )
    return {
        **HOST,
        "Binds": each(bind(volume)),
        "CapAdd": each(_capability(capabilities)),
        "DeviceRequests": each(request) if rules.gpu else never,
        "MaskedPaths": unmasked,
        "Memory": whole(6 << 20, rules.memory or LARGEST),
        "Mounts": each(mount({"volume": volume, "tmpfs": never, "bind": _socket_folder(rules)})),
        "NetworkMode": one_of(rules.network, "none"),
        "ReadonlyPaths": unmasked,
        "RestartPolicy": _restart("no", "on-failure", "unless-stopped", "always"),
        "SecurityOpt": each(one_of(*security)),
    }


def _person_host(who: Who, rules: Rules) -> dict[str, Check]:
    volume, most = volume_name(who, rules), rules.limits
    return {
        **HOST,
        "Binds": each(bind(volume)),
        "CapAdd": never,
        # No more than what containers have that ask for nothing, labs above all.
        "CpuShares": whole(2, 1024),
        "DeviceRequests": never,
        "MaskedPaths": never,
        "Memory": whole(6 << 20, most.memory),
        "Mounts": each(mount({"volume": volume, "tmpfs": never})),
        "NetworkMode": _network_or_default(who),
        "ReadonlyPaths": never,
        # "always" would start it with the Engine, whether or not its person may still have it.
        "RestartPolicy": _restart("no", "on-failure"),
        "SecurityOpt": each(one_of("no-new-privileges", "no-new-privileges:true")),
    }


def _empty_list(where: str, value: Any) -> list[Any]:
    if value != []:
        raise Refused(f"{where} can be empty or left out.")
    return []


def _capability(known: tuple[str, ...]) -> Check:
    spelled = one_of(*known, *(f"CAP_{name}" for name in known))
    return lambda where, value: spelled(where, value).removeprefix("CAP_")


def _restart(*names: str) -> Check:
    return within({"Name": one_of(*names), "MaximumRetryCount": whole(0, 100)})


# -- a create --------------------------------------------------------------------------------------


def container(body: Mapping[str, Any], name: str, who: Who, rules: Rules) -> Container:
    """Return the container that a client may make.

    Args:
        body: what it asks for.
        name: the container's; empty where the Engine is to choose one.
        who: the client.
        rules: the operator's.

    Raises:
        Refused: something of it may not be.
    """
    _check_name(name, who, rules)
    host_fields = _person_host(who, rules) if who.slug else _hub_host(rules)
    empty = ("MaskedPaths", "ReadonlyPaths") if rules.nested and not who.slug else ()
    table = {
        **CONFIG,
        "HostConfig": lambda where, value: fields(f"{where}.", value, host_fields, empty),
        "NetworkingConfig": networking,
    }
    asked = fields("", body, table, even_empty=("StopTimeout",))
    if not asked.get("Image"):
        raise Refused("Image is missing: name the image to run.")
    host = asked.setdefault("HostConfig", {})
    asked["Labels"] = labelled("Labels", asked.get("Labels", {}), who)
    # Said, and not left to how the Engine was set up.
    host.setdefault("IpcMode", "private")
    host["CgroupnsMode"] = "private"
    if who.slug:
        _limit(asked, host, rules)
        host.setdefault("NetworkMode", who.default_network)
    else:
        if rules.memory and "Memory" not in host:
            raise Refused(f"HostConfig.Memory is missing: a lab may have {rules.memory:,} bytes.")
        host.setdefault("NetworkMode", rules.network)
    _one_endpoint(asked, host["NetworkMode"])
    own = host["NetworkMode"] if who.slug and host["NetworkMode"] != "none" else ""
    return Container(asked, asked["Image"], _volumes(host), own, _person(host))


def _check_name(name: str, who: Who, rules: Rules) -> None:
    prefix = who.prefix if who.slug else rules.prefix
    if not name and who.slug:
        return  # the Engine's own choice: two words that are nobody's prefix
    if not name.startswith(prefix) or name == prefix or not re.fullmatch(NAME, name):
        raise Refused(f"{name[:80]!r} is no name for your containers: begin it with {prefix}")


def network_name(who: Who) -> Check:
    """Return a check for the name of a person's network, or ``none``."""

    def check(where: str, value: Any) -> str:
        own = isinstance(value, str) and value.startswith(who.prefix) and value != who.prefix
        if value != "none" and not (own and re.fullmatch(NAME, value)):
            raise Refused(
                f"{where} is {str(value)[:80]!r}; it can be none, or a network whose name begins"
                f" with {who.prefix}"
            )
        return str(value)

    return check


def _network_or_default(who: Who) -> Check:
    own = network_name(who)

    def check(where: str, value: Any) -> str:
        # The Engine's own bridge joins everybody's containers; here each person has one.
        default: str = who.default_network if value in DEFAULT_NETWORKS else own(where, value)
        return default

    return check


def _limit(asked: dict[str, Any], host: dict[str, Any], rules: Rules) -> None:
    most = rules.limits
    host["Memory"] = host.get("Memory", most.memory)
    host["MemorySwap"] = host["Memory"]
    for key in ("CpuPeriod", "CpuQuota"):
        if key in host:
            raise Refused(f"HostConfig.{key} may not be set here: use --cpus.")
    host["NanoCpus"] = min(host.get("NanoCpus", LARGEST), int(most.cpus * 10**9))
    pids = host.get("PidsLimit", -1)
    host["PidsLimit"] = min(pids, most.pids) if pids > 0 else most.pids
    host["ShmSize"] = min(host.get("ShmSize", 64 << 20), host["Memory"])
    # Two files of ten megabytes, whatever a container writes.
    host["LogConfig"] = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
    # An image's own healthcheck may run a program each millisecond; what is said here goes before.
    check = asked.setdefault("Healthcheck", {})
    for key in ("Interval", "StartInterval"):
        check.setdefault(key, USUAL_PAUSE)
    unnamed = len(asked.get("Volumes", ())) + len(host.get("Mounts", ()))
    if unnamed > most.volumes:
        raise Refused(f"A container may have {most.volumes} volumes.")
    # Where NVIDIA's runtime is the Engine's default, this variable alone, also an image's, is
    # enough for all GPUs.
    gpus = "NVIDIA_VISIBLE_DEVICES="
    asked["Env"] = [v for v in asked.get("Env", ()) if not v.startswith(gpus)] + [f"{gpus}void"]


def _one_endpoint(asked: dict[str, Any], network: str) -> None:
    """Let the one network be named again, and no other."""
    endpoints = asked.get("NetworkingConfig", {}).pop("EndpointsConfig", {})
    asked.pop("NetworkingConfig", None)
    for name in endpoints:
        if name != network and not (name in DEFAULT_NETWORKS and network.endswith("_default")):
            raise Refused(f"NetworkingConfig names {name[:80]!r}: a container gets one network.")
    if len(endpoints) == 1 and network != "none":
        asked["NetworkingConfig"] = {"EndpointsConfig": {network: next(iter(endpoints.values()))}}


def _volumes(host: Mapping[str, Any]) -> tuple[str, ...]:
    bound = [bind.split(":")[0] for bind in host.get("Binds", ())]
    mounted = [m.get("Source", "") for m in host.get("Mounts", ()) if m["Type"] == "volume"]
    return tuple(dict.fromkeys(filter(None, bound + mounted)))


def _person(host: Mapping[str, Any]) -> str:
    bound = [mount["Source"] for mount in host.get("Mounts", ()) if mount["Type"] == "bind"]
    folders = [source for source in bound if source != RAW_SOCKET]
    if len(set(folders)) > 1:
        raise Refused("HostConfig.Mounts: a lab gets the socket of one person.")
    return folders[0].rpartition("/")[2] if folders else ""
