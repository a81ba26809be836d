"""The language that Linux speaks with a file system which is a program (FUSE, version 7.31). Pure,
but for :func:`mount`, :func:`unmount`.

Why not a library: those that Python has drop what a rename asks for (not to overwrite), need
libfuse on the machine, or a compiler; and a file that is removed while it is open stays as a hidden
one. What is needed of the language is this page.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE, STATFS, RELEASE = range(8, 19)
FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR = 20, 25, 26, 27, 28, 29, 30
ACCESS, CREATE, INTERRUPT, DESTROY, BATCH_FORGET, FALLOCATE = 34, 35, 36, 38, 42, 43
RENAME2, LSEEK = 45, 46

MAX_WRITE = 1 << 20
BUFFER = MAX_WRITE + 4096
ROOT = 1

SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME, SET_FH = 1, 2, 4, 8, 16, 32, 64
SET_ATIME_NOW, SET_MTIME_NOW = 128, 256

# Read ahead, big writes, drop what is cached of a file that has changed, many pages at once.
_WANTED = 1 << 0 | 1 << 5 | 1 << 12 | 1 << 18 | 1 << 22
_VERSION = (7, 31)
_FRESH_NS = 100_000_000
"""How long the kernel may take names and attributes for known: what the host changes is seen after
a tenth of a second."""

_HEAD = struct.Struct("=IIQQIIIHH")
_REPLY = struct.Struct("=IiQ")
_ATTR = struct.Struct("=6Q10I")
_ENTRY = struct.Struct("=QQQQII")
_ATTR_OUT = struct.Struct("=QII")
_INIT_OUT = struct.Struct("=IIIIHHIIHHI7I")
_STATFS = struct.Struct("=5Q4I6I")
_DIRENT = struct.Struct("=QQII")

GETATTR_IN = struct.Struct("=IIQ")
SETATTR_IN = struct.Struct("=II6Q8I")
MKNOD_IN = struct.Struct("=IIII")
MKDIR_IN = struct.Struct("=II")
CREATE_IN = struct.Struct("=IIII")
OPEN_IN = struct.Struct("=II")
RENAME_IN = struct.Struct("=Q")
RENAME2_IN = struct.Struct("=QII")
READ_IN = struct.Struct("=QQIIQII")
WRITE_IN = READ_IN
HANDLE_IN = struct.Struct("=QII")
ACCESS_IN = struct.Struct("=II")
FORGET_IN = struct.Struct("=Q")
FORGET_ONE = struct.Struct("=QQ")
FALLOCATE_IN = struct.Struct("=QQQII")
LSEEK_IN = struct.Struct("=QQII")


def request(data: memoryview) -> tuple[int, int, int, memoryview]:
    """Return what is asked: the operation, the request's number, the node, and the rest."""
    length, operation, unique, node, *_ = _HEAD.unpack_from(data)
    return operation, unique, node, data[_HEAD.size : length]


def reply(unique: int, body: bytes = b"", error: int = 0) -> bytes:
    """Return the answer to a request."""
    return _REPLY.pack(_REPLY.size + len(body), -error, unique) + body


def names(data: memoryview) -> list[bytes]:
    """Return the names at the end of a request."""
    return bytes(data).split(b"\0")[:-1]


def init(data: memoryview) -> bytes:
    """Return the answer to the first request.

    Raises:
        OSError: this kernel speaks too old a version.
    """
    major, minor, read_ahead, offered = struct.unpack_from("=IIII", data)
    if (major, minor) < _VERSION:
        raise OSError(71, "the kernel's FUSE is too old")  # EPROTO
    pages = MAX_WRITE // 4096
    return _INIT_OUT.pack(
        *_VERSION, read_ahead, offered & _WANTED, 16, 12, MAX_WRITE, 1, pages, 0, 0, *[0] * 7
    )


def attributes(seen: os.stat_result, uid: int, gid: int) -> bytes:
    """Return what a file is like, with these as its owner."""
    times = (seen.st_atime_ns, seen.st_mtime_ns, seen.st_ctime_ns)
    return _ATTR.pack(
        seen.st_ino,
        seen.st_size,
        seen.st_blocks,
        *(max(time, 0) // 10**9 for time in times),
        *(time % 10**9 for time in times),
        seen.st_mode,
        seen.st_nlink,
        uid,
        gid,
        0,
        seen.st_blksize,
        0,
    )


def entry(node: int, attribute: bytes) -> bytes:
    """Return what a name stands for."""
    return _ENTRY.pack(node, 0, 0, 0, _FRESH_NS, _FRESH_NS) + attribute


def attribute_reply(attribute: bytes) -> bytes:
    """Return the answer to the question for attributes."""
    return _ATTR_OUT.pack(0, _FRESH_NS, 0) + attribute


def opened(handle: int) -> bytes:
    """Return the answer to the wish to open something."""
    return struct.pack("=QII", handle, 0, 0)


def written(size: int) -> bytes:
    """Return how much was written."""
    return struct.pack("=II", size, 0)


def position(offset: int) -> bytes:
    """Return the answer to LSEEK."""
    return struct.pack("=Q", offset)


def statfs(seen: os.statvfs_result) -> bytes:
    """Return how full a file system is."""
    return _STATFS.pack(
        *(seen.f_blocks, seen.f_bfree, seen.f_bavail, seen.f_files, seen.f_ffree),
        *(seen.f_bsize, seen.f_namemax, seen.f_frsize, 0),
        *[0] * 6,
    )


def listing(entries: Iterable[tuple[bytes, int, int]], offset: int, size: int) -> bytes:
    """Return as many entries of a folder as have room.

    Args:
        entries: names, their numbers and their kinds (as in ``st_mode``), from the offset on.
        offset: the number of the first of them in the folder.
        size: how many bytes there is room for.
    """
    told = bytearray()
    for number, (name, inode, mode) in enumerate(entries, offset + 1):
        one = _DIRENT.pack(inode or 1, number, len(name), stat.S_IFMT(mode) >> 12) + name
        one += bytes(-len(one) % 8)
        if len(told) + len(one) > size:
            break
        told += one
    return bytes(told)


_libc = ctypes.CDLL(None, use_errno=True)
_MS_NOSUID, _MS_NODEV, _MNT_DETACH = 2, 4, 2


def mount(where: str) -> int:
    """Mount a file system that is yet to be served; return the descriptor for its requests.

    Raises:
        OSError: there is no FUSE here, or no right to mount.
    """
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    # Other users may use it, as far as this user namespace goes: the sandbox's is one of them.
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={MAX_WRITE}"
    done = _libc.mount(
        b"familiar-workspace",
        os.fsencode(where),
        b"fuse",
        ctypes.c_ulong(_MS_NOSUID | _MS_NODEV),
        options.encode(),
    )
    if done != 0:
        code = ctypes.get_errno()
        os.close(device)
        raise OSError(code, os.strerror(code), where)
    return device


def unmount(where: str) -> bool:
    """Take a file system away from its place; who uses it still has it. Return whether it was."""
    return bool(_libc.umount2(os.fsencode(where), _MNT_DETACH) == 0)
