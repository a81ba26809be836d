"""A workspace that a sandbox may write: a file system over the person's folder that knows what must
not be written. A process of its own.

The sandbox sees the mount of this file system, never the folder. So it does not matter what the
host renames, replaces or makes there meanwhile, nor how a name comes to be: there is nothing to
cover and nothing to watch. Each change comes here as a request, is looked at, and is made with the
person's own rights; what the host changes is seen a moment later.

There are two processes. The first mounts it, in the user namespace of podman's containers where an
ordinary user runs podman, ends when it is mounted and leaves one behind that waits for the kernel's
end (the pipe at its stdin) and takes the mount away; the last one serves it. The standard library
only.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pwd
import re
import resource
import select
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from . import fuse
from .folder import Folder
from .labels import start_of
from .protected import HIDDEN
from .serving import Server

DEVICE = "/dev/fuse"
LAST_WORDS = 20.0
"""Seconds that are left, after the kernel's end, to write down what the sandbox has written."""
MEMORY = 1 << 30
"""Bytes that the process may have which serves it."""
_LEFT = re.compile(HIDDEN.decode() + r"(\d+)-(\d+)-\w+-\w+")
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


def main(told: str) -> None:
    """Mount it, serve it, and take it away at the end.

    Args:
        told: a JSON object: ``folder``, what to show; ``also``, paths in it that are protected
            beside those of :mod:`.protected`; ``place``, where, a path that is not there
            yet, in a folder of its own; ``user``, the sandbox's user as the mount's user namespace
            sees it; ``as_owner``, whether to serve with the rights of the folder's owner.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    job = json.loads(told)
    place = job["place"]
    _sweep(place)
    try:
        folder = Folder(job["folder"], [os.fsencode(path) for path in job["also"]])
        owner = os.stat(job["folder"])
        folder.stat(b"")  # an old kernel, or one that is forbidden it, fails here
        device = _mounted(place)
    except OSError as err:
        print(why_not(err), file=sys.stderr)
        raise SystemExit(1) from err
    if os.fork():
        os._exit(0)  # whoever started this knows by that that it is mounted
    _to_nowhere()
    serving = os.fork()
    if serving == 0:
        _serve(folder, device, owner if job["as_owner"] else None, job["user"])
    os.close(device)
    _wait_for_the_end(place, serving)


def why_not(err: OSError) -> str:
    """Return a sentence that tells why there is no share, and what to do."""
    instead = "or choose workspace_mode ro"
    if err.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO) and err.filename == DEVICE:
        return f"This machine has no {DEVICE}; type: sudo modprobe fuse, {instead}."
    if err.filename == DEVICE:
        return f"{DEVICE} cannot be opened; type: sudo chmod a+rw {DEVICE}, {instead}."
    if err.errno == errno.ENOSYS:
        return f"This machine's Linux lacks what is needed (openat2); take 5.6 or newer, {instead}."
    if err.errno == errno.EPERM:
        return (
            "This machine does not let you mount file systems (FUSE), as in a container without"
            f" that right; ask whoever runs it, {instead}."
        )
    where = os.fsdecode(err.filename or "it")
    return f"The workspace cannot be shared ({where}: {err.strerror}); mend that, {instead}."


def _mounted(place: str) -> int:
    """Make the place and mount there; return the descriptor of the requests."""
    above = os.path.dirname(place)
    os.mkdir(above, 0o700)
    try:
        os.mkdir(place, 0o700)
        return fuse.mount(place)
    except OSError:
        _remove(place)
        raise


def _remove(place: str) -> None:
    """Remove the place: only what is empty, since below a mount are the person's files."""
    for path in (place, os.path.dirname(place)):
        with suppress(OSError):
            os.rmdir(path)


def _sweep(place: str) -> None:
    """Take away what is left of kernels that are gone, where all was killed that could do it."""
    above = os.path.dirname(os.path.dirname(place))
    for name in os.listdir(above):
        found = _LEFT.fullmatch(name)
        if found is None:
            continue
        left = os.path.join(above, name)
        try:
            if os.stat(left).st_uid != os.geteuid() or start_of(int(found[1])) == int(found[2]):
                continue
        except OSError:
            pass  # there is no such process
        fuse.unmount(os.path.join(left, "w"))
        _remove(os.path.join(left, "w"))


def _to_nowhere() -> None:
    """Let go of what the one who started this reads, and of its session."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir("/")


def _serve(folder: Folder, device: int, owner: os.stat_result | None, user: int) -> NoReturn:
    """Serve with no more than the person's rights, until nobody uses it."""
    libc = ctypes.CDLL(None)
    os.close(0)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # What the sandbox makes it keep is not counted to the sandbox.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    ids = (os.geteuid(), os.getegid())
    if owner is not None and owner.st_uid != os.geteuid():
        # Root has started the kernel in somebody's folder: what is made there is theirs.
        ids = (owner.st_uid, owner.st_gid)
        try:
            os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
        except KeyError:
            os.setgroups([])
        os.setresgid(ids[1], ids[1], ids[1])
        os.setresuid(ids[0], ids[0], ids[0])
        # Else its own /proc/self/fd would be closed to it.
        libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.umask(0)  # the sandbox's own is in the modes that it asks for
    Server(folder, device, (*ids, user, user)).serve()
    os._exit(0)


def _wait_for_the_end(place: str, serving: int) -> NoReturn:
    """Take the mount away when the kernel has ended, or what serves it."""
    served = os.pidfd_open(serving)
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(served, select.POLLIN)
    while not any(fd == served for fd, _ in poll.poll()):
        if not os.read(0, 4096):
            break
    # The sandbox has it as long as it lives; then what it has written by mapping is still to come.
    fuse.unmount(place)
    if not select.select([served], [], [], LAST_WORDS)[0]:
        os.kill(serving, signal.SIGKILL)
    os.waitpid(serving, 0)
    _remove(place)
    os._exit(0)
