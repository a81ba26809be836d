"""``python -m familiar_kernel.familiar FD`` runs a host on the socket that it inherited as FD.

The host's imports take most of a second, on a busy machine several, and a kernel may be gone before
they are done. So the first thing that runs is a watch over the kernel's life; the host takes it
over when it serves.
"""

from __future__ import annotations

import os
import sys
import threading

POLL = 0.2
"""Seconds between two looks at whether the kernel lives."""


def leave_with(parent: int, serving: threading.Event) -> None:
    """End this process when its parent ends, until ``serving`` is set."""
    while not serving.wait(POLL):
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    kernel, serving = os.getppid(), threading.Event()
    threading.Thread(target=leave_with, args=(kernel, serving), daemon=True).start()
    from .host import main

    main(int(sys.argv[1]), kernel, serving)
