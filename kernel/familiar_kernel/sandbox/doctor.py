"""``familiar sandbox doctor``: what stands between this machine and a sandbox, with what to type.

The machine is asked once (``machine.py``), and each check is a function of what it said. The last
check starts the image for real, which is what counts. Nothing is changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ..findings import Finding, report
from . import faults
from .faults import IMAGE, Case, SandboxFault
from .image import Contents, look_into
from .machine import FUSE, Facts, gather
from .runtime import Runtime, how_to_install

OLDEST_PODMAN = (4, 3)
SLOW_START = 4.0
"""Seconds after which a start is called slow; usually it takes about a third of one."""
LITTLE_ROOM = 1e9
"""Bytes below which an image may not fit."""
_CONTROLLERS = {"memory": "memory", "cpu": "cpus", "pids": "pids"}
_DELEGATE = (
    "sudo mkdir -p /etc/systemd/system/user@.service.d && printf"
    " '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee"
    " /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload,"
    " then sign in anew"
)


def check_runtime(facts: Facts) -> Iterator[Finding]:
    """Whether the runtime is there, answers and is new enough."""
    if not facts.found:
        fix = how_to_install(Runtime(facts.runtime).kind)
        yield Finding("runtime", "problem", f"{facts.runtime} was not found", fix)
        return
    if facts.trouble:
        yield Finding("runtime", "problem", *_split(facts.trouble))
        return
    version = facts.told("version", "Version") or facts.told("ServerVersion") or "unknown"
    whose = "rootless" if facts.rootless else "rootful"
    name = f"{facts.runtime} {version}, {whose}"
    separate = [o for o in facts.told("SecurityOptions") or () if "userns" in o or "rootless" in o]
    if facts.kind == "docker" and not separate:
        yield Finding(
            "runtime", "warning", f"{name}; a sandbox's user is this machine's user 1000",
            'write "userns-remap": "default" into /etc/docker/daemon.json, or use podman',
        )  # fmt: skip
    elif facts.kind == "docker":
        yield Finding("runtime", "ok", name)
    elif _numbers(version) < OLDEST_PODMAN:
        yield Finding("runtime", "problem", f"{name}; needed is 4.3 or newer", "update podman")
    else:
        yield Finding("runtime", "ok", name)


def check_rootless(facts: Facts) -> Iterator[Finding]:
    """Whether an ordinary user may have containers here."""
    if not facts.rootless:
        return
    before = list(_rootless_faults(facts))
    yield from before or [Finding("rootless", "ok", "user ids and user namespaces can be had")]


def _rootless_faults(facts: Facts) -> Iterator[Finding]:
    if facts.newuidmap == "missing":
        yield Finding("rootless", "problem", "newuidmap was not found", faults.NEWUIDMAP)
    elif facts.newuidmap == "no right":
        yield Finding("rootless", "problem", "newuidmap is not setuid", faults.SETUID)
    if facts.subids:
        where = " and ".join(facts.subids)
        summary = f"{facts.user} has no subordinate ids in {where}"
        yield Finding("rootless", "problem", summary, faults.SUBIDS)
    for name, blocking in (
        ("user.max_user_namespaces", 0),
        ("kernel.unprivileged_userns_clone", 0),
    ):
        if facts.sysctls.get(name) == blocking:
            good = 28633 if name.startswith("user.") else 1
            fix = f"sudo sysctl -w {name}={good}"
            summary = f"{name} is {blocking}: no user namespaces"
            yield Finding("rootless", "problem", summary, fix)
    name = "kernel.apparmor_restrict_unprivileged_userns"
    if facts.sysctls.get(name) == 1 and facts.trouble:
        yield Finding(
            "rootless", "problem", f"{name} is 1, and podman has no exception",
            f"install podman from the distribution's packages, or: sudo sysctl -w {name}=0",
        )  # fmt: skip
    if facts.xdg == "unset":
        yield Finding(
            "rootless", "warning", "XDG_RUNTIME_DIR is not set; podman keeps its state in /tmp",
            "sudo loginctl enable-linger $USER; export XDG_RUNTIME_DIR=/run/user/$(id -u)",
        )  # fmt: skip
    elif facts.xdg == "foreign":
        yield Finding(
            "rootless", "problem", "XDG_RUNTIME_DIR is not this user's",
            "unset XDG_RUNTIME_DIR, or sign in as this user instead of su",
        )  # fmt: skip


def check_storage(facts: Facts) -> Iterator[Finding]:
    """Whether a start copies the image, and whether there is room."""
    driver = facts.told("store", "graphDriverName") or facts.told("Driver")
    if not driver:
        return
    where = facts.graph_root
    room = "" if facts.free is None else f", {facts.free / 1e9:.1f} GB free"
    if driver == "vfs":
        file = (
            "/etc/docker/daemon.json, as storage-driver"
            if facts.kind == "docker"
            else facts.told("store", "configFile") or "~/.config/containers/storage.conf"
        )
        yield Finding(
            "storage",
            "warning",
            f"the driver is vfs, which copies the whole image at each start ({where})",
            f'write driver = "overlay" under [storage] in {file}; podman system reset (gives up'
            f" all images and containers); {facts.case.build}"
            if facts.kind != "docker"
            else f"set overlay2 in {file}",
        )
    elif facts.free is not None and facts.free < LITTLE_ROOM:
        fix = f"familiar sandbox prune --all, or {facts.runtime} system prune"
        yield Finding("storage", "warning", f"{driver} in {where}{room}", fix)
    else:
        yield Finding("storage", "ok", f"{driver} in {where}{room}")


def check_cgroups(facts: Facts) -> Iterator[Finding]:
    """Whether the runtime's helper takes the cgroups, and whether limits can be enforced."""
    if not facts.info:
        return
    helper = facts.told("host", "ociRuntime", "name")
    if helper == "crun" and facts.crun_refuses:
        yield Finding(
            "cgroups", "problem", "crun refuses this machine's mixed cgroups",
            f'sudo apt install runc; write runtime = "runc" under [engine] in {facts.case.conf}',
        )  # fmt: skip
        return
    version = facts.told("host", "cgroupVersion") or f"v{facts.told('CgroupVersion')}"
    if facts.kind == "docker":
        able = {
            "memory": facts.told("MemoryLimit"),
            "cpus": facts.told("CPUCfsQuota") or facts.told("CpuCfsQuota"),
            "pids": facts.told("PidsLimit"),
        }
        missing = [name for name, there in able.items() if not there]
    else:
        controllers = facts.told("host", "cgroupControllers") or []
        missing = [limit for name, limit in _CONTROLLERS.items() if name not in controllers]
    if facts.rootless and version == "v1":
        yield Finding(
            "limits", "warning", "rootless podman enforces no limits on cgroups v1",
            "boot with systemd.unified_cgroup_hierarchy=1, or start the kernel as root",
        )  # fmt: skip
    elif missing:
        yield Finding(
            "limits", "warning", f"cannot be enforced on cgroups {version}: {', '.join(missing)}",
            _DELEGATE if facts.rootless else "boot with cgroup_enable=memory swapaccount=1",
        )  # fmt: skip
    else:
        yield Finding("limits", "ok", f"memory, cpus and pids can be enforced (cgroups {version})")


