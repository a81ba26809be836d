"""``python -m familiar_kernel.familiar FD`` runs a host on the socket that it inherited as FD.

The host's imports take most of a second, on a busy machine several, and a kernel may be gone before
they are done. So the first thing that runs is a watch over the kernel's life; the host takes it
over when it serves.
"""

from __future__ import annotations

import os
import sys
import threading

from .tether import watch

if __name__ == "__main__":
    kernel, serving = os.getppid(), threading.Event()
    leave = (kernel, serving, lambda: os._exit(1))
    threading.Thread(target=watch, args=leave, daemon=True).start()
    # The SDK imports jsonschema, and that compiles a grammar for names in IRIs wherever JupyterLab
    # has brought it along: a second, more than all else here. No tool's schema names that format.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # an ImportError, as without it
    from .host import main

    main(int(sys.argv[1]), kernel, serving)
