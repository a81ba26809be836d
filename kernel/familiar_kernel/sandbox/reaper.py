"""Removes a sandbox when its kernel is gone, however that ended.

A process of its own, in a session of its own, run by the path of this file: it reads what there is
to do from its stdin, and then waits for the end of that pipe, which the kernel holds. A kernel that
shuts down closes it; of one that is killed the system does. The standard library only.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

ATTEMPTS = 3


def main() -> None:
    """Read a JSON object: ``remove``, the command that removes the container, ``folder``, the
    sockets' folder, ``placeholders``, empty files and folders that were made for the sandbox, and
    ``env``; then wait for the end and do it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    job = json.loads(line)
    while sys.stdin.buffer.read(4096):
        pass
    for _ in range(ATTEMPTS):
        done = subprocess.run(
            job["remove"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        if done.returncode == 0:
            break
    for path in job["placeholders"]:
        # Only what is empty: nobody else's work is in it.
        with contextlib.suppress(OSError):
            if os.path.isdir(path):
                os.rmdir(path)
            elif os.path.getsize(path) == 0:
                os.unlink(path)
    shutil.rmtree(job["folder"], ignore_errors=True)


if __name__ == "__main__":
    main()
