"""What people who have left leave behind: their volumes, which nobody gets by their name alone.

A volume says by a label for which account it was made, and the hub keeps a note of it, since a
backup brings volumes back without labels. An account that has the same name later is another one,
and its labs do not start while the earlier one's volumes are there: until an administrator removes
them, or hands them over. ``python -m familiar_hub.leftovers``, where the hub runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import audit, spawning
from .settings import Settings, SettingsError
from .variables import read_secret

NOTES = "volumes"
"""In the hub's folder: a file for each volume, which says which account has it."""


@dataclass(frozen=True)
class Leftover:
    """A volume that no account has.

    Attributes:
        name: the volume's.
        person: whose it was; empty where it does not say.
        account: which account of that name it was; empty where it does not say.
    """

    name: str
    person: str
    account: str


def of(labels: Mapping[str, str] | None) -> str:
    """Return the account that a volume's labels name; nothing where it was made by hand."""
    return (labels or {}).get(spawning.ACCOUNT, "")


def refusal(name: str, person: str) -> str:
    """Return the sentence that a person is told whose volume is an earlier account's."""
    return (
        f"The volume {name} was made for an earlier account named {person}, and is kept. An"
        f" administrator removes it, or hands it over: python -m familiar_hub.leftovers --help"
    )


def theirs(folder: Path, name: str, labels: Mapping[str, str] | None, account: str) -> bool:
    """Say whether a volume is an account's: it was made for it, or handed over.

    Args:
        folder: the hub's.

    Raises:
        OSError: the hub's note cannot be read.
    """
    return account in (of(labels), _noted(folder, name))


def note(folder: Path, name: str, account: str) -> None:
    """Keep in mind which account has a volume.

    Raises:
        OSError: it cannot be written down.
    """
    if _noted(folder, name) != account:
        (folder / NOTES).mkdir(exist_ok=True)
        new = folder / NOTES / f".{name}"  # no volume's name begins with a dot
        new.write_text(account)
        new.replace(folder / NOTES / name)


def _noted(folder: Path, name: str) -> str:
    file = folder / NOTES / name
    return file.read_text() if file.exists() else ""


def left(
    settings: Settings, volumes: Iterable[Mapping[str, Any]], accounts: Mapping[str, str]
) -> list[Leftover]:
    """Return the volumes that are no account's.

    Args:
        volumes: as the engine lists them.
        accounts: people's names, and the account that has each now.
    """
    whose = {
        name: (person, account)
        for person, account in accounts.items()
        for name in spawning.volume_names(settings, person).values()
    }
    kinds = tuple(f"_{kind}" for kind in spawning.VOLUMES)
    found = []
    for volume in sorted(volumes, key=lambda volume: str(volume["Name"])):
        name, labels = str(volume["Name"]), volume.get("Labels") or {}
        if not (name.startswith(f"{settings.prefix}-") and name.endswith(kinds)):
            continue
        person, account = whose.get(name, ("", ""))
        if not (person and theirs(settings.data, name, labels, account)):
            found.append(Leftover(name, labels.get(spawning.PERSON, person), of(labels)))
    return found


def accounts(settings: Settings) -> dict[str, str]:
    """Return the names of all people, and their accounts, from the hub's database.

    Raises:
        ValueError: there is none; a new one would say that all volumes are left.
    """
    from jupyterhub import orm

    file = settings.data / "jupyterhub.sqlite"
    if settings.database_url_file:
        url = read_secret(settings.database_url_file).strip()
    elif file.exists():
        url = f"sqlite:///{file}"
    else:
        raise ValueError(f"the hub's database {file} is not there; run this where the hub runs")
    session = orm.new_session_factory(url)()
    try:
        return {
            person.name: spawning.account(person.id, person.created)
            for person in session.query(orm.User)
        }
    finally:
        session.close()


def main() -> None:
    """List what is left, remove it, or hand it over; say in sentences what was done."""
    parser = argparse.ArgumentParser(
        prog="python -m familiar_hub.leftovers",
        description="Volumes of people who have left. Without arguments: list them.",
    )
    acts = parser.add_mutually_exclusive_group()
    acts.add_argument("--remove", metavar="PERSON", help="delete what a person's accounts left")
    acts.add_argument(
        "--hand-over",
        metavar="PERSON",
        help="give it to the account that has the name now, which then gets all these files",
    )
    chosen = parser.parse_args()
    # Here, since a hub on Kubernetes need not have it.
    from docker.errors import DockerException

    try:
        for line in _done(Settings.from_environment(os.environ), chosen.remove, chosen.hand_over):
            print(line)
    except SettingsError as error:
        sys.exit(str(error))
    except DockerException as error:
        sys.exit(f"familiar: Docker does not answer as it should: {error}")
    except (OSError, ValueError) as error:
        sys.exit(f"familiar: {error}")


def _done(settings: Settings, remove: str | None, give: str | None) -> list[str]:
    import docker
    from docker.errors import APIError
    from docker.utils import kwargs_from_env

    client = docker.APIClient(**{"version": "auto", "timeout": 60, **kwargs_from_env()})
    people = accounts(settings)
    found = left(settings, client.volumes()["Volumes"] or (), people)
    if not (remove or give):
        return [f"{one.name}: {one.person or '?'}, {one.account or '?'}" for one in found]
    person = remove or give or ""
    names = spawning.volume_names(settings, person).values()
    mine = [one for one in found if one.name in names]
    if not mine:
        raise ValueError(f"nothing is left of an earlier account named {person}")
    audit.configure(settings.data / "audit.jsonl")
    told = [one.name for one in mine]
    if remove:
        for one in mine:
            try:
                client.remove_volume(one.name)
            except APIError as error:
                raise ValueError(
                    f"Docker does not remove {one.name}: {error.explanation}"
                ) from None
            (settings.data / NOTES / one.name).unlink(missing_ok=True)
        audit.record("leftovers.removed", by="leftovers", admin=True, person=person, volumes=told)
        return [f"The volume {one.name} is removed." for one in mine]
    if person not in people:
        raise ValueError(f"nobody is named {person} now; there is no account to give them to")
    for one in mine:
        note(settings.data, one.name, people[person])
    audit.record("leftovers.handed-over", by="leftovers", admin=True, person=person, volumes=told)
    return [f"The volume {one.name} is {person}'s now." for one in mine]


if __name__ == "__main__":
    main()
