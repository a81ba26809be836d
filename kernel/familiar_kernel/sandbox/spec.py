"""From settings to the command line of a container. Pure: no I/O, nothing of ours imported.

What a sandbox promises stands here, one flag each, with what it is against. What a person may
choose are the fields of :class:`Spec`; what protects them is not among these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

WorkspaceMode = Literal["ro", "rw", "none"]

SOCKETS = "/run/familiar"
"""Where the sandbox sees the outer kernel's sockets."""
WORKSPACE = "/workspace"
"""Where it sees the notebook's folder."""
HOME = "/tmp"
USER = 1000
ETC = {"hosts": "127.0.0.1 localhost\n::1 localhost\n", "resolv.conf": ""}
"""Files that a sandbox has in place of the host's, by name: what is in them."""
OUTSIDE_IDS = 2_000_000_000
"""What user 0 of a sandbox is outside, where root runs the runtime: ids that no account, no
systemd service and no other container uses."""


@dataclass(frozen=True)
class Mount:
    """A folder or file of the host that the sandbox sees. ``read_only`` unless said otherwise."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True)
class Spec:
    """What a sandbox is like.

    Attributes:
        image: the image, by name or id.
        name: the container's name.
        sockets: the host's folder with the outer kernel's sockets.
        seccomp: the file that holds the profile of system calls.
        labels: whose the container is; see :mod:`.owners`.
        workspace: the folder that the sandbox sees, or empty for none.
        mounts: further folders and files.
        memory: bytes, as the runtime writes them: ``2g``. There is no swap beside it.
        cpus: processors, in parts of one.
        pids: processes and threads at most.
        tmp_size: how much ``/tmp`` holds; it counts towards the memory.
        devices: devices by their CDI names, such as ``nvidia.com/gpu=all``.
        etc: the host's folder with the files of :data:`ETC`; empty where the runtime's will do.
        open_files: files that one process may have open.
        processes: processes that its user may have, in all sandboxes.
        environment: the names of variables that are let through; their values never stand in an
            argument.
    """

    image: str
    name: str
    sockets: str
    seccomp: str
    labels: Mapping[str, str] = field(default_factory=dict)
    workspace: str = ""
    workspace_mode: WorkspaceMode = "ro"
    mounts: Sequence[Mount] = ()
    memory: str = "2g"
    cpus: float = 2.0
    pids: int = 512
    tmp_size: str = "512m"
    devices: Sequence[str] = ()
    environment: Sequence[str] = ()
    etc: str = ""
    open_files: int = 4096
    processes: int = 4096


def run_arguments(spec: Spec, program: Sequence[str], kind: str, rootless: bool) -> list[str]:
    """Return the runtime's arguments that start a sandbox in the background.

    Args:
        spec: the sandbox.
        program: what runs in it.
        kind: ``podman``, ``podman-hpc`` or ``docker``.
        rootless: whether an ordinary user runs the runtime.
    """
    arguments = [
        "run",
        "--detach",
        f"--name={spec.name}",
        *(f"--label={name}={value}" for name, value in spec.labels.items()),
        # An init, so that killing every process it may kill does not end the kernel's wait for it.
        "--init",
        "--pull=never",
        # No way out but the sockets: not even to the host's own services or abstract sockets.
        "--network=none",
        "--ipc=private",
        "--hostname=sandbox",
        # Nothing that stays: what may be written is memory, and counted.
        "--read-only",
        f"--tmpfs=/tmp:rw,size={spec.tmp_size},mode=1777,nosuid,nodev",
        # No rights beyond those of an ordinary user, and no way to get some.
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        f"--security-opt=seccomp={spec.seccomp}",
        f"--user={USER}:{USER}",
        # Limits, so that it takes from nobody else.
        f"--memory={spec.memory}",
        f"--memory-swap={spec.memory}",
        f"--cpus={spec.cpus:g}",
        f"--pids-limit={spec.pids}",
        f"--ulimit=nofile={spec.open_files}:{spec.open_files}",
        # Of its own: the runtime's default asks for more than some machines give.
        f"--ulimit=nproc={spec.processes}:{spec.processes}",
        "--ulimit=core=0:0",
        # What it writes to its own stdout would fill the host's disk.
        "--log-driver=none",
        f"--workdir={HOME}",
        f"--env=HOME={HOME}",
        "--env=PYTHONDONTWRITEBYTECODE=1",
        # Only the name: the runtime takes the value from its own environment.
        *(f"--env={name}" for name in spec.environment),
        *_identity(kind, rootless),
        *(f"--device={device}" for device in spec.devices),
        _volume(Mount(spec.sockets, SOCKETS), "noexec"),
        # The host's own would tell its names, and whom it asks for others.
        *(
            _volume(Mount(f"{spec.etc}/{name}", f"/etc/{name}"), "noexec")
            for name in ETC
            if spec.etc
        ),
    ]
    if kind != "docker":
        # Else podman gives writable memory for /run and /var/tmp beside /tmp, without a bound.
        arguments.append("--read-only-tmpfs=false")
        # A folder that an image declares as a volume would be one on the host's disk.
        arguments.append("--image-volume=ignore")
    if spec.workspace and spec.workspace_mode != "none":
        read_only = spec.workspace_mode == "ro"
        arguments.append(_volume(Mount(spec.workspace, WORKSPACE, read_only)))
    arguments += map(_volume, spec.mounts)
    return [*arguments, spec.image, *program]


def _identity(kind: str, rootless: bool) -> list[str]:
    """Return what makes the sandbox's user somebody else outside, or the one who started it."""
    if kind == "docker":
        return []  # its daemon decides for all containers; see `familiar sandbox doctor`
    if rootless:
        # Its user is the one who started it, so that their files are readable to it; all other ids
        # are that user's subordinate ones.
        return [f"--userns=keep-id:uid={USER},gid={USER}"]
    return [f"--uidmap=0:{OUTSIDE_IDS}:65536", f"--gidmap=0:{OUTSIDE_IDS}:65536"]


def _volume(mount: Mount, *options: str) -> str:
    access = "ro" if mount.read_only else "rw"
    return (
        f"--volume={mount.source}:{mount.target}:{','.join((access, 'nosuid', 'nodev', *options))}"
    )
