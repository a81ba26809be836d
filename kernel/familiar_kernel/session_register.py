"""Which notebook a session belongs to, and whether a kernel holds it just now.

Claude Code's own files know a session's words and directory, not its notebook. And two kernels that
go on with one session would each overwrite what the other says. So a kernel keeps a small file for
each session that it has held, and a lock on the one that it holds, which ends with the kernel
however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

KEPT_FOR = 90 * 86400.0
"""Seconds after which a file that nobody holds is removed."""


class SessionRegister:
    """The register in one directory.

    Args:
        folder: where the files are; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: tuple[str, int] | None = None

    def hold(self, session_id: str, facts: dict[str, Any]) -> bool:
        """Hold a session, and no longer the one that was held before.

        Args:
            session_id: the session's UUID.
            facts: what :meth:`facts` is to tell of it, such as ``notebook``.

        Returns:
            False where another kernel holds it.

        Raises:
            OSError: the register cannot be written.
        """
        if self._held and self._held[0] == session_id:
            return True
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._path(session_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A lock of the process, not of the descriptor: what is forked off does not have it.
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({**facts, "pid": os.getpid()}).encode(), 0)
        self.release()
        self._held = session_id, fd
        self._forget_old()
        return True

    def release(self) -> None:
        """Hold no session any more."""
        if self._held:
            os.close(self._held[1])
            self._held = None

    def facts(self, session_id: str) -> dict[str, Any]:
        """Return what is known of a session: what :meth:`hold` was given, and ``held``, whether
        another kernel holds it now. Empty where nothing is known."""
        if self._held and self._held[0] == session_id:
            # Closing any descriptor of it would release the lock.
            own: dict[str, Any] = json.loads(os.pread(self._held[1], 1 << 16, 0))
            return own | {"held": False}
        try:
            fd = os.open(self._path(session_id), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return {}
        try:
            facts: dict[str, Any] = json.loads(os.pread(fd, 1 << 16, 0) or b"{}")
            facts["held"] = False
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            facts["held"] = True
        except ValueError:
            return {}
        except OSError:  # a home without locks: nobody can hold anything there
            facts["held"] = False
        finally:
            os.close(fd)
        return facts

    def _path(self, session_id: str) -> Path:
        return self._folder / f"{session_id}.json"

    def _forget_old(self) -> None:
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError):
                old = time.time() - path.stat().st_mtime > KEPT_FOR
                if old and not self.facts(path.stem).get("held"):
                    path.unlink()
