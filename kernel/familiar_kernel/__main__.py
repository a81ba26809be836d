"""``python -m familiar_kernel -f CONNECTION_FILE`` runs one kernel; a front end starts it so."""

import os
import sys

if __name__ == "__main__":
    # Python has put the notebook's folder first; a queue.py in it would be taken for the standard
    # library's. IPython puts it back once everything is loaded.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    if "--sandboxed" in sys.argv:
        from familiar_kernel.outer.early import start

        start(sys.argv[1:])
    from familiar_kernel.app import FamiliarKernelApp

    FamiliarKernelApp.launch_instance()
