"""The sandbox's container, started before anything else of the kernel is loaded.

To load ipykernel and IPython takes as long as to start the container. What the container is like is
told by settings that are read much later; so it is started as the environment says, and where the
settings turn out to be others, it is ended and another one is started. Where it is likely that they
are, nothing is started early.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from familiar_kernel.sandbox.container import Sandbox

_CHOOSING = ("--Sandbox", "--config", "--profile", "--ipython-dir")
"""Arguments that choose settings of a sandbox, or where such are."""
_started: list[Sandbox] = []


def start(argv: Sequence[str]) -> None:
    """Start a container, where the environment alone is likely to say what it is like."""
    if any(argument.startswith(_CHOOSING) for argument in argv) or _is_configured():
        return
    from familiar_kernel.sandbox.configuration import Sandbox as Settings

    from .starting import new_box

    box, _ = new_box(Settings())
    box.start()
    _started.append(box)


def taken() -> Sandbox | None:
    """Return the container that was started, once."""
    return _started.pop() if _started else None


def _is_configured() -> bool:
    """Whether a file of settings speaks of a sandbox."""
    home = Path(os.environ.get("IPYTHONDIR") or "~/.ipython").expanduser()
    folders = [home / "profile_default", home, Path(sys.prefix, "etc", "ipython")]
    folders += [Path("/etc/ipython"), Path("/usr/local/etc/ipython"), Path.cwd()]
    for folder in folders:
        for name in ("ipython_config", "ipython_kernel_config"):
            for ending in (".py", ".json"):
                try:
                    if "Sandbox" in (folder / f"{name}{ending}").read_text(errors="replace"):
                        return True
                except OSError:
                    continue
    return False
