"""Removes what kernels left behind that could not remove it: containers, and folders of sockets.

A kernel ends its own sandbox, or its reaper does. Where both were killed, the next kernel comes
along here. What belongs to a kernel that lives, or may live, is left alone.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path

from .faults import SandboxFault
from .labels import start_of
from .owners import containers, leftovers, remove_container
from .runtime import Runtime

log = logging.getLogger(__name__)

_FOLDER = re.compile(r"familiar-(\d+)-(\d+)-\w+")


def sweep(runtime: Runtime, folder: Path) -> None:
    """Remove what nobody owns any more. What cannot be removed is logged.

    Args:
        runtime: whose containers to look through.
        folder: where folders of sockets are made.
    """
    try:
        dead, _ = leftovers(containers(runtime), [])
        for box in dead:
            if fault := remove_container(runtime, box):
                log.warning("a leftover sandbox could not be removed: %s", fault)
    except SandboxFault as err:
        log.info("leftover sandboxes could not be looked for: %s", err)
    for entry in folder.glob("familiar-*"):
        if _is_leftover(entry):
            shutil.rmtree(entry, ignore_errors=True)


def _is_leftover(folder: Path) -> bool:
    named = _FOLDER.fullmatch(folder.name)
    try:
        if named is None or folder.lstat().st_uid != os.geteuid():
            return False
    except OSError:
        return False  # it is gone already
    try:
        return start_of(int(named[1])) != int(named[2])
    except OSError:
        return True
