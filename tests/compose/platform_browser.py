"""Runs Chromium so that it does not hear of the machine's networks.

Each container that starts or ends is a network more or less on the tests' machine, and Chromium
then gives up whatever it is asking for (ERR_NETWORK_CHANGED). People's browsers run on machines of
their own. So its processes may not have the kind of socket by which Linux tells of networks; it
takes the network for one that is always there. Run as a script, with the command as arguments.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import shlex
import struct
import sys
from pathlib import Path

_ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Linux's numbers of an architecture and of its system call ``socket``."""
_NETLINK = 16
_LOAD, _UNLESS, _RETURN = 0x20, 0x15, 0x06  # instructions of a filter
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_SET_SECCOMP, _FILTER, _NO_NEW_PRIVILEGES = 22, 2, 38


def steady(executable: str, folder: Path) -> str:
    """Write a command that runs a browser in this way, and return its path."""
    file = folder / "chromium"
    words = shlex.join([sys.executable, __file__, executable])
    file.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    file.chmod(0o755)
    return str(file)


def hear_no_networks() -> None:
    """Refuse netlink sockets to this process and to all that it starts.

    Raises:
        OSError: the kernel does not do that.
    """
    architecture, number = _ARCHITECTURES[platform.machine()]
    steps = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_UNLESS, 0, 4, architecture),
        (_LOAD, 0, 0, 0),  # the system call
        (_UNLESS, 0, 2, number),
        (_LOAD, 0, 0, 16),  # its first argument
        (_UNLESS, 1, 0, _NETLINK),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL | errno.EAFNOSUPPORT),
    ]
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    held = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    for request in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, described)):
        if libc.prctl(*request):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")


if __name__ == "__main__":
    hear_no_networks()
    os.execv(sys.argv[1], sys.argv[1:])
