"""By what a sandbox's container, folder and settings are known, and whose they are.

A process is known by its id, the time it started and the namespace its id counts in.
"""

from __future__ import annotations

import os
from pathlib import Path

LABEL = "org.familiar-kernel"
"""What the names of our labels begin with, on images and on containers."""
PREFIX = "FAMILIAR_SANDBOX_"
"""What the names of variables begin with that choose a sandbox's settings."""
OWNER = f"{LABEL}.owner"
OWNER_START = f"{LABEL}.owner-start"
OWNER_NAMESPACE = f"{LABEL}.owner-namespace"
PROC = Path("/proc")


def start_of(pid: int, proc: Path = PROC) -> int:
    """Return when a process started, in clock ticks since the boot.

    Raises:
        OSError: there is no such process, or it is not shown.
    """
    # The name, field 2, may hold anything; nothing after its last parenthesis does.
    fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[22 - 3])


def namespace(proc: Path = PROC) -> str:
    """Return what process ids count in here, such as ``pid:[4026531836]``; empty if not known."""
    try:
        return os.readlink(proc / "self" / "ns" / "pid")
    except OSError:
        return ""


def labels_of(pid: int) -> dict[str, str]:
    """Return the labels that make a process of this machine a container's owner.

    Raises:
        OSError: there is no such process.
    """
    return {OWNER: str(pid), OWNER_START: str(start_of(pid)), OWNER_NAMESPACE: namespace()}


def folder_prefix(pid: int) -> str:
    """Return how the names of the folders of a process begin.

    Raises:
        OSError: there is no such process.
    """
    return f"familiar-{pid}-{start_of(pid)}-"
