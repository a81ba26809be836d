"""What the machine says of itself, as far as sandboxes depend on it. The only I/O of the doctor."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import pwd
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .faults import Case, SandboxFault, why_it_cannot_start
from .runtime import Runtime

FUSE = "/dev/fuse"
"""What serves a workspace that a sandbox may write; see :mod:`.share`."""


@dataclass(frozen=True)
class Facts:
    """What the machine says of itself.

    Attributes:
        runtime: the program asked.
        kind: how it wants to be talked to.
        found: whether it is there.
        info: what its ``info`` said; empty where it failed.
        trouble: why ``info`` failed, in one sentence.
        user: the name of whoever asks.
        rootless: whether it runs for an ordinary user.
        subids: the files of subordinate ids in which the user has none.
        newuidmap: the state of the helper: ``"ok"``, ``"missing"`` or ``"no right"``.
        sysctls: kernel settings by name; those that do not exist are left out.
        crun_refuses: whether the cgroups are mixed in the way that crun does not take.
        free: bytes that are free where the images lie, or None where that cannot be seen.
        fuse: the state of the device that shares a workspace for writing: ``"ok"``, ``"missing"``
            or ``"no right"``.
        xdg: XDG_RUNTIME_DIR, and whether it is this user's: ``"ok"``, ``"unset"``, ``"foreign"``.
    """

    runtime: str = "podman"
    kind: str = "podman"
    found: bool = True
    info: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""
    user: str = ""
    rootless: bool = False
    subids: tuple[str, ...] = ()
    newuidmap: str = "ok"
    sysctls: Mapping[str, int] = field(default_factory=dict)
    crun_refuses: bool = False
    fuse: str = "ok"
    xdg: str = "ok"
    free: int | None = None

    def told(self, *path: str) -> Any:
        """Return what ``info`` said at a place, or None."""
        at: Any = self.info
        for name in path:
            at = at.get(name) if isinstance(at, Mapping) else None
        return at

    @property
    def graph_root(self) -> str:
        """The folder that holds the images; empty where it is not known."""
        return self.told("store", "graphRoot") or self.told("DockerRootDir") or ""

    @property
    def case(self) -> Case:
        """What is known, for the sentences of ``faults``."""
        return Case(self.runtime, rootless=self.rootless)


def gather(runtime: Runtime) -> Facts:
    """Ask the machine. Quick, changes nothing, and needs no runtime."""
    facts = Facts(
        runtime=runtime.executable,
        kind=runtime.kind,
        found=shutil.which(runtime.executable) is not None,
        user=_user(),
        rootless=runtime.rootless,
        crun_refuses=_crun_refuses(),
        fuse=_fuse(FUSE),
    )
    if runtime.rootless:
        facts = dataclasses.replace(
            facts,
            subids=tuple(f for f in ("/etc/subuid", "/etc/subgid") if _without(f, _user())),
            newuidmap=_newuidmap(),
            sysctls=_sysctls(),
            xdg=_xdg(os.environ.get("XDG_RUNTIME_DIR", "")),
        )
    if not facts.found:
        return facts
    style = "{{json .}}" if runtime.kind == "docker" else "json"
    try:
        done = runtime.ask("info", "--format", style)
    except SandboxFault as fault:
        return dataclasses.replace(facts, trouble=str(fault))
    try:
        info = json.loads(done.stdout) if done.stdout.strip() else {}
    except ValueError:
        info = {}
    if done.returncode != 0 or not info or info.get("ServerErrors"):
        told = done.stderr + "\n".join(info.get("ServerErrors") or [])
        return dataclasses.replace(facts, trouble=why_it_cannot_start(told, facts.case))
    facts = dataclasses.replace(facts, info=info)
    return dataclasses.replace(facts, free=_free(facts.graph_root))


def _fuse(device: str) -> str:
    if not os.path.exists(device):
        return "missing"
    return "ok" if os.access(device, os.R_OK | os.W_OK) else "no right"


def _free(folder: str) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return getpass.getuser()


def _without(file: str, user: str) -> bool:
    """Return whether a file of subordinate ids lacks a user, by name and by number."""
    try:
        lines = Path(file).read_text(errors="replace").splitlines()
    except OSError:
        return True
    return not any(text.split(":")[0] in (user, str(os.geteuid())) for text in lines)


def _newuidmap() -> str:
    path = shutil.which("newuidmap")
    if path is None:
        return "missing"
    # File capabilities serve as well as the setuid bit.
    able = os.stat(path).st_mode & stat.S_ISUID or "security.capability" in os.listxattr(path)
    return "ok" if able else "no right"


def _sysctls() -> dict[str, int]:
    found = {}
    for name in (
        "user.max_user_namespaces",
        "kernel.unprivileged_userns_clone",
        "kernel.apparmor_restrict_unprivileged_userns",
    ):
        try:
            found[name] = int(Path("/proc/sys", name.replace(".", "/")).read_text())
        except (OSError, ValueError):
            continue
    return found


def _crun_refuses() -> bool:
    """Return whether cgroups v1 are in use and the v2 beside them has controllers."""
    mixed = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    try:
        return bool(mixed.read_text().strip())
    except OSError:
        return False


def _xdg(place: str) -> str:
    if not place:
        return "unset"
    try:
        return "ok" if os.stat(place).st_uid == os.geteuid() else "foreign"
    except OSError:
        return "foreign"
