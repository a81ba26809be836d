"""A notebook's files: the notebook itself, never half written, and what ``nb`` keeps beside it.

Beside a notebook lies ``.nb/NAME/``, which only its owner can read: ``kernel.json``, how its kernel
is reached (with the key that signs its messages); ``state.json``, what was started; ``kernel.log``,
what the kernel has said; and locks. One guards the file for the moment of a write, one is held
while cells run. A register in Jupyter's runtime directory says which notebooks have such a folder.

Folders are copied, cloned and shared. So what lies there is believed only where it carries a seal,
made for this place with a key from the register: what names a process to end is nobody else's word.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import json
import os
import secrets
import shlex
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


def _key(*, make: bool = False) -> bytes:
    """Return the key of the seals; nothing where there is none."""
    file = register() / "key"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        if not make:
            return b""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f"key.{secrets.token_hex(4)}")
    write_whole(fresh, secrets.token_bytes(32), mode=0o600)
    with contextlib.suppress(FileExistsError):
        os.link(fresh, file)  # another nb may have been quicker
    fresh.unlink()
    return file.read_bytes()


def known() -> list[Path]:
    """Return the notebooks that have a kernel, or had one that nobody has shut down."""
    found = []
    for entry in sorted(register().glob("*.path")):
        try:
            path = Path(entry.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        try:
            gone = Store(path).state is None
        except StoreError:
            gone = False  # of a newer nb: it is there, and whoever wants it is told
        if gone:
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
            told = f"There is no notebook {self.path}; nb open --new makes an empty one."
            if self.state is not None:
                told = (
                    f"There is no notebook {self.path} any more, but it has a kernel. Give the file"
                    f" its name back, or end that: nb shutdown -n {shlex.quote(str(self.path))}"
                )
            raise StoreError(told) from None
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
        """Make the notebook, where there is none.

        Raises:
            StoreError: it cannot be made.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked("write.lock", WRITE_TIMEOUT):
                if not self.path.exists():
                    self._write(text)
        except OSError as err:
            raise StoreError(f"{self.path} cannot be made: {err.strerror}.") from None

    def writable(self) -> None:
        """See that the notebook can be written, before something is run for it.

        Raises:
            StoreError: it cannot.
        """
        if self.path.exists() and not os.access(self.path, os.W_OK):
            raise StoreError(
                f"{self.path} is write-protected, so outputs could not be kept. Make it writable"
                " (chmod u+w), or use nb run."
            )
        self.made()

    def _write(self, text: str) -> None:
        try:
            # Beside the notebook a front end's list of files would see it come and go.
            folder = self.made()
            for left in folder.glob(f"{_PART}*"):
                left.unlink(missing_ok=True)  # of a writer that was killed
            write_whole(self.path, text.encode("utf-8"), beside=folder, prefix=_PART)
        except OSError as err:
            raise StoreError(
                f"{self.path} was not written, and is as before: {err.strerror}."
                + (" Make room, then try again." if err.errno in _FULL else "")
            ) from None

    # -- what nb knows of its kernel --

    @property
    def state(self) -> dict[str, Any] | None:
        """What was started for it, or None where nothing was, or it was for another place.

        Raises:
            StoreError: a newer nb has written it.
        """
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(state, dict) or not isinstance(seal := state.pop("seal", None), str):
            return None
        if not hmac.compare_digest(self._seal(state, _key()), seal):
            return None
        if state.get("version", 0) > VERSION:
            raise StoreError(f"{self.folder} was written by a newer nb; use that one.")
        return state

    def _seal(self, state: dict[str, Any], key: bytes) -> str:
        """Return what shows that this user has written something down, for this notebook."""
        if not key:
            return ""
        text = json.dumps([str(self.path), state], sort_keys=True)
        return hmac.new(key, text.encode(), "sha256").hexdigest()

    @property
    def connection(self) -> dict[str, Any] | None:
        """How the kernel is reached, or None where that is not known, or not by us."""
        state = self.state
        try:
            raw = self.connection_file.read_bytes()
            found = json.loads(raw)
        except (OSError, ValueError):
            return None
        known = state is not None and state.get("connection") == hashlib.sha256(raw).hexdigest()
        return found if known and isinstance(found, dict) else None

    def remember(self, state: dict[str, Any]) -> None:
        """Write down what was started, and that the kernel is reached by its connection file as it
        is now.

        Raises:
            OSError: it cannot be written.
        """
        self.made()
        connection = hashlib.sha256(self.connection_file.read_bytes()).hexdigest()
        state = {"version": VERSION, **state, "connection": connection}
        sealed = {**state, "seal": self._seal(state, _key(make=True))}
        write_whole(self._entry(register()), os.fsencode(self.path), mode=0o600)
        text = json.dumps(sealed, indent=1, ensure_ascii=False)
        write_whole(self.folder / "state.json", (text + "\n").encode(), mode=0o600)

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
            for folder in (self.folder.parent, self.folder):
                folder.mkdir(mode=0o700, exist_ok=True)
                self._own(folder)
            ignored = self.folder.parent / ".gitignore"
            if not ignored.exists():
                ignored.write_text("*\n")
        except OSError as err:
            raise StoreError(
                f"nb keeps its files in {self.folder}, which cannot be made: {err.strerror}."
                " Copy the notebook into a folder of your own."
            ) from None
        return self.folder

    def _own(self, folder: Path) -> None:
        """See that a folder is this user's alone.

        Raises:
            StoreError: it is not.
        """
        seen = folder.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
            raise StoreError(
                f"{folder} is not a folder of yours, and nb would keep keys there. Copy the"
                " notebook into a folder of your own."
            )
        if seen.st_mode & 0o077:
            folder.chmod(0o700)

    # -- locks --

    @contextmanager
    def running(
        self,
        what: str,
        wait: float,
        waits: Callable[[str], None],
        given_up: Callable[[], bool] = lambda: False,
    ) -> Iterator[None]:
        """Be the only nb that runs cells of this notebook.

        Args:
            what: the command, for others to be told.
            wait: seconds to wait for another one; 0 not to, and infinite to wait for ever.
            waits: called with who holds it, where that is waited for.
            given_up: whether it is not to be waited for any longer.

        Raises:
            Busy: another one holds it still.
        """
        holder = self.made() / "running.json"
        lock = _lock(self.folder / "running.lock")
        began = time.monotonic()
        told = False
        while not _taken(lock, 0.0 if not told else min(0.3, wait)):
            who = _holder(holder)
            if time.monotonic() - began >= wait or given_up():
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


_PART = "notebook-"
"""How the names of half-written notebooks begin."""
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
    path: Path,
    data: bytes,
    *,
    mode: int | None = None,
    beside: Path | None = None,
    prefix: str = "",
) -> None:
    """Write a file so that it is the old or the new one at every moment, a power cut included.

    No library that is kept does this and keeps the file's mode and owner.

    Args:
        path: the file, links followed.
        data: all of it.
        mode: its mode, if not that of the old one.
        beside: a folder on the same file system, where it is written first.
        prefix: how its name begins there.

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
    fd, temporary = tempfile.mkstemp(".part", prefix or None, beside or path.parent)
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
