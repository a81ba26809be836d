"""The groups that always exist, what their members may, and how that is kept.

One table. A group of it is made when the hub starts and again before each lab starts, so deleting
one takes its members' rights, and never the group. Rights are read from the hub's database at each
start of a lab, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

DOCKER = "docker"
"""May reach Docker's socket: the filtered one, or the raw one where the settings say so."""
PODMAN = "podman"
"""May run containers of their own in the lab, without Docker."""


@dataclass(frozen=True)
class Group:
    """A group that cannot be lost.

    Attributes:
        name: as JupyterHub knows it.
        summary: one line for the administrator's page.
        grants: what its members may beyond others; names of this module.
    """

    name: str
    summary: str
    grants: frozenset[str]


PROTECTED = (
    Group(
        "docker-privileged",
        "reaches the Docker Engine through a filter that refuses what leads to the host",
        frozenset({DOCKER}),
    ),
    Group(
        "podman",
        "runs containers in the lab with rootless podman, and so the sandboxed kernel",
        frozenset({PODMAN}),
    ),
)


def grants_of(names: Iterable[str]) -> frozenset[str]:
    """Return what a person may who is in these groups."""
    names = frozenset(names)
    return frozenset(grant for group in PROTECTED if group.name in names for grant in group.grants)


def to_load(others: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Return JupyterHub's ``load_groups``: it makes what is missing and keeps every member.

    Args:
        others: groups that profiles name.
    """
    names = [*(group.name for group in PROTECTED), *others]
    return {name: {"users": []} for name in names}


def ensure(session: Any) -> tuple[str, ...]:
    """Make the protected groups that are missing, and return their names.

    Args:
        session: the hub's SQLAlchemy session.
    """
    from jupyterhub import orm

    missing = tuple(
        group.name for group in PROTECTED if orm.Group.find(session, group.name) is None
    )
    for name in missing:
        session.add(orm.Group(name=name))
    if missing:
        session.commit()
    return missing


def members(session: Any, grant: str) -> frozenset[str]:
    """Return the names of all people who have a right.

    Args:
        session: the hub's SQLAlchemy session.
        grant: a name of this module.
    """
    from jupyterhub import orm

    found = (orm.Group.find(session, group.name) for group in PROTECTED if grant in group.grants)
    return frozenset(person.name for group in found if group for person in group.users)
