"""Whose a container is, and what nobody owns any more.

A sandbox's container carries its kernel's process id, the time that process started and the
namespace its id counts in. A container whose kernel is gone is a leftover. Where that cannot be
told, the kernel is taken to live: what runs for somebody is never removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .faults import Case, SandboxFault, why_it_cannot_start
from .image import IS_OURS
from .labels import LABEL, OWNER, OWNER_NAMESPACE, OWNER_START, PROC, namespace, start_of
from .runtime import Runtime


def owner_lives(labels: Mapping[str, str], proc: Path = PROC) -> bool:
    """Return whether the owner of a container lives, or may live."""
    where = labels.get(OWNER_NAMESPACE, "")
    if where and where != namespace(proc):
        return True  # its number means another process here
    try:
        pid, began = int(labels[OWNER]), int(labels[OWNER_START])
    except (KeyError, ValueError):
        return True  # none of ours wrote that
    try:
        return start_of(pid, proc) == began
    except OSError:
        return _exists(pid)


def _exists(pid: int) -> bool:
    """Return whether there is a process of this id that /proc does not show, as with hidepid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@dataclass(frozen=True)
class Container:
    """A container of ours."""

    id: str
    image: str
    state: str
    created: str
    owner: int | None
    lives: bool


@dataclass(frozen=True)
class Image:
    """An image of ours, under all its names; one without names was replaced by a newer one."""

    id: str
    names: tuple[str, ...]
    size: int
    created: str
    version: str
    python: str
    packages: tuple[str, ...]


def containers(runtime: Runtime) -> list[Container]:
    """Return this user's sandboxes, the running and the left ones.

    Raises:
        SandboxFault: the runtime does not say.
    """
    ids = _lines(runtime, "ps", "--all", "--quiet", "--no-trunc", f"--filter=label={OWNER}")
    return [container(entry) for entry in _inspected(runtime, "container", ids)]


def container(entry: Mapping[str, Any], proc: Path = PROC) -> Container:
    """Return a container, given what ``inspect`` says of it."""
    labels = entry["Config"].get("Labels") or {}
    owner = labels.get(OWNER, "")
    return Container(
        id=entry["Id"],
        image=entry.get("ImageName") or entry["Config"].get("Image", ""),
        state=entry["State"]["Status"],
        created=entry["Created"],
        owner=int(owner) if owner.isascii() and owner.isdigit() else None,
        lives=owner_lives(labels, proc),
    )


def images(runtime: Runtime) -> list[Image]:
    """Return the images that ``familiar sandbox build`` made or took.

    Raises:
        SandboxFault: the runtime does not say.
    """
    ids = _lines(runtime, "images", "--quiet", "--no-trunc", f"--filter=label={IS_OURS}")
    return [image(entry) for entry in _inspected(runtime, "image", list(dict.fromkeys(ids)))]


def image(entry: Mapping[str, Any]) -> Image:
    """Return an image, given what ``inspect`` says of it."""
    labels = (entry.get("Config") or {}).get("Labels") or {}
    return Image(
        id=entry["Id"].removeprefix("sha256:"),
        names=tuple(entry.get("RepoTags") or ()),
        size=entry["Size"],
        created=entry["Created"],
        version=labels.get(f"{LABEL}.version", ""),
        python=labels.get(f"{LABEL}.python", ""),
        packages=tuple(labels.get(f"{LABEL}.packages", "").split()),
    )


def leftovers(
    found: list[Container], pictures: list[Image], *, everything: bool = False
) -> tuple[list[Container], list[Image]]:
    """Return what nobody needs: containers without an owner, and images that were replaced.

    Args:
        found: all containers of ours.
        pictures: all images of ours.
        everything: also the images that are in use by no living sandbox, names and all.
    """
    dead = [box for box in found if not box.lives]
    used = {box.image for box in found if box.lives}
    if everything:
        return dead, [i for i in pictures if not used.intersection(i.names)]
    return dead, [i for i in pictures if not i.names]


def remove_container(runtime: Runtime, box: Container) -> str:
    """Remove a container, whatever it does; return why that failed, or nothing."""
    now = () if runtime.kind == "docker" else ("--time=0",)
    return _done(runtime, "rm", "--force", *now, box.id)


def remove_image(runtime: Runtime, picture: Image) -> str:
    """Remove an image under all its names; return why that failed, or nothing."""
    faults = [_done(runtime, "rmi", name) for name in picture.names or (picture.id,)]
    return next(filter(None, faults), "")


def _done(runtime: Runtime, *arguments: str) -> str:
    done = runtime.ask(*arguments)
    last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
    return last[0].removeprefix("Error: ") if done.returncode != 0 else ""


def _lines(runtime: Runtime, *arguments: str) -> list[str]:
    done = runtime.ask(*arguments)
    if done.returncode != 0:
        case = Case(runtime.executable, rootless=runtime.rootless)
        raise SandboxFault(why_it_cannot_start(done.stderr, case))
    return done.stdout.split()


def _inspected(runtime: Runtime, what: str, ids: list[str]) -> list[dict[str, Any]]:
    """Return what the runtime knows of each; what is gone meanwhile is left out.

    Podman says nothing of any where its store has lost one: then each is asked for alone.
    """
    if not ids:
        return []
    try:
        found: list[dict[str, Any]] = json.loads(runtime.ask(what, "inspect", *ids).stdout or "[]")
    except ValueError:
        found = []
    if not found and len(ids) > 1:
        return [entry for one in ids for entry in _inspected(runtime, what, [one])]
    return found
