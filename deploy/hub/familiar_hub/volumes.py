"""A person's volumes, and how one of them is made new.

A volume that is mounted anywhere is never touched. The hub knows its own servers, the Engine knows
the containers, and the Engine has the last word: it refuses to remove a volume that a container
has, so a server that is started meanwhile finds either the old volume or the new one, whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import leftovers

log = logging.getLogger("JupyterHub.familiar.volumes")

SUMMARIES: Mapping[str, str] = {
    "home": "settings, the sign-in to Claude, the history of shells and of conversations",
    "workspace": "notebooks and files",
    "cache": "what programs have downloaded and can download again",
}
"""What is in a volume, for the people who are asked whether it may go."""

# Of our own: the spawner's has one thread, and a restart of ten seconds would hold up every spawn.
_THREADS = ThreadPoolExecutor(4, thread_name_prefix="familiar-docker")


class VolumeError(Exception):
    """A volume was not reset; the message says why and what to do."""


class VolumeUnknownError(VolumeError):
    """The person has no such volume."""


class VolumeInUseError(VolumeError):
    """A server or container has it."""


class VolumeUnconfirmedError(VolumeError):
    """The confirmation names no volume, or another one."""


class EngineError(Exception):
    """The Docker Engine did not do what it was asked.

    Attributes:
        status: its HTTP status; 0 where it was not reached.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def for_people(self) -> str:
        """What may be shown of it: the rest may tell of the hub's machine."""
        if self.status:
            return f"The Docker Engine refused ({self.status}); the hub's log says why."
        return "The Docker Engine does not answer; try again, or ask an administrator."


@dataclass(frozen=True)
class Volume:
    """A volume of a person's.

    Attributes:
        kind: ``home``, ``workspace`` or ``cache``.
        name: its name at the Engine, which says whose it is.
        used_by: the names of the person's servers that run or are about to; the default server's is
            the empty name.
    """

    kind: str
    name: str
    used_by: tuple[str, ...]

    @property
    def summary(self) -> str:
        return SUMMARIES.get(self.kind, "")


async def docker(spawner: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of docker-py's low-level client in a thread.

    Raises:
        EngineError: the Engine refused, or was not reached.
    """
    # Here, since a hub whose spawner is not Docker's need not have it.
    from docker.errors import APIError
    from requests.exceptions import RequestException

    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(
            _THREADS, lambda: spawner._docker(method, *args, **kwargs)
        )
    except APIError as err:
        raise EngineError(err.status_code or 500, f"{method}: {err.explanation}") from err
    except RequestException as err:
        raise EngineError(0, f"{method}: {err}") from err


def volumes_of(user: Any) -> list[Volume]:
    """Return a person's volumes; none where the spawner has no volumes of a Docker Engine."""
    if not hasattr(user.spawner, "volume_names"):
        return []
    names: Mapping[str, str] = user.spawner.volume_names()
    # Only servers that the hub has in memory can be active.
    taken = {
        server: set(spawner.volume_names().values())
        for server, spawner in user.spawners.items()
        if spawner.active
    }
    return [
        Volume(kind, name, tuple(sorted(server for server in taken if name in taken[server])))
        for kind, name in names.items()
    ]


def volume_of(user: Any, kind: str) -> Volume:
    """Return one volume of a person's.

    Raises:
        VolumeUnknownError: there is none of this kind.
    """
    known = volumes_of(user)
    for volume in known:
        if volume.kind == kind:
            return volume
    kinds = ", ".join(volume.kind for volume in known) or "none"
    raise VolumeUnknownError(f"{user.name} has no volume of this kind; there are: {kinds}.")


async def reset(user: Any, kind: str, confirmation: object) -> Volume:
    """Make a person's volume new and empty.

    Args:
        user: the person, as the hub knows them.
        kind: ``home``, ``workspace`` or ``cache``.
        confirmation: the volume's full name, so that no other one is meant.

    Returns:
        the volume that was reset.

    Raises:
        VolumeError: it was not reset.
    """
    volume = volume_of(user, kind)
    if volume.used_by:
        servers = " and ".join(_server(name) for name in volume.used_by)
        raise VolumeInUseError(
            f"The volume {volume.name} is in use by {servers}; stop that first, then reset it."
        )
    if confirmation != volume.name:
        raise VolumeUnconfirmedError(
            f'Nothing was reset: say {{"confirm": "{volume.name}"}} to delete all that is in this'
            " volume."
        )
    try:
        await _renew(user, volume.name)
    except EngineError as err:
        log.error("the Engine did not reset %s: %s", volume.name, err)
        if err.status == 409:
            raise VolumeInUseError(
                f"The volume {volume.name} has just been taken by a container; stop the server that"
                " was started, then reset the volume."
            ) from err
        raise VolumeError(f"The volume {volume.name} was not reset. {err.for_people}") from err
    return volume


async def _renew(user: Any, name: str) -> None:
    spawner = user.spawner
    if hasattr(spawner, "renew_volume"):
        await spawner.renew_volume(name)  # a claim in a cluster
        return
    for container in await _holders(spawner, name):
        await _give_up(user, container, name)
    try:
        old = await docker(spawner, "inspect_volume", name)
    except EngineError as err:
        if err.status == 404:
            return  # no server has ever had it: the next one gets it new
        raise
    owns = getattr(spawner, "owns_volume", None)
    if owns is not None and not owns(name, old.get("Labels")):
        raise VolumeInUseError(leftovers.refusal(name, user.name))
    await docker(spawner, "remove_volume", name)
    # At once, and as it was: a volume that comes with a mount alone has no driver's options and no
    # labels, and a backup that goes by labels would miss it.
    await docker(
        spawner,
        "create_volume",
        name,
        driver=old.get("Driver"),
        driver_opts=old.get("Options") or None,
        labels=old.get("Labels") or None,
    )


async def _holders(spawner: Any, name: str) -> list[dict[str, Any]]:
    found = await docker(spawner, "containers", all=True, filters={"volume": name})
    return [
        container
        for container in found
        if any(mount.get("Name") == name for mount in container.get("Mounts", ()))
    ]


async def _give_up(user: Any, container: dict[str, Any], name: str) -> None:
    """Remove a stopped container that still has a volume, if it is one of the person's servers."""
    called = [str(given).lstrip("/") for given in container.get("Names") or ()]
    stopped = container.get("State") in ("exited", "created", "dead")
    own = {
        spawner.container_name: server
        for server, spawner in user.spawners.items()
        if not spawner.active
    }
    if not stopped or not own.keys() & set(called):
        what = called[0] if called else str(container.get("Id"))[:12]
        raise VolumeInUseError(
            f"The volume {name} is in use by the container {what}, which is no stopped server of"
            f" {user.name}; an administrator must look at it."
        )
    # What is left of a server that ended without the hub: it is made anew when it starts.
    await docker(user.spawner, "remove_container", container["Id"])


def _server(name: str) -> str:
    return f"the server {name}" if name else "the default server"
