"""A sandbox whose code may write the workspace: what it sees is a share of the person's folder.

The share (:mod:`.share`) is a process of its own that this one starts before the container, and
that ends with the container or with this process, however that ends. Each sandbox has its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import familiar_kernel

from .bridge import Message
from .container import Sandbox
from .faults import SandboxFault
from .protected import HIDDEN
from .runtime import Runtime, environment
from .spec import OUTSIDE_IDS, USER, Spec

START_TIMEOUT = 30.0
"""Seconds until a share must be mounted; the first command of a podman after a boot takes some."""
_RUN = "import sys; sys.path.append({where!r}); from familiar_kernel.sandbox import share; "
_RUN += "share.main(sys.argv[1])"


def place_of(folder: str, sockets: str) -> str:
    """Return where a sandbox's share of a folder is mounted. Pure.

    It is told by what the sandbox has, so that two specifications are alike where the sandboxes
    are. It lies beside the folder of the sockets, not in it: that is removed with all it holds.

    Args:
        folder: what is shared.
        sockets: the folder of the sandbox's sockets, in the one that is its own.
    """
    own = Path(sockets).parent
    told = f"{zlib.crc32(os.fsencode(folder)):08x}"
    name = own.name.removeprefix("familiar-")
    return str(own.parent / f"{os.fsdecode(HIDDEN)}{name}-{told}" / "w")


def programs_in(folder: str, places: Iterable[str]) -> list[str]:
    """Return which places are in a folder, relative to it. Pure but for links.

    They are where this Python has its programs and packages: the next kernel runs what is there.
    """
    top = os.path.realpath(folder)
    found = {os.path.relpath(os.path.realpath(place), top) for place in places if place}
    return sorted(path for path in found if path != "." and path.split(os.sep)[0] != "..")


class Share:
    """One share of a folder.

    Args:
        runtime: what runs the containers that see it.
        folder: what is shared.
        place: where it is mounted; see :func:`place_of`.
    """

    def __init__(self, runtime: Runtime, folder: str, place: str) -> None:
        self._runtime, self._folder, self._place = runtime, folder, place
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def open(self) -> None:
        """Mount it.

        Raises:
            SandboxFault: that cannot be done here.
        """
        if self._runtime.kind == "docker":
            raise SandboxFault(
                "With docker a sandbox cannot write the workspace; choose workspace_mode ro, or"
                " podman."
            )
        with self._lock:
            if self._closed:
                return
            try:
                process = self._process = subprocess.Popen(
                    self._command(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    # Nothing may be taken from the notebook's folder, which the sandbox writes.
                    cwd="/",
                    env=environment(self._runtime.kind, os.environ),
                    start_new_session=True,
                )
            except OSError as err:
                raise SandboxFault(
                    f"{self._command()[0]} cannot be run ({err.strerror}); install it anew."
                ) from err
        assert process.stderr is not None
        try:
            # Not communicate, which closes stdin: that is the end.
            code = process.wait(START_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            self.close()
            raise SandboxFault(
                f"The workspace was not ready for writing within {START_TIMEOUT:.0f} s; try again,"
                " or choose workspace_mode ro."
            ) from None
        with process.stderr:
            told = process.stderr.read(4096).strip() if code != 0 else ""
        if code != 0:
            raise SandboxFault(
                told.splitlines()[-1]
                if told
                else f"The workspace cannot be shared for writing (status {code}); choose"
                " workspace_mode ro."
            )

    def close(self) -> None:
        """Let it go. What uses it has it until it ends, or for some seconds more."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()

    def _command(self) -> list[str]:
        rootless = self._runtime.rootless
        code_of_ours = str(Path(familiar_kernel.__file__).parents[1])
        job = {
            "folder": self._folder,
            "also": programs_in(
                self._folder, [sys.prefix, sys.base_prefix, code_of_ours, *sys.path]
            ),
            "place": self._place,
            # The person is user 0 of podman's user namespace, and the sandbox's user outside.
            "user": 0 if rootless else OUTSIDE_IDS + USER,
            "as_owner": not rootless,
        }
        code = _RUN.format(where=code_of_ours)
        python = [sys.executable, "-I", "-S", "-c", code, json.dumps(job)]
        return [self._runtime.executable, "unshare", *python] if rootless else python


class WritingSandbox(Sandbox):
    """A sandbox that sees a share of a folder.

    Args:
        runtime: as for any sandbox.
        spec: as for any; its workspace is what :func:`place_of` says.
        program: as for any.
        first: as for any.
        folder: what is shared.
    """

    def __init__(
        self,
        runtime: Runtime,
        spec: Callable[[str, str, str], Spec],
        program: Callable[[str], Sequence[str]],
        first: Message,
        folder: str,
    ) -> None:
        super().__init__(runtime, spec, program, first)
        self.folder = folder
        self._share = Share(runtime, folder, self.spec.workspace)

    def close(self, wait: bool = True) -> None:
        super().close(wait)
        self._share.close()

    def _start(self) -> None:
        try:
            self._runtime.located()
            self._share.open()
        except SandboxFault as err:
            self._listener.close()
            self._tell(str(err))
            return
        super()._start()