def check_selinux(facts: Facts) -> Iterator[Finding]:
    """Whether SELinux may hide the workspace from the sandbox."""
    if facts.told("host", "security", "selinuxEnabled"):
        yield Finding(
            "SELinux", "warning", "it is on, and may hide the workspace's files from the sandbox",
            "chcon -R -t container_file_t DIRECTORY, for each workspace",
        )  # fmt: skip


def check_writing(facts: Facts) -> Iterator[Finding]:
    """Whether a workspace can be given for writing (`workspace_mode` rw)."""
    if not facts.found:
        return
    if facts.kind == "docker":
        told = "docker cannot give a sandbox a workspace to write"
        yield Finding("writing", "warning", told, "podman can; workspace_mode ro works here")
    elif facts.fuse != "ok":
        missing = facts.fuse == "missing"
        told = "is not there" if missing else "may not be opened"
        fix = "sudo modprobe fuse" if missing else f"sudo chmod a+rw {FUSE}"
        yield Finding(
            "writing", "warning", f"{FUSE} {told}: no workspace_mode rw", f"{fix}; ro works here"
        )
    else:
        yield Finding("writing", "ok", f"{FUSE} is there for workspace_mode rw")


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    check_runtime,
    check_rootless,
    check_storage,
    check_cgroups,
    check_selinux,
    check_writing,
)


def started(runtime: Runtime, image: str, facts: Facts) -> Iterator[Finding]:
    """Start the image, without network, and judge what it says and how long that took."""
    case = facts.case._replace(image=image)
    if runtime.ask("image", "inspect", image).returncode != 0:
        yield Finding("image", "problem", f"there is no {image} here", case.build)
        return
    began = time.monotonic()
    try:
        found = look_into(runtime, image)
    except SandboxFault as fault:
        yield Finding("start", "problem", *_split(str(fault)))
        return
    yield from start_findings(image, found, time.monotonic() - began, case)


def start_findings(
    image: str, found: Contents, took: float, case: Case | None = None
) -> Iterator[Finding]:
    """Return what a start says of an image.

    Args:
        image: its name.
        found: what it holds.
        took: how many seconds it took.
        case: what is known of the runtime.
    """
    case = case or Case()
    if fault := found.fault():
        yield Finding("image", "problem", f"{image} {fault}", case.build)
    else:
        yield Finding("image", "ok", f"{image}: {found.summary()}")
    if took > SLOW_START:
        fix = "see storage above; rootless podman re-owns a new image once, so try again"
        yield Finding("start", "warning", f"it took {took:.1f} s", fix)
    else:
        yield Finding("start", "ok", f"a container of it starts and ends in {took:.1f} s")


def findings(runtime: Runtime, image: str = IMAGE) -> Iterator[Finding]:
    """Make all checks, and start the image unless the runtime cannot."""
    facts = gather(runtime)
    for check in CHECKS:
        yield from check(facts)
    if facts.found and not facts.trouble:
        yield from started(runtime, image, facts)


def run(runtime: Runtime, *, image: str = IMAGE, as_json: bool = False) -> int:
    """Print all findings as they come, and return 1 if one is a problem, else 0.

    Args:
        runtime: what is to run sandboxes.
        image: what they are to run.
        as_json: print one JSON list at the end instead.
    """
    return report(findings(runtime, image), as_json=as_json)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) or (0,)


def _split(sentence: str) -> tuple[str, str]:
    """Return a fault's sentence as what is wrong and what to do about it."""
    what, _, todo = sentence.partition("; ")
    return what, todo.removeprefix("type: ")
