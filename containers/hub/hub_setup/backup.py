"""Writes a backup to its output, or puts one back: ``python -m hub_setup.backup write|put``.

It runs in a container with all volumes mounted, which data.sh in deploy/compose starts. The hub
goes on meanwhile: its database is copied by SQLite itself, so that the copy is one moment's.
People's files are copied as they are read; one that changes just then may be half old.

The archive is a plain tar: ``manifest.json`` first, then ``hub``, ``secrets``, ``certificates``,
``authority``, ``settings`` and ``volumes/NAME``. GNU tar writes it: it knows holes and attributes.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MOUNTED = Path("/data")
"""Where data.sh mounts everything."""
FORMAT = 1
DATABASE = "jupyterhub.sqlite"
PARTS = ("hub", "secrets", "certificates", "authority", "settings")
_KEPT = ("--numeric-owner", "--xattrs", "--xattrs-include=*", "--sparse")
# These belong to a hub that runs, or come with the copy of the database.
_LEFT_OUT = ("proxy.pid", DATABASE, f"{DATABASE}-journal", f"{DATABASE}-wal", f"{DATABASE}-shm")


def copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database that others may be writing, as it is at one moment.

    Raises:
        sqlite3.Error: it cannot be read, or is damaged.
    """
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=60)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        [(said,)] = new.execute("PRAGMA quick_check(1)").fetchall()
    if said != "ok":
        raise sqlite3.DatabaseError(f"the hub's database is damaged: {said}")
    told = source.stat()
    target.chmod(0o600)
    os.chown(target, told.st_uid, told.st_gid)


def manifest(folder: Path, environ: dict[str, str]) -> dict[str, Any]:
    """Return what a backup of a folder says of itself."""
    volumes = folder / "volumes"
    return {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": environ.get("IMAGE_VERSION", ""),
        "commit": environ.get("IMAGE_SHA", ""),
        "volumes": sorted(p.name for p in volumes.iterdir()) if volumes.is_dir() else [],
    }


def write(folder: Path, environ: dict[str, str]) -> int:
    """Write the backup of a folder to the standard output, and return the exit status.

    Raises:
        OSError, sqlite3.Error: something cannot be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        told = json.dumps(manifest(folder, environ), indent=2)
        (made / "manifest.json").write_text(f"{told}\n")
        ours = ["manifest.json"]
        if (folder / "hub" / DATABASE).exists():
            (made / "database").mkdir()
            copy_database(folder / "hub" / DATABASE, made / "database" / DATABASE)
            ours.append(f"database/{DATABASE}")
        else:
            print("familiar: here is no SQLite database; back yours up as well.", file=sys.stderr)
        command = [
            "tar", "--create", "--file=-", *_KEPT, "--warning=no-file-ignored",
            "--anchored", "--no-wildcards", *(f"--exclude=hub/{name}" for name in _LEFT_OUT),
            # Of the names only, not of what links lead to.
            "--transform=s,^database/,hub/,rSH",
            f"--directory={made}", *ours,
            f"--directory={folder}", *_parts(folder),
        ]  # fmt: skip
        status = subprocess.run(command, check=False).returncode
    # 1: a file changed or went while it was read, which tar has said.
    return 0 if status in (0, 1) else status


def put(folder: Path, environ: dict[str, str]) -> int:
    """Put the backup that the standard input gives in place of what a folder's parts hold.

    Raises:
        OSError: something cannot be removed.
    """
    for name in _parts(folder):
        for old in (folder / name).iterdir():
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    command = [
        "tar", "--extract", "--file=-", *_KEPT[:3], "--same-owner", "--preserve-permissions",
        "--delay-directory-restore", "--anchored", "--exclude=manifest.json",
        f"--directory={folder}",
    ]  # fmt: skip
    return subprocess.run(command, check=False).returncode


def _parts(folder: Path) -> list[str]:
    """Return the folders of which each is mounted, as a backup calls them."""
    volumes = sorted((folder / "volumes").glob("*"))
    return [
        *(name for name in PARTS if (folder / name).is_dir()),
        *(f"volumes/{path.name}" for path in volumes),
    ]


def main(argv: list[str]) -> int:
    """Do what the one argument says, and return the exit status."""
    doing: dict[str, Callable[[Path, dict[str, str]], int]] = {"write": write, "put": put}
    if len(argv) != 1 or argv[0] not in doing:
        print("familiar: write or put, and nothing else.", file=sys.stderr)
        return 2
    try:
        return doing[argv[0]](MOUNTED, dict(os.environ))
    except (OSError, sqlite3.Error) as error:
        print(f"familiar: {error}.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
