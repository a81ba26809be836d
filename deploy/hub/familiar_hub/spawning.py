"""From settings and a person to what their lab is like. Pure: no I/O, nothing asked of Docker.

What one person gets must never be another's. So names are made here, by an escaping that gives no
two names the same result, and rights come from groups, never from what a person sends.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from . import groups as rights
from .gpu import Gpu
from .profiles import Profile, chosen
from .settings import Cifs, Settings
from .socket_rules import RAW_SOCKET

HOME = "/home/jovyan"
VOLUMES: Mapping[str, str] = {
    "home": HOME,
    "workspace": f"{HOME}/work",
    "cache": f"{HOME}/.cache",
}
"""Each person's volumes: what for, and where a lab sees it. All labs of a person share them."""
SHARED = f"{HOME}/shared"
"""Where a lab sees the folder that all share."""
SOCKET_FOLDER = "/run/familiar-docker"
SOCKET = f"{SOCKET_FOLDER}/docker.sock"
"""Where a lab sees the filtered socket."""
USER = 1000
"""Whom a lab runs as."""

PERSON = "familiar.person"
"""The label that says whose a container or volume is."""
ACCOUNT = "familiar.account"
"""The label that says which account of that name a volume was made for."""

# The lab's image keeps what must last on its work directory, since one person's lab has no other
# volume. Here that would make resetting the workspace a loss of sign-in and settings.
PLACES = {
    "CLAUDE_CONFIG_DIR": f"{HOME}/.claude",
    "IPYTHONDIR": f"{HOME}/.ipython",
    "JUPYTER_CONFIG_DIR": f"{HOME}/.jupyter",
    "JUPYTER_DATA_DIR": f"{HOME}/.local/share/jupyter",
    "GIT_CONFIG_GLOBAL": f"{HOME}/.gitconfig",
    # Images are large and can be pulled again: who resets the cache means them.
    "FAMILIAR_PODMAN_STORE": f"{HOME}/.cache/containers",
    "XDG_CACHE_HOME": f"{HOME}/.cache",
}

_SAFE = frozenset(string.ascii_lowercase + string.digits)
_LONGEST = 48
"""Characters of an escaped name that stand as they are."""
_KEPT = 24
"""Characters of another one that stand before its digest."""


def escaped(name: str) -> str:
    """Return a part of Docker's names that no other name gives.

    Lower-case letters and digits stay. Every other byte of the UTF-8 text is a dash and two
    digits, so that neither ``--`` nor ``_`` appears. Where that is long, or would begin with a
    dash, it is cut, and a dot and a digest of the whole name stand for the rest; nothing else
    gives a dot.

    Raises:
        ValueError: the name is empty.
    """
    if not name:
        raise ValueError("an empty name is nobody's")
    data = name.encode("utf-8", "surrogatepass")
    text = "".join(chr(byte) if chr(byte) in _SAFE else f"-{byte:02x}" for byte in data)
    if len(text) <= _LONGEST and not text.startswith("-"):
        return text
    return f"{text[:_KEPT].strip('-')}.{hashlib.sha256(data).hexdigest()[:40]}"


def container_name(settings: Settings, person: str, server: str = "") -> str:
    """Return the name of a lab's container. ``server`` is empty for a person's first lab."""
    name = f"{settings.prefix}-{escaped(person)}"
    return f"{name}--{escaped(server)}" if server else name


def volume_names(settings: Settings, person: str) -> dict[str, str]:
    """Return the names of a person's volumes, by what they are for."""
    return {kind: f"{settings.prefix}-{escaped(person)}_{kind}" for kind in VOLUMES}


def account(number: int, created: datetime | None) -> str:
    """Return what tells a person's account from an earlier one of the same name.

    Args:
        number: the account's in the hub's database, which gives numbers again.
        created: when it was made.
    """
    return created.strftime("%Y%m%dT%H%M%S%f") if created else f"N{number}"


def volume_labels(person: str, account: str) -> dict[str, str]:
    """Return what a person's volumes say of whose they are."""
    return {PERSON: person, ACCOUNT: account}


def shared_volume(settings: Settings) -> str:
    """Return the name of the volume that all share.

    It is no person's, whose names do not begin with a dash. One that leads to another machine has
    another name, so that changing the setting never mistakes one for the other.
    """
    return f"{settings.prefix}--{'shared-cifs' if settings.shared == 'cifs' else 'shared'}"


def cifs_options(cifs: Cifs, credentials: Mapping[str, str]) -> dict[str, str]:
    """Return what the local volume driver needs to mount a CIFS share.

    The result holds the password: it goes to Docker in a request's body, and nowhere else.

    Args:
        credentials: what :func:`.variables.read_credentials` read.
    """
    who = [f"{key}={value}" for key, value in sorted(credentials.items())]
    # The driver mounts by the system call, which knows no names: it looks up what addr= says.
    server = PurePosixPath(cifs.share.lstrip("/")).parts[0]
    fixed = [f"addr={server}", f"uid={USER}", f"gid={USER}", "file_mode=0660", "dir_mode=0770"]
    further = [cifs.options] if cifs.options else []
    return {"type": "cifs", "device": cifs.share, "o": ",".join([*who, *fixed, *further])}


