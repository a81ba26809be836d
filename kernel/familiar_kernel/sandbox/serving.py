"""The file system of :mod:`.share`: the kernel's requests, and what answers them."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress

from . import fuse
from .folder import Folder, OpenFile, fault
from .nodes import Nodes


class Server:
    """Answers the requests of one mount.

    Args:
        folder: what is shown.
        device: the descriptor that the requests come from.
        owner: the ids of the person, as this process sees them, and those that stand for them in
            the sandbox.
    """

    def __init__(
        self, folder: Folder, device: int, owner: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> None:
        self._folder, self._device = folder, device
        self._uid, self._gid, self._shown_uid, self._shown_gid = owner
        self._nodes = Nodes()
        self._files: dict[int, OpenFile] = {}
        self._lists: dict[int, list[tuple[bytes, int, int]]] = {}
        self._last_handle = 0
        self._does: dict[int, Callable[[int, memoryview], bytes]] = {
            fuse.INIT: lambda _, data: fuse.init(data),
            fuse.DESTROY: lambda *_: b"",
            fuse.LOOKUP: self._lookup,
            fuse.GETATTR: self._getattr,
            fuse.SETATTR: self._setattr,
            fuse.READLINK: lambda node, _: self._folder.readlink(self._nodes.path(node)),
            fuse.SYMLINK: self._symlink,
            fuse.MKNOD: self._mknod,
            fuse.MKDIR: self._mkdir,
            fuse.UNLINK: self._unlink,
            fuse.RMDIR: self._rmdir,
            fuse.RENAME: self._rename,
            fuse.RENAME2: self._rename_with_flags,
            fuse.LINK: self._link,
            fuse.OPEN: self._open,
            fuse.CREATE: self._create,
            fuse.READ: self._read,
            fuse.WRITE: self._write,
            fuse.FLUSH: self._flush,
            fuse.FSYNC: self._fsync,
            fuse.FALLOCATE: self._fallocate,
            fuse.LSEEK: self._lseek,
            fuse.RELEASE: self._release,
            fuse.OPENDIR: self._opendir,
            fuse.READDIR: self._readdir,
            fuse.RELEASEDIR: self._releasedir,
            fuse.FSYNCDIR: lambda *_: b"",
            fuse.STATFS: lambda *_: fuse.statfs(self._folder.statvfs()),
            fuse.ACCESS: self._access,
        }

    def serve(self) -> None:
        """Answer until nobody uses the mount any more."""
        buffer = bytearray(fuse.BUFFER)
        view = memoryview(buffer)
        while True:
            try:
                size = os.readv(self._device, [buffer])
            except OSError as err:
                if err.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue  # it was interrupted before it came
                return
            operation, unique, node, data = fuse.request(view[:size])
            answer = self._answer(operation, unique, node, data)
            if answer:
                with suppress(OSError):  # the one who asked is gone
                    os.write(self._device, answer)

    def _answer(self, operation: int, unique: int, node: int, data: memoryview) -> bytes:
        if operation == fuse.FORGET:
            self._nodes.forget(node, fuse.FORGET_IN.unpack_from(data)[0])
            return b""
        if operation == fuse.BATCH_FORGET:
            (count,) = fuse.ACCESS_IN.unpack_from(data)[:1]
            for number in range(count):
                self._nodes.forget(*fuse.FORGET_ONE.unpack_from(data, 8 + 16 * number))
            return b""
        if operation == fuse.INTERRUPT:
            return b""
        act = self._does.get(operation)
        if act is None:
            return fuse.reply(unique, error=errno.ENOSYS)
        try:
            return fuse.reply(unique, act(node, data))
        except OSError as err:
            return fuse.reply(unique, error=err.errno or errno.EIO)
        except MemoryError:
            return fuse.reply(unique, error=errno.ENOMEM)
        except (LookupError, ValueError, OverflowError):
            return fuse.reply(unique, error=errno.EINVAL)

    # -- names --

    def _path(self, parent: int, name: bytes) -> bytes:
        return b"/".join(filter(None, (self._nodes.path(parent), name)))

    def _lookup(self, node: int, data: memoryview) -> bytes:
        return self._entry(node, fuse.names(data)[0])

    def _entry(self, parent: int, name: bytes) -> bytes:
        try:
            seen = self._folder.stat(self._path(parent, name))
        except FileNotFoundError:
            self._nodes.drop(parent, name)
            raise
        node = self._nodes.found(parent, name, (seen.st_dev, seen.st_ino))
        return fuse.entry(node, self._attributes(seen))

    def _attributes(self, seen: os.stat_result) -> bytes:
        uid = self._shown_uid if seen.st_uid == self._uid else seen.st_uid
        gid = self._shown_gid if seen.st_gid == self._gid else seen.st_gid
        return fuse.attributes(seen, uid, gid)

    def _seen(self, node: int, handle: int | None) -> os.stat_result:
        """Return what a file is like; one that was removed is known by who has it open."""
        if handle is None and self._nodes.is_gone(node):
            handle = next(iter(self._nodes.handles(node)), None)
        if handle in self._files:
            return os.fstat(self._files[handle].fd)
        return self._folder.stat(self._nodes.path(node))

    def _getattr(self, node: int, data: memoryview) -> bytes:
        flags, _, handle = fuse.GETATTR_IN.unpack_from(data)
        seen = self._seen(node, handle if flags & 1 else None)
        return fuse.attribute_reply(self._attributes(seen))

    def _setattr(self, node: int, data: memoryview) -> bytes:
        fields = fuse.SETATTR_IN.unpack_from(data)
        what, handle, size = fields[0], fields[2], fields[3]
        if not what & fuse.SET_FH or handle not in self._files:
            handle = next(iter(self._nodes.handles(node)), 0) if self._nodes.is_gone(node) else 0
        if what & (fuse.SET_UID | fuse.SET_GID):
            # To be given to whom it belongs is all that an ordinary user may ask for.
            uid = fields[13] if what & fuse.SET_UID else self._shown_uid
            gid = fields[14] if what & fuse.SET_GID else self._shown_gid
            if (uid, gid) != (self._shown_uid, self._shown_gid):
                raise fault(errno.EPERM)
        if what & fuse.SET_SIZE:
            if handle:
                self._folder.check(self._files[handle])
                os.ftruncate(self._files[handle].fd, size)
            else:
                self._folder.truncate(self._nodes.path(node), size)
        gone = self._nodes.is_gone(node)
        if what & fuse.SET_MODE and not gone:
            self._folder.chmod(self._nodes.path(node), fields[11])
        if what & (fuse.SET_ATIME | fuse.SET_MTIME) and not gone:
            now = time.time_ns()
            atime = now if what & fuse.SET_ATIME_NOW else fields[5] * 10**9 + fields[8]
            mtime = now if what & fuse.SET_MTIME_NOW else fields[6] * 10**9 + fields[9]
            self._folder.utime(
                self._nodes.path(node),
                atime if what & fuse.SET_ATIME else None,
                mtime if what & fuse.SET_MTIME else None,
            )
        return fuse.attribute_reply(self._attributes(self._seen(node, handle or None)))

    def _symlink(self, node: int, data: memoryview) -> bytes:
        name, target = fuse.names(data)
        self._folder.symlink(self._path(node, name), target)
        return self._entry(node, name)

    def _mknod(self, node: int, data: memoryview) -> bytes:
        mode = fuse.MKNOD_IN.unpack_from(data)[0]
        (name,) = fuse.names(data[fuse.MKNOD_IN.size :])
        if mode & 0o170000 != 0o100000:
            raise fault(errno.EPERM)  # a pipe, a socket or a device would trap a host program
        os.close(self._folder.create(self._path(node, name), os.O_WRONLY | os.O_EXCL, mode).fd)
        return self._entry(node, name)

    def _mkdir(self, node: int, data: memoryview) -> bytes:
        (name,) = fuse.names(data[fuse.MKDIR_IN.size :])
        self._folder.mkdir(self._path(node, name), fuse.MKDIR_IN.unpack_from(data)[0])
        return self._entry(node, name)

    def _unlink(self, node: int, data: memoryview) -> bytes:
        (name,) = fuse.names(data)
        self._folder.unlink(self._path(node, name))
        self._nodes.drop(node, name)
        return b""

    def _rmdir(self, node: int, data: memoryview) -> bytes:
        (name,) = fuse.names(data)
        self._folder.rmdir(self._path(node, name))
        self._nodes.drop(node, name)
        return b""

    def _rename(self, node: int, data: memoryview, flags: int = 0, size: int = 8) -> bytes:
        (there,) = fuse.RENAME_IN.unpack_from(data)
        old, new = fuse.names(data[size:])
        self._folder.rename(self._path(node, old), self._path(there, new), flags)
        self._nodes.renamed((node, old), (there, new), exchanged=bool(flags & 2))
        return b""

    def _rename_with_flags(self, node: int, data: memoryview) -> bytes:
        return self._rename(node, data, fuse.RENAME2_IN.unpack_from(data)[1], fuse.RENAME2_IN.size)

    def _link(self, node: int, data: memoryview) -> bytes:
        # What has two names cannot be judged by its name.
        raise fault(errno.EPERM)

    def _access(self, node: int, data: memoryview) -> bytes:
        self._folder.access(self._nodes.path(node), fuse.ACCESS_IN.unpack_from(data)[0])
        return b""

    # -- what is open --

    def _opened(self, node: int, file: OpenFile) -> bytes:
        self._last_handle += 1
        self._files[self._last_handle] = file
        self._nodes.handles(node).add(self._last_handle)
        return fuse.opened(self._last_handle)

    def _open(self, node: int, data: memoryview) -> bytes:
        flags = fuse.OPEN_IN.unpack_from(data)[0]
        return self._opened(node, self._folder.open(self._nodes.path(node), flags))

    def _create(self, node: int, data: memoryview) -> bytes:
        flags, mode, _, _ = fuse.CREATE_IN.unpack_from(data)
        (name,) = fuse.names(data[fuse.CREATE_IN.size :])
        file = self._folder.create(self._path(node, name), flags, mode)
        try:
            seen = os.fstat(file.fd)
            made = self._nodes.found(node, name, (seen.st_dev, seen.st_ino))
            return fuse.entry(made, self._attributes(seen)) + self._opened(made, file)
        except BaseException:
            os.close(file.fd)
            raise

    def _read(self, _: int, data: memoryview) -> bytes:
        handle, offset, size, *_rest = fuse.READ_IN.unpack_from(data)
        return os.pread(self._files[handle].fd, size, offset)

    def _write(self, _: int, data: memoryview) -> bytes:
        handle, offset, size, *_rest = fuse.WRITE_IN.unpack_from(data)
        file = self._files[handle]
        self._folder.check(file)
        left = data[fuse.WRITE_IN.size :][:size]
        done = os.pwrite(file.fd, left, offset)
        return fuse.written(done)

    def _flush(self, _: int, data: memoryview) -> bytes:
        # Some file systems tell only when a file is closed that they could not keep it.
        os.close(os.dup(self._files[fuse.HANDLE_IN.unpack_from(data)[0]].fd))
        return b""

    def _fsync(self, _: int, data: memoryview) -> bytes:
        handle, flags, _pad = fuse.HANDLE_IN.unpack_from(data)
        (os.fdatasync if flags & 1 else os.fsync)(self._files[handle].fd)
        return b""

    def _fallocate(self, _: int, data: memoryview) -> bytes:
        handle, offset, length, mode, _pad = fuse.FALLOCATE_IN.unpack_from(data)
        if mode:
            raise fault(errno.EOPNOTSUPP)
        self._folder.check(self._files[handle])
        os.posix_fallocate(self._files[handle].fd, offset, length)
        return b""

    def _lseek(self, _: int, data: memoryview) -> bytes:
        handle, offset, whence, _pad = fuse.LSEEK_IN.unpack_from(data)
        return fuse.position(os.lseek(self._files[handle].fd, offset, whence))

    def _release(self, node: int, data: memoryview) -> bytes:
        handle = fuse.HANDLE_IN.unpack_from(data)[0]
        self._nodes.handles(node).discard(handle)
        os.close(self._files.pop(handle).fd)
        return b""

    def _opendir(self, node: int, _: memoryview) -> bytes:
        self._folder.stat(self._nodes.path(node))
        self._last_handle += 1
        return fuse.opened(self._last_handle)

    def _readdir(self, node: int, data: memoryview) -> bytes:
        handle, offset, size, *_rest = fuse.READ_IN.unpack_from(data)
        if offset == 0 or handle not in self._lists:
            self._lists[handle] = self._folder.entries(self._nodes.path(node))
        left = self._lists[handle][offset:]
        if not left:
            # Read to its end: who keeps it open costs no memory.
            self._lists.pop(handle)
        return fuse.listing(left, offset, size)

    def _releasedir(self, _: int, data: memoryview) -> bytes:
        self._lists.pop(fuse.HANDLE_IN.unpack_from(data)[0], None)
        return b""
