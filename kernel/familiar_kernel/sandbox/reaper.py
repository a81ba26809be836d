"""Removes a sandbox when its kernel is gone, however that ended.

A process of its own, in a session of its own, run by the path of this file: it reads what there is
to do from its stdin, and then waits for the end of that pipe, which the kernel holds. A kernel that
shuts down closes it; of one that is killed the system does. The standard library only.
"""

import json
import shutil
import signal
import subprocess
import sys

ATTEMPTS = 3


def main() -> None:
    """Read a JSON object: ``remove``, the command that removes the container, and ``folder``, the
    sockets' folder; then wait for the end and do it."""
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
    shutil.rmtree(job["folder"], ignore_errors=True)


if __name__ == "__main__":
    main()