@dataclass(frozen=True)
class Plan:
    """What one lab is like.

    Attributes:
        name: the container's.
        mounts: as :class:`docker.types.Mount` takes them.
        environment: beside what JupyterHub itself sets.
        host_config: further arguments of docker-py's ``create_host_config``.
        create: further arguments of its ``create_container``.
        remarks: sentences for the hub's log: what somebody should have and cannot get.
    """

    name: str
    image: str
    memory: int
    cpus: float
    mounts: tuple[dict[str, Any], ...]
    environment: Mapping[str, str]
    host_config: Mapping[str, Any]
    create: Mapping[str, Any]
    grants: frozenset[str]
    remarks: tuple[str, ...] = field(default=())


def plan(
    settings: Settings,
    person: str,
    server: str,
    groups: Iterable[str],
    options: Mapping[str, Any],
    gpu: Gpu,
) -> Plan:
    """Return what a person's lab is to be like.

    Args:
        server: the lab's name among theirs, empty for the first.
        groups: the names of all groups that they are in now.
        options: what they chose when they started it.
        gpu: what is known of the engine's GPUs.

    Raises:
        ProfileError: they chose what they may not have.
    """
    groups = frozenset(groups)
    profile = chosen(settings.profiles, groups, options) or Profile(name="")
    grants = rights.grants_of(groups)
    if settings.podman or profile.podman:
        grants |= {rights.PODMAN}
    memory = profile.memory or settings.limits.memory
    docker_mounts, docker_environment, gids, remarks = _docker(settings, person, grants)
    if rights.PODMAN in grants and not settings.nested:
        # The lab starts all the same; the filter would refuse one that asks for it.
        grants -= {rights.PODMAN}
        remarks += (f"{person} may have podman, but the filter does not: set SOCKET_NESTED=1",)
    # Each label stands in the container's configuration, which whoever has the socket can read.
    labels = {
        PERSON: person,
        "familiar.server": server,
        "familiar.grants": ",".join(sorted(grants)),
    }
    host_config: dict[str, Any] = {
        # DockerSpawner removes a stopped container itself; the Engine's own removal would race with
        # the restart of a container in place.
        "auto_remove": False,
        # No swap beside the memory, or the limit would only make the machine slow.
        "memswap_limit": memory,
        "pids_limit": profile.pids or settings.limits.pids,
        "cap_drop": ["ALL"],
        # What a lab writes to its stdout would fill the host's disk.
        "log_config": {"type": "json-file", "config": {"max-size": "10m", "max-file": "2"}},
        **_confinement(rights.PODMAN in grants),
    }
    if gids:
        host_config["group_add"] = [str(gid) for gid in gids]
    if profile.gpu and gpu.request:
        host_config["device_requests"] = [dict(gpu.request)]
    create: dict[str, Any] = {"labels": labels}
    if rights.PODMAN in grants:
        # Containers in the lab mount a /proc of their own, which Linux allows only where the lab's
        # own is not masked. docker-py has no arguments for these two.
        create["host_config"] = {"MaskedPaths": [], "ReadonlyPaths": []}
    return Plan(
        name=container_name(settings, person, server),
        image=profile.image or settings.image,
        memory=memory,
        cpus=profile.cpus or settings.limits.cpus,
        mounts=(*_volumes(settings, person), *docker_mounts),
        environment={
            **PLACES,
            **{f"ENABLE_SERVICE_{name.upper()}": "1" for name in settings.services},
            **profile.environment,
            **docker_environment,
        },
        host_config=host_config,
        create=create,
        grants=grants,
        remarks=remarks,
    )


def _volumes(settings: Settings, person: str) -> list[dict[str, Any]]:
    names = volume_names(settings, person)
    # Docker makes a volume when a lab first has it, with what the image holds at that place.
    mounts: list[dict[str, Any]] = [
        {"type": "volume", "source": names[kind], "target": target}
        for kind, target in VOLUMES.items()
    ]
    if settings.shared != "off":
        mounts.append({"type": "volume", "source": shared_volume(settings), "target": SHARED})
    return mounts


def _confinement(podman: bool) -> dict[str, Any]:
    """Return what a lab's processes may ask of the kernel."""
    if podman:
        # Rootless podman makes user namespaces and mounts in them, which Docker's profile refuses,
        # and its two helpers have one capability each.
        return {"cap_add": ["SETUID", "SETGID"], "security_opt": ["seccomp=unconfined"]}
    return {"security_opt": ["no-new-privileges"]}


def _docker(
    settings: Settings, person: str, grants: frozenset[str]
) -> tuple[list[dict[str, Any]], dict[str, str], list[int], tuple[str, ...]]:
    """Return the mounts, variables, groups and remarks that a way to Docker takes."""
    access = settings.docker
    if rights.DOCKER not in grants:
        return [], {}, [], ()
    if access.raw:
        raw = {"type": "bind", "source": RAW_SOCKET, "target": RAW_SOCKET, "read_only": True}
        remark = f"{person} gets the engine's own socket, and with it root on the host"
        return [raw], {"DOCKER_HOST": f"unix://{RAW_SOCKET}"}, [access.raw_gid], (remark,)
    if not access.sockets:
        remark = (
            f"{person} is in docker-privileged, but there is no socket to give:"
            " set SOCKET_PEOPLE_ON_HOST"
        )
        return [], {}, [], (remark,)
    # A folder of their own, since the filter knows people by their sockets. One can connect to a
    # socket on a read-only mount, but not lay a false one there.
    mount: dict[str, Any] = {
        "type": "bind",
        "source": f"{access.sockets}/{escaped(person)}",
        "target": SOCKET_FOLDER,
        "read_only": True,
    }
    return [mount], {"DOCKER_HOST": f"unix://{SOCKET}"}, [], ()
