"""Files and folders that are handed to other users: whole or not at all, and for nobody else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MOST_SECRET_BYTES = 65536
Owner = tuple[int, int]


class PlaceError(Exception):
    """Something cannot be handed over; one sentence."""


def hand_over(path: Path, data: bytes, owner: Owner, mode: int = 0o400) -> None:
    """Write a file that belongs to somebody else, in place of one that is there.

    Raises:
        OSError: it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fchown(descriptor, *owner)
    fresh.replace(path)


def folder_for(path: Path, owner: Owner, mode: int) -> None:
    """See that there is a folder that belongs to somebody.

    Raises:
        OSError: it cannot be made.
    """
    path.mkdir(parents=True, exist_ok=True)
    # While it is still ours: root here has no right to change what is another's.
    path.chmod(mode)
    os.chown(path, *owner)


def secrets_in(folder: Path) -> dict[str, bytes]:
    """Return the secrets of a folder by the names of their files.

    Raises:
        PlaceError: one of them cannot be one.
        OSError: one cannot be read.
    """
    found = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        if file.stat().st_size > MOST_SECRET_BYTES:
            raise PlaceError(f"secrets/{file.name} is too large for a secret: is it one?")
        found[file.name] = file.read_bytes()
    return found


def hand_over_secrets(secrets: Mapping[str, bytes], folder: Path, owner: Owner) -> None:
    """Write secrets into a folder of somebody's, and remove those that are no more.

    Raises:
        OSError: a file cannot be written.
    """
    for name, data in secrets.items():
        hand_over(folder / name, data, owner)
    for file in folder.iterdir():
        if file.name not in secrets:
            file.unlink()
    folder_for(folder, owner, 0o500)
