"""``python -m familiar_kernel.familiar.tether COMMAND ...`` runs a command that ends with whoever
started it.

A program that waits for a person, as ``claude auth login`` does, does not notice that the kernel is
gone: it takes no notice of the end of its input. So this process stands between the two, watches
the one and ends the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

POLL = 0.2
"""Seconds between two looks at whether the parent lives."""


def watch(parent: int, over: threading.Event, orphaned: Callable[[], object]) -> None:
    """Call ``orphaned`` once this process has another parent, unless ``over`` is set before."""
    while not over.wait(POLL):
        if os.getppid() != parent:
            orphaned()
            return


def command(argv: list[str]) -> list[str]:
    """Return the command line that runs ``argv`` tethered to the process that starts it."""
    return [sys.executable, "-P", "-m", __name__, str(os.getpid()), *argv]


def main(parent: int, argv: list[str]) -> int:
    """Run a command until it ends or the parent does; returns its exit status."""
    with subprocess.Popen(argv) as process:
        over = threading.Event()
        watcher = threading.Thread(target=watch, args=(parent, over, process.kill), daemon=True)
        watcher.start()
        status = process.wait()
        over.set()
    return status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
