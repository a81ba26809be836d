"""A folder of the host, used by somebody who is not trusted: all that the file system of
:mod:`.share` does to real files.

Every path is looked up from the folder's own descriptor, and neither a link nor ``..`` is followed
on the way, so nothing outside can be reached, whatever is renamed meanwhile. What is protected is
decided here, at each change, by the names on the path; and at each write once more by the path that
the open file has by then, since a host program may have renamed it over a protected one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .protected import HIDDEN, is_above, is_below, is_protected, leads_out

_OPENAT2 = 437  # on every architecture
_NO_MAGIC_LINKS, _NO_SYMLINKS, _BENEATH = 2, 4, 8
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_ATTEMPTS = 20
_RIGHTS = 0o777
"""What a mode may say. Not setuid: the file is the person's own."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@dataclass
class OpenFile:
    """A file that somebody has open, and its path when that was last looked at."""

    fd: int
    path: str = ""


def fault(code: int) -> OSError:
    """Return the error that a system call would end with."""
    return OSError(code, os.strerror(code))


class Folder:
    """A folder of the host. Paths are relative to it, bytes, and empty for itself.

    All methods raise OSError as the system calls of the same names do; where something is
    protected, with ``EROFS``, as on a file system that cannot be written.

    Args:
        path: the folder.
        also: paths in it that are protected whatever their names.
    """

    def __init__(self, path: str, also: Sequence[bytes] = ()) -> None:
        self._also = also
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    # -- to look --

    def stat(self, path: bytes) -> os.stat_result:
        with self._at(path) as fd:
            return os.fstat(fd)

    def readlink(self, path: bytes) -> bytes:
        with self._at(path) as fd:
            return os.readlink(b"", dir_fd=fd)

    def statvfs(self) -> os.statvfs_result:
        with self._at(b"", os.O_RDONLY | os.O_DIRECTORY) as fd:
            return os.fstatvfs(fd)

    def entries(self, path: bytes) -> list[tuple[bytes, int, int]]:
        """Return the names in a folder, with their numbers and kinds."""
        kinds = {"is_dir": stat.S_IFDIR, "is_file": stat.S_IFREG, "is_symlink": stat.S_IFLNK}
        found = [(b".", 0, stat.S_IFDIR), (b"..", 0, stat.S_IFDIR)]
        with self._at(path, os.O_RDONLY | os.O_DIRECTORY) as fd, os.scandir(fd) as inside:
            for entry in inside:
                name = os.fsencode(entry.name)
                if name.startswith(HIDDEN):
                    continue
                kind = 0
                if entry.is_symlink():
                    kind = kinds["is_symlink"]
                elif entry.is_dir(follow_symlinks=False):
                    kind = kinds["is_dir"]
                elif entry.is_file(follow_symlinks=False):
                    kind = kinds["is_file"]
                found.append((name, entry.inode(), kind))
        return found

    def access(self, path: bytes, mask: int) -> None:
        if mask & os.W_OK:
            self._writable(path)
        with self._at(path) as fd:
            if not os.access(f"/proc/self/fd/{fd}", mask, effective_ids=True):
                raise fault(errno.EACCES)

    def open(self, path: bytes, flags: int) -> OpenFile:
        """Open a file that is there."""
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if writes:
            self._writable(path)
        kept = flags & (os.O_ACCMODE | os.O_APPEND | os.O_SYNC | os.O_DSYNC)
        # Not to wait where a pipe of the host's has just been put in the file's place.
        fd = self._open(path, kept | os.O_NONBLOCK | os.O_NOFOLLOW)
        return self._checked(fd, writes)

    # -- to change --

    def create(self, path: bytes, flags: int, mode: int) -> OpenFile:
        """Make a file and open it; open it where it has come to be meanwhile."""
        kept = flags & (os.O_ACCMODE | os.O_APPEND | os.O_SYNC | os.O_DSYNC | os.O_EXCL)
        kept |= os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._place(path) as (parent, name):
            file = self._checked(os.open(name, kept, mode & _RIGHTS, dir_fd=parent), True)
        if flags & os.O_TRUNC and flags & os.O_ACCMODE != os.O_RDONLY:
            # Not with the opening: then it would be empty before it was looked at.
            os.ftruncate(file.fd, 0)
        return file

    def mkdir(self, path: bytes, mode: int) -> None:
        with self._place(path) as (parent, name):
            os.mkdir(name, mode & _RIGHTS, dir_fd=parent)

    def unlink(self, path: bytes) -> None:
        with self._place(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def rmdir(self, path: bytes) -> None:
        with self._place(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)

    def symlink(self, path: bytes, target: bytes) -> None:
        """Make a link, if it leads to somewhere below its own folder: a host program follows it."""
        if leads_out(target):
            raise fault(errno.EPERM)
        with self._place(path) as (parent, name):
            os.symlink(target, name, dir_fd=parent)

    def rename(self, old: bytes, new: bytes, flags: int) -> None:
        if is_above(old, self._also) or is_above(new, self._also):
            raise fault(errno.EROFS)
        if flags & ~(_RENAME_NOREPLACE | _RENAME_EXCHANGE):
            raise fault(errno.EINVAL)
        with self._place(old) as (here, name), self._place(new) as (there, other):
            done = _libc.renameat2(here, name, there, other, ctypes.c_uint(flags))
            if done != 0:
                raise fault(ctypes.get_errno())

    def chmod(self, path: bytes, mode: int) -> None:
        with self._changeable(path) as here:
            os.chmod(here, mode & _RIGHTS)

    def utime(self, path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set the times that are given."""
        with self._changeable(path) as here:
            seen = os.stat(here, follow_symlinks=True)
            atime = seen.st_atime_ns if atime_ns is None else atime_ns
            mtime = seen.st_mtime_ns if mtime_ns is None else mtime_ns
            os.utime(here, ns=(atime, mtime))

    def truncate(self, path: bytes, size: int) -> None:
        file = self.open(path, os.O_WRONLY)
        try:
            os.ftruncate(file.fd, size)
        finally:
            os.close(file.fd)

    # -- what is open --

    def check(self, file: OpenFile) -> None:
        """Raise where an open file has become a protected one by now."""
        path = os.readlink(f"/proc/self/fd/{file.fd}")
        if path == file.path:
            return
        top = os.readlink(f"/proc/self/fd/{self._fd}").rstrip("/") + "/"
        # Removed, it is nobody's; and where it has left the folder, it is not ours to write.
        if os.fstat(file.fd).st_nlink != 0:
            if not path.startswith(top):
                raise fault(errno.EROFS)
            self._writable(os.fsencode(path[len(top) :]))
        file.path = path

    def _checked(self, fd: int, writes: bool) -> OpenFile:
        """Return an open file, or close it where it is none that may be used so."""
        try:
            file = OpenFile(fd)
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                raise fault(errno.EISDIR if stat.S_ISDIR(seen.st_mode) else errno.EPERM)
            if writes:
                # A second name may be a protected one, or stand outside.
                if seen.st_nlink > 1:
                    raise fault(errno.EROFS)
                self.check(file)
        except BaseException:
            os.close(fd)
            raise
        return file

    # -- paths --

    def _writable(self, path: bytes) -> None:
        if is_protected(path) or is_below(path, self._also):
            raise fault(errno.EROFS)

    @contextmanager
    def _at(self, path: bytes, flags: int = os.O_PATH) -> Iterator[int]:
        """Have something open that is there, whatever it is."""
        fd = self._open(path, flags | os.O_NOFOLLOW)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _place(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Have the folder open in which a name is to be made, changed or removed."""
        self._writable(path)
        folder, _, name = path.rpartition(b"/")
        if not name or name.startswith(HIDDEN):
            raise fault(errno.EPERM)
        with self._at(folder, os.O_PATH | os.O_DIRECTORY) as parent:
            yield parent, name

    @contextmanager
    def _changeable(self, path: bytes) -> Iterator[str]:
        """Have a path to something below the folder whose attributes are to change."""
        self._writable(path)
        if not path:
            raise fault(errno.EPERM)
        with self._at(path) as fd:
            seen = os.fstat(fd)
            if seen.st_nlink > 1 and not stat.S_ISDIR(seen.st_mode):
                raise fault(errno.EROFS)
            yield f"/proc/self/fd/{fd}"

    def _open(self, path: bytes, flags: int) -> int:
        if any(name.startswith(HIDDEN) for name in path.split(b"/")):
            raise fault(errno.ENOENT)
        how = _How(flags | os.O_CLOEXEC, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGIC_LINKS)
        for _ in range(_ATTEMPTS):
            fd = _libc.syscall(
                ctypes.c_long(_OPENAT2),
                ctypes.c_int(self._fd),
                path or b".",
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
            if fd >= 0:
                return int(fd)
            code = ctypes.get_errno()
            if code not in (errno.EAGAIN, errno.EINTR):  # EAGAIN: something was renamed meanwhile
                break
        raise fault(code)
