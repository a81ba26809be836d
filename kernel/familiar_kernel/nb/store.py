"""A notebook's files: the notebook itself, never half written, and what ``nb`` keeps beside it.

Beside a notebook lies ``.nb/NAME/``, which only its owner can read: ``kernel.json``, how its kernel
is reached (with the key that signs its messages); ``state.json``, what was started; ``kernel.log``,
what the kernel has said; and two locks. One guards the file for the moment of a write, one is held
while cells run. A register in Jupyter's runtime directory says which notebooks have such a folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .document import Document, DocumentError

if TYPE_CHECKING:
    from filelock import BaseFileLock

VERSION = 1
"""Of state.json; one of a newer version is not touched."""
WRITE_TIMEOUT = 20.0
"""Seconds that another nb may take to write the file."""


class StoreError(Exception):
    """A file cannot be read or written; the message says why and what to do."""


class Busy(StoreError):
    """Another nb runs cells of this notebook."""


def located(path: str | Path) -> Path:
    """Return the file that a notebook's path means, links followed."""
    return Path(os.path.realpath(Path(path).expanduser()))


def register() -> Path:
    """Return the folder that says which notebooks are open."""
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir(), "nb")


def known() -> list[Path]:
    """Return the notebooks that have a kernel, or had one that nobody has shut down."""
    found = []
    for entry in sorted(register().glob("*.path")):
        try:
            path = Path(entry.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if Store(path).state is None:
            with contextlib.suppress(OSError):
                entry.unlink()
        else:
            found.append(path)
    return sorted(found)


class Store:
    """The files of one notebook.

    Args:
        path: the notebook.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = located(path)
        self.folder = self.path.parent / ".nb" / self.path.name
        self.connection_file = self.folder / "kernel.json"
        self.log = self.folder / "kernel.log"

    # -- the notebook --

    def read(self) -> Document:
        """Return the notebook as it is now.

        Raises:
            StoreError: it cannot be read, or is none.
        """
        try:
            return Document(self.path.read_bytes().decode("utf-8"))
        except FileNotFoundError:
            raise StoreError(
                f"There is no notebook {self.path}; nb open --new makes an empty one."
            ) from None
        except (OSError, UnicodeDecodeError) as err:
            why = err.strerror if isinstance(err, OSError) else "it is no UTF-8 text"
            raise StoreError(f"{self.path} cannot be read: {why}.") from None
        except DocumentError as err:
            raise StoreError(f"{self.path}: {err}") from None

    def change(self, edit: Callable[[Document], Document]) -> Document:
        """Edit the notebook as it is at this moment, and return it; others wait meanwhile.

        Raises:
            StoreError: it cannot be read or written; it is then as before.
            DocumentError: what ``edit`` raised.
        """
        self.read()  # before a folder is made for what is no notebook
        with self._locked("write.lock", WRITE_TIMEOUT):
            before = self.read()
            after = edit(before)
            if after.text != before.text:
                self._write(after.text)
        return after

    def make(self, text: str) -> None:
        """Make the notebook, where there is none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(text)

    def _write(self, text: str) -> None:
        try:
            # Beside the notebook a front end's list of files would see it come and go.
            folder = self.made()
            for left in folder.glob("*.part"):
                left.unlink(missing_ok=True)  # of a writer that was killed
            write_whole(self.path, text.encode("utf-8"), beside=folder)
        except OSError as err:
            raise StoreError(
                f"{self.path} was not written, and is as before: {err.strerror}."
                + (" Make room, then try again." if err.errno in _FULL else "")
            ) from None

    # -- what nb knows of its kernel --

    @property
    def state(self) -> dict[str, Any] | None:
        """What was started for it, or None where nothing was.

        Raises:
            StoreError: a newer nb has written it.
        """
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(state, dict):
            return None
        if state.get("version", 0) > VERSION:
            raise StoreError(f"{self.folder} was written by a newer nb; use that one.")
        return state

    def remember(self, state: dict[str, Any]) -> None:
        """Write down what was started."""
        self.made()
        text = json.dumps({"version": VERSION, **state}, indent=1, ensure_ascii=False)
        write_whole(self.folder / "state.json", (text + "\n").encode(), mode=0o600)
        folder = register()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._entry(folder), os.fsencode(self.path), mode=0o600)

    def forget(self) -> None:
        """Remove what nb knows of its kernel, and its connection; the log stays."""
        for file in (self.folder / "state.json", self.connection_file, self._entry(register())):
            file.unlink(missing_ok=True)

    def _entry(self, folder: Path) -> Path:
        return folder / f"{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}.path"

    def made(self) -> Path:
        """Return the folder, made if need be."""
        try:
            self.folder.parent.mkdir(mode=0o700, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            ignored = self.folder.parent / ".gitignore"
            if not ignored.exists():
                ignored.write_text("*\n")
        except OSError as err:
            raise StoreError(
                f"nb keeps its files in {self.folder}, which cannot be made: {err.strerror}."
            ) from None
        return self.folder

    # -- locks --

    @contextmanager
    def running(self, what: str, wait: float, waits: Callable[[str], None]) -> Iterator[None]:
        """Be the only nb that runs cells of this notebook.

        Args:
            what: the command, for others to be told.
            wait: seconds to wait for another one; 0 not to, and infinite to wait for ever.
            waits: called with who holds it, where that is waited for.

        Raises:
            Busy: another one holds it still.
        """
        holder = self.made() / "running.json"
        lock = _lock(self.folder / "running.lock")
        began = time.monotonic()
        told = False
        while not _taken(lock, 0.0 if not told else min(1.0, wait)):
            who = _holder(holder)
            if time.monotonic() - began >= wait:
                raise Busy(f"{who} runs cells of this notebook. Wait for it, or end it.")
            if not told:
                waits(who)
                told = True
        try:
            since = time.strftime("%H:%M:%S")
            write_whole(
                holder, json.dumps({"pid": os.getpid(), "what": what, "since": since}).encode()
            )
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Be the only nb that starts or ends this notebook's kernel."""
        with self._locked("start.lock", 90.0):
            yield

    @contextmanager
    def _locked(self, name: str, wait: float) -> Iterator[None]:
        lock = _lock(self.made() / name)
        if not _taken(lock, wait):
            raise StoreError(f"Another nb has kept {self.folder / name} for {wait:.0f} s; end it.")
        try:
            yield
        finally:
            lock.release()


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _lock(path: Path) -> BaseFileLock:
    from filelock import FileLock

    return FileLock(path, mode=0o600)


def _taken(lock: BaseFileLock, wait: float) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=wait, poll_interval=0.05)
    except Timeout:
        return False
    return True


def _holder(file: Path) -> str:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return f"{told['what']} (process {told['pid']}, since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another nb"


def write_whole(
    path: Path, data: bytes, *, mode: int | None = None, beside: Path | None = None
) -> None:
    """Write a file so that it is the old or the new one at every moment, a power cut included.

    No library that is kept does this and keeps the file's mode and owner.

    Args:
        path: the file, links followed.
        data: all of it.
        mode: its mode, if not that of the old one.
        beside: a folder on the same file system, where it is written first.

    Raises:
        OSError: it was not written; the old one is there as it was.
    """
    path = Path(os.path.realpath(path))
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    if old is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it is write-protected", str(path))
    fd, temporary = tempfile.mkstemp(suffix=".part", dir=beside or path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if mode is None:
                mode = stat.S_IMODE(old.st_mode) if old is not None else 0o666 & ~_umask()
            os.fchmod(fd, mode)
            if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):
                    os.fchown(fd, old.st_uid, old.st_gid)
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as err:
        if err.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have none
            raise
    finally:
        os.close(folder)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
